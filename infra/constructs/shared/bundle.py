"""Assets that are put together from several places of the repository."""

from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from typing import Any

import jsii
from aws_cdk import AssetHashType, BundlingOptions, DockerImage, ILocalBundling

REPOSITORY = Path(__file__).resolve().parents[3]


def bundle(files: Callable[[], dict[str, str]]) -> dict[str, Any]:
    """The options of an asset with `files`: folders and files of the repository, by their places in the asset.

    It is named by the hash of what it holds. `files` is called only if CDK bundles the asset's stack.
    """
    return {
        "asset_hash_type": AssetHashType.OUTPUT,
        # Bundled by the class below; an image name is required all the same.
        "bundling": BundlingOptions(image=DockerImage.from_registry("scratch"), local=_Copy(files)),
    }


@jsii.implements(ILocalBundling)
class _Copy:
    """Copies files: no Docker, no network."""

    def __init__(self, files: Callable[[], dict[str, str]]) -> None:
        self._files = files

    def try_bundle(self, output_dir: str, *_: object, **__: object) -> bool:
        assemble(Path(output_dir), self._files())
        return True


def assemble(folder: Path, files: dict[str, str]) -> None:
    """Copies files and folders of the repository to their places in `folder`."""
    for name, source in files.items():
        place, found = folder / name, REPOSITORY / source
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            copytree(found, place, ignore=ignore_patterns("__pycache__", "*.pyc"))
        else:
            copy(found, place)
