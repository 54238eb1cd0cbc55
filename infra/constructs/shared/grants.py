"""Statements that more than one role needs, each written once.

CDK's own grants allow families (s3:GetObject*, kms:ReEncrypt*, s3:DeleteObject*): these allow the calls that are made.
"""

from aws_cdk import Aws, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as assets
from aws_cdk.region_info import RegionInfo


def sagemaker_principal(stack: Stack) -> iam.PrincipalBase:
    """SageMaker, acting for this account and region only (the confused-deputy conditions)."""
    return iam.ServicePrincipal("sagemaker.amazonaws.com").with_conditions(
        {
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID},
            "ArnLike": {"aws:SourceArn": stack.format_arn(service="sagemaker", resource="*")},
        }
    )


def grant(role: iam.Role, actions: list[str], *resources: str, **conditions: dict[str, object]) -> None:
    """Adds one statement to `role`; conditions by operator, as StringEquals={key: value}."""
    role.add_to_policy(iam.PolicyStatement(actions=actions, resources=list(resources), conditions=conditions or None))


# A job or a model must have no network: SageMaker's Service Authorization Reference, sagemaker:NetworkIsolation.
ISOLATED = {"Bool": {"sagemaker:NetworkIsolation": "true"}}


def grant_list(role: iam.Role, bucket: s3.IBucket, *prefixes: str) -> None:
    """Lets `role` list what is below `prefixes` of `bucket`."""
    grant(role, ["s3:ListBucket"], bucket.bucket_arn, StringLike={"s3:prefix": [f"{prefix}*" for prefix in prefixes]})


def grant_objects(role: iam.Role, bucket: s3.IBucket, *prefixes: str) -> None:
    """Lets `role` read objects below `prefixes` of `bucket`, and decrypt them, by a name that it knows."""
    grant(role, ["s3:GetObject"], *(bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes))
    _grant_key(role, bucket, ["kms:Decrypt"])


def grant_read(role: iam.Role, bucket: s3.IBucket, *prefixes: str) -> None:
    """Lets `role` list and read what is below `prefixes` of `bucket`, and decrypt it."""
    grant_list(role, bucket, *prefixes)
    grant_objects(role, bucket, *prefixes)


def grant_asset_read(role: iam.Role, asset: assets.Asset, *, listing: bool) -> None:
    """Lets `role` read one asset, not the others in CDK's bucket; SageMaker also lists the prefixes that it reads."""
    if listing:
        grant(role, ["s3:ListBucket"], asset.bucket.bucket_arn, StringLike={"s3:prefix": asset.s3_object_key})
    grant(role, ["s3:GetObject"], asset.bucket.arn_for_objects(asset.s3_object_key))


def grant_write(role: iam.Role, bucket: s3.IBucket, *prefixes: str) -> None:
    """Lets `role` write below `prefixes` of `bucket`; a part of a large object is decrypted to be joined."""
    grant(role, ["s3:PutObject"], *(bucket.arn_for_objects(f"{prefix}*") for prefix in prefixes))
    _grant_key(role, bucket, ["kms:Decrypt", "kms:GenerateDataKey"])


def _grant_key(role: iam.Role, bucket: s3.IBucket, actions: list[str]) -> None:
    if bucket.encryption_key is None:
        return
    grant(
        role,
        actions,
        bucket.encryption_key.key_arn,
        # S3 alone uses the key, and for this bucket: what was copied out of it stays closed.
        StringEquals={"kms:ViaService": f"s3.{Stack.of(role).region}.{Aws.URL_SUFFIX}"},
        StringLike={"kms:EncryptionContext:aws:s3:arn": [bucket.bucket_arn, bucket.arn_for_objects("*")]},
    )


def grant_volume_encryption(role: iam.Role, key_arn: str) -> None:
    """Lets SageMaker encrypt the volumes of what is started in the name of `role`."""
    grant(role, ["kms:CreateGrant"], key_arn, Bool={"kms:GrantIsForAWSResource": "true"})


def grant_container_logs(role: iam.Role, group: str, streams: str) -> None:
    """Lets SageMaker write the log of a container: group `group`, streams by the pattern `streams`."""
    arn = f"arn:{Aws.PARTITION}:logs:{Aws.REGION}:{Aws.ACCOUNT_ID}:log-group:{group}"
    grant(role, ["logs:CreateLogGroup", "logs:DescribeLogStreams"], arn, f"{arn}:*")
    grant(role, ["logs:CreateLogStream", "logs:PutLogEvents"], f"{arn}:log-stream:{streams}")


def container_image(region: str, repository: str, tag: str) -> str:
    """The address of one of AWS's deep learning containers."""
    account = RegionInfo.get(region).dlc_repository_account
    return f"{account}.dkr.ecr.{region}.{Aws.URL_SUFFIX}/{repository}:{tag}"


def grant_pull_image(role: iam.Role, region: str, repository: str) -> None:
    """Lets `role` pull one of AWS's deep learning containers."""
    account = RegionInfo.get(region).dlc_repository_account
    grant(
        role,
        ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
        f"arn:{Aws.PARTITION}:ecr:{region}:{account}:repository/{repository}",
    )
    # The action has no resource level.
    grant(role, ["ecr:GetAuthorizationToken"], "*")


def role_policies_of(role: iam.Role) -> list[iam.Policy]:
    """The inline policies that a resource using `role` must wait for."""
    return [child for child in role.node.find_all() if isinstance(child, iam.Policy)]
