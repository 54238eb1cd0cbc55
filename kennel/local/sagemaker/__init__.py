"""SageMaker: training and tuning jobs, endpoints, scaling, data capture."""
