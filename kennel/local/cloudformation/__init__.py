"""CloudFormation: resource types that ministack lacks, and the permissions of a deploy."""
