"""Instance types that Kennel's images run on: those that AWS has, x86-64, without a GPU.

The names are those of AWS's own API models, which come with botocore. The containers are `…-cpu` images for x86-64, and
EC2 boots a plain Amazon Linux for x86-64 without a GPU driver.
"""

import difflib
import re
from typing import Literal

Use = Literal["endpoint", "training", "notebook", "ec2"]

# By use: the service and the enumeration of its API model, and the type of resource in AWS's words.
_ENUMERATIONS: dict[Use, tuple[str, str, str]] = {
    "endpoint": ("sagemaker", "ProductionVariantInstanceType", "a SageMaker endpoint"),
    "training": ("sagemaker", "TrainingInstanceType", "a SageMaker training job"),
    "notebook": ("sagemaker", "InstanceType", "a SageMaker notebook instance"),
    "ec2": ("ec2", "InstanceType", "EC2"),
}
# AWS's naming (EC2's user guide, "Amazon EC2 instance type naming conventions"): letters for the family, a number for
# the generation, then options: `g` is Graviton, `d` is local storage.
_FAMILY = re.compile(r"(?P<series>[a-z]+?)(?P<generation>\d+)(?P<options>[a-z]*)(-.*)?")
_ACCELERATED = ("dl", "f", "g", "gr", "inf", "p", "trn", "vt")
_OTHER = {"a": "Graviton processors", "mac": "macOS"}
# Families with local disks whose names do not say so.
_DISKS = ("i", "im", "is", "g5", "g6", "g7", "p5", "p6", "trn1", "trn2")
# "Burstable instances, such as T2, are not supported" (SageMaker's developer guide, "Automatic scaling").
BURSTABLE = "t"


def problem(name: str, use: Use) -> str | None:
    """The reason why an instance type cannot be used, with the remedy; None if it can."""
    known = _known(use)
    where = _ENUMERATIONS[use][2]
    if name not in known:
        close = difflib.get_close_matches(name, sorted(known), n=3)
        return f"AWS has no instance type {name!r} for {where}" + (
            f": did you mean {', '.join(close)}?" if close else ""
        )
    if use == "notebook":
        return None  # its image is AWS's own, for every type that it offers
    if what := _unlike(name):
        like = "m5.xlarge" if use == "ec2" else "ml.m5.xlarge"
        return f"{name} has {what}, and Kennel's images are for x86-64 without a GPU: choose a type such as {like}"
    return None


def local_storage(name: str) -> bool:
    """True for types with local disks, which the hardware encrypts and which take no KMS key."""
    found = _parts(name)
    if not found:
        return False
    family = found["series"] + found["generation"]
    return "d" in found["options"] or found["series"] in _DISKS or family in _DISKS


def vcpus(name: str) -> int:
    """The processors of a type by its size: 2 for large, 4 for xlarge, and 4 for each x of larger ones.

    That is the rule of the x86-64 families (EC2's instance types guide); the few that exceed it (c4.8xlarge: 36) count
    as less, which scales them out earlier.
    """
    times = name.rpartition(".")[2].removesuffix("xlarge")
    return 4 * int(times or 1) if times.isdigit() or not times else 2


def burstable(name: str) -> bool:
    """True for burstable types, on which SageMaker scales no endpoint automatically."""
    found = _parts(name)
    return bool(found) and found["series"] == BURSTABLE


def _unlike(name: str) -> str | None:
    found = _parts(name)
    if not found:
        return None
    series = found["series"]
    if series in _ACCELERATED and found["options"].startswith("g"):
        return "a GPU and Graviton processors"
    if series in _ACCELERATED:
        return "an accelerator"
    if found["options"].startswith("g"):
        return "Graviton processors"
    return _OTHER.get(series)


def _parts(name: str) -> re.Match[str] | None:
    return _FAMILY.fullmatch(name.removeprefix("ml.").partition(".")[0])


def _known(use: Use) -> frozenset[str]:
    # A quarter of a second to load, so only for a type that is not a default.
    from botocore.loaders import Loader

    service, shape, _ = _ENUMERATIONS[use]
    return frozenset(Loader().load_service_model(service, "service-2")["shapes"][shape]["enum"])
