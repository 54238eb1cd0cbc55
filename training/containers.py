"""AWS's deep learning containers in which Kennel trains and serves, and the Python in both.

To change one, change it here, and the versions that it brings in requirements-ml.txt, training/requirements.txt,
training/vendor.txt and, for serving, requirements-image.txt: tests/unit/training/test_containers.py compares them.

`python -m training.containers` prints the version of Python.
"""

# Repositories and tags in Amazon ECR (github.com/aws/deep-learning-containers, available images).
TRAINING_IMAGE = ("pytorch-training", "2.10.0-cpu-py313")
SERVING_IMAGE = ("ray", "serve-ml-sagemaker-cpu-v1.4")
PYTHON = (3, 13)


def python_version() -> str:
    """The version of Python in both containers, as 3.13."""
    return ".".join(map(str, PYTHON))


if __name__ == "__main__":
    print(python_version())
