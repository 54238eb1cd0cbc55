"""Published rules that a construct does not keep, on purpose."""

from aws_cdk import Acknowledgment, Validations
from constructs import Construct


def acknowledge(construct: Construct, reasons: dict[str, str]) -> None:
    """Says why `construct` does not keep the rules of `reasons`, in the template and to whoever checks it."""
    Validations.of(construct).acknowledge(*(Acknowledgment(id=rule, reason=why) for rule, why in reasons.items()))
