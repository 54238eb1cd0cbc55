"""The settings of what trains: the notebook instance and the EC2 training instance."""

from typing import Annotated

from pydantic import AfterValidator, Field

from infra.settings.base import Settings, valid_instance_type


class NotebookSettings(Settings):
    """The SageMaker notebook instance."""

    instance_type: Annotated[str, AfterValidator(valid_instance_type("notebook", "ml.t3.medium"))] = Field(
        "ml.t3.medium", description="instance type of the notebook, x86-64"
    )
    volume_size_gib: int = Field(20, ge=5, le=16384, description="size of the volume")
    idle_stop_min: int = Field(
        60, ge=5, le=1440, description="stop after this time without activity in a kernel or terminal"
    )


class Ec2TrainingSettings(Settings):
    """The EC2 instance of `kennel train --on ec2`."""

    instance_type: Annotated[str, AfterValidator(valid_instance_type("ec2", "m5.xlarge"))] = Field(
        "m5.xlarge", description="instance type, x86-64"
    )
    volume_size_gib: int = Field(80, ge=30, le=16384, description="size of the volume; torch with CUDA takes 6 GiB")
    spot: bool = Field(True, description="use a spot instance; after an interruption, resume from the last checkpoint")
    max_run_h: int = Field(12, ge=1, le=168, description="stop a run that takes longer, and report it as failed")
