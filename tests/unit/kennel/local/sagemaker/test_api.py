"""What SageMaker refuses, the embedded SageMaker refuses."""

import pytest

from kennel.local.errors import ServiceError
from kennel.local.sagemaker.api import check_resources


@pytest.mark.parametrize("instance_type", ["ml.r5d.large", "ml.g5.xlarge", "ml.g4dn.xlarge", "ml.p4d.24xlarge"])
def test_volume_key_is_refused_with_local_storage(instance_type: str) -> None:
    with pytest.raises(ServiceError, match="local storage"):
        check_resources({"InstanceType": instance_type, "VolumeKmsKeyId": "arn:aws:kms:us-east-1:1:key/1"})
    check_resources({"InstanceType": instance_type})


@pytest.mark.parametrize("instance_type", ["ml.m5.xlarge", "ml.p3.2xlarge", "ml.c5.large"])
def test_volume_key_is_taken_without_local_storage(instance_type: str) -> None:
    check_resources({"InstanceType": instance_type, "VolumeKmsKeyId": "arn:aws:kms:us-east-1:1:key/1"})
