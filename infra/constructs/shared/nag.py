"""Published rules that a construct does not keep, on purpose."""

from typing import cast

from aws_cdk import Acknowledgment, CfnResource, Validations
from constructs import Construct

# Where checkov looks is the resource's metadata.
CHECKOV = "CKV_"


def acknowledge(construct: Construct, reasons: dict[str, str]) -> None:
    """Says why `construct` does not keep the rules of `reasons`, in the template and to whoever checks it.

    The rules are those of cdk-nag, of CDK and of checkov, by their ids. Call it once for a construct.
    """
    skipped = [{"id": rule, "comment": why} for rule, why in reasons.items() if rule.startswith(CHECKOV)]
    if skipped:
        resource = cast(CfnResource, construct.node.default_child or construct)
        resource.add_metadata("checkov", {"skip": skipped})
    others = [(rule, why) for rule, why in reasons.items() if not rule.startswith(CHECKOV)]
    Validations.of(construct).acknowledge(*(Acknowledgment(id=rule, reason=why) for rule, why in others))


# For a function without reserved concurrency.
UNRESERVED = {"CKV_AWS_115": "the stage reserves nothing: a new account's quota leaves nothing to reserve"}
