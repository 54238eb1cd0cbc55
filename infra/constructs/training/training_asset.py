"""The training code as an asset: training/, inference/ and the wheels that AWS's containers lack."""

from aws_cdk import aws_s3_assets as assets
from constructs import Construct

from infra.constructs.shared.bundle import REPOSITORY, bundle

WHEELS = "build/wheels"


class TrainingCode(assets.Asset):
    """Zip of `training/`, `inference/` (copied into every model package) and the wheels of `build/wheels/`."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            path=str(REPOSITORY / "training"),
            display_name="training/, inference/ and wheels",
            **bundle(_files),
        )


def _files() -> dict[str, str]:
    wheels = sorted((REPOSITORY / WHEELS).glob("*.whl"))
    if not wheels:
        raise FileNotFoundError(f"{WHEELS} is empty: run `make wheels` to download what training/vendor.txt pins")
    return {place: place for place in ("training", "inference", *(f"{WHEELS}/{wheel.name}" for wheel in wheels))}
