"""The CDK bootstrap of a stage: its roles, and what CloudFormation may do."""
