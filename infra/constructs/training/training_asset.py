"""The training code as an asset: training/, inference/ and the wheels that AWS's containers lack."""

from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling
from aws_cdk import aws_s3_assets as assets
from constructs import Construct

REPOSITORY = Path(__file__).resolve().parents[3]
WHEELS = REPOSITORY / "build" / "wheels"


class TrainingCode(assets.Asset):
    """Zip of `training/`, `inference/` (copied into every model package) and the wheels of `build/wheels/`."""

    def __init__(self, scope: Construct, construct_id: str) -> None:
        super().__init__(
            scope,
            construct_id,
            path=str(REPOSITORY / "training"),
            display_name="training/, inference/ and wheels",
            asset_hash_type=AssetHashType.OUTPUT,
            # Bundled by the class below; an image name is required all the same.
            bundling=BundlingOptions(image=DockerImage.from_registry("scratch"), local=_Assemble()),
        )


@jsii.implements(ILocalBundling)
class _Assemble:
    """Copies sources and wheels: no Docker, no network."""

    def try_bundle(self, output_dir: str, *_: object, **__: object) -> bool:
        output = Path(output_dir)
        for folder in ("training", "inference"):
            copytree(REPOSITORY / folder, output / folder, ignore=ignore_patterns("__pycache__", "*.pyc"))
        wheels = output / WHEELS.relative_to(REPOSITORY)
        wheels.mkdir(parents=True)
        for wheel in _wheels():
            copy(wheel, wheels)
        return True


def _wheels() -> list[Path]:
    wheels = sorted(WHEELS.glob("*.whl"))
    if not wheels:
        raise FileNotFoundError(f"{WHEELS} is empty: run `make wheels` to download what training/vendor.txt pins")
    return wheels
