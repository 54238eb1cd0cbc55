"""Training and tuning: SageMaker jobs and EC2 runs."""
