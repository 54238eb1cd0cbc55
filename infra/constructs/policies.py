"""Statements that more than one role needs, each written once."""

from aws_cdk import Aws
from aws_cdk import aws_iam as iam
from aws_cdk.region_info import RegionInfo


def service_principal(service: str) -> iam.PrincipalBase:
    """`service`, acting for this account only (the confused-deputy condition)."""
    return iam.ServicePrincipal(service).with_conditions({"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}})


def container_image(region: str, repository: str, tag: str) -> str:
    """The address of one of AWS's deep learning containers."""
    account = RegionInfo.get(region).dlc_repository_account
    return f"{account}.dkr.ecr.{region}.{Aws.URL_SUFFIX}/{repository}:{tag}"


def pull_image(role: iam.Role, region: str, repository: str) -> None:
    """Lets `role` pull one of AWS's deep learning containers."""
    account = RegionInfo.get(region).dlc_repository_account
    role.add_to_policy(
        iam.PolicyStatement(
            actions=["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
            resources=[f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{repository}"],
        )
    )
    role.add_to_policy(
        # The action has no resource level.
        iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"])
    )


def role_policies_of(role: iam.Role) -> list[iam.Policy]:
    """The inline policies that a resource using `role` must wait for."""
    return [child for child in role.node.find_all() if isinstance(child, iam.Policy)]
