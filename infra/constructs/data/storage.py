"""Key and buckets: encrypted, versioned, TLS only, never public."""

from typing import Any

from aws_cdk import Aws, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.bootstrap.execution_policy import KEY_OF_DEPLOYS
from infra.bootstrap.roles import bootstrap_role
from infra.constructs.shared.nag import acknowledge
from infra.names import CAPTURES_PREFIX, CHECKPOINTS_PREFIX, INBOX_PREFIX, PROMOTED_PREFIX
from infra.settings import StageSettings

# The rules that notify the stage's topic.
NOTIFIERS = ("budgets", "cloudwatch")

# S3 itself writes the access logs.
NO_SERVICE = {"BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}
KEY_ADMINISTRATION = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListAliases",
    "kms:ListGrants",
    "kms:ListKeyPolicies",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RetireGrant",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
]


class Storage(Construct):
    """The customer-managed key and the three buckets of a stage."""

    def __init__(self, scope: Construct, construct_id: str, *, stage: StageSettings) -> None:
        super().__init__(scope, construct_id)
        self._stage = stage
        self.removal_policy = RemovalPolicy.RETAIN if stage.retain_data else RemovalPolicy.DESTROY

        self.key = kms.Key(
            self,
            "Key",
            description=f"Kennel {stage.name}: datasets, model packages, volumes, notifications",
            enable_key_rotation=True,
            alias=f"alias/kennel-{stage.name}",
            removal_policy=self.removal_policy,
            policy=_key_policy(Stack.of(self), stage),
        )
        # Access log delivery supports no customer-managed keys.
        self.logs = self._bucket(
            "AccessLogs",
            encryption=s3.BucketEncryption.S3_MANAGED,
            lifecycle=[
                s3.LifecycleRule(
                    expiration=Duration.days(stage.log_retention_days),
                    # They have the names of objects, of people's files among them.
                    noncurrent_version_expiration=Duration.days(1),
                )
            ],
        )
        acknowledge(self.logs, {"CKV_AWS_18": "it holds the access logs of the others"})
        self.datasets = self._bucket(
            "Datasets",
            lifecycle=[
                # An image there is asked about once.
                s3.LifecycleRule(
                    prefix=INBOX_PREFIX,
                    expiration=Duration.days(1),
                    noncurrent_version_expiration=Duration.days(1),
                ),
                # A marker keeps the name of what was deleted.
                s3.LifecycleRule(prefix=INBOX_PREFIX, expired_object_delete_marker=True),
            ],
        )
        self.models = self._bucket(
            "Models",
            lifecycle=[
                # A run's own state; features and searches of a dataset stay for the trainings after it.
                s3.LifecycleRule(prefix=f"{CHECKPOINTS_PREFIX}runs/", expiration=Duration.days(30)),
                s3.LifecycleRule(
                    prefix=CAPTURES_PREFIX,
                    expiration=Duration.days(stage.endpoint.capture_days),
                    noncurrent_version_expiration=Duration.days(1),
                ),
                # They are written again and again while a job runs.
                s3.LifecycleRule(prefix=CHECKPOINTS_PREFIX, noncurrent_version_expiration=Duration.days(1)),
            ],
        )
        roles = Stack.of(self).format_arn(service="iam", region="", resource="role", resource_name=f"{stage.prefix}-*")
        _deny(
            self.models,
            "PromotedPackages",
            {"ArnLike": {"aws:PrincipalArn": roles}},
            "s3:PutObject",
            self.models.arn_for_objects(f"{PROMOTED_PREFIX}*"),
        )

    def _bucket(
        self,
        name: str,
        *,
        lifecycle: list[s3.LifecycleRule],
        encryption: s3.BucketEncryption = s3.BucketEncryption.KMS,
    ) -> s3.Bucket:
        customer_key = encryption == s3.BucketEncryption.KMS
        bucket = s3.Bucket(
            self,
            name,
            encryption=encryption,
            encryption_key=self.key if customer_key else None,
            bucket_key_enabled=customer_key,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            minimum_tls_version=1.2,
            versioned=True,
            server_access_logs_bucket=self.logs if customer_key else None,
            server_access_logs_prefix=f"{name.lower()}/" if customer_key else None,
            lifecycle_rules=[
                s3.LifecycleRule(
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                    noncurrent_version_expiration=Duration.days(self._stage.model_packages_days),
                ),
                *lifecycle,
            ],
            removal_policy=self.removal_policy,
            auto_delete_objects=not self._stage.retain_data,
        )
        _deny(bucket, "ForeignAccounts", {"StringNotEquals": {"aws:PrincipalAccount": Aws.ACCOUNT_ID}, **NO_SERVICE})
        if customer_key:
            key = "s3:x-amz-server-side-encryption-aws-kms-key-id"
            other = {"StringNotEquals": {key: self.key.key_arn}, "Null": {key: "false"}}
            _deny(bucket, "OtherKeys", other, "s3:PutObject")
            method = "s3:x-amz-server-side-encryption"
            weaker = {"StringNotEquals": {method: "aws:kms"}, "Null": {method: "false"}}
            _deny(bucket, "OtherEncryption", weaker, "s3:PutObject")
        return bucket


def _deny(bucket: s3.Bucket, sid: str, conditions: dict[str, Any], action: str = "s3:*", *resources: str) -> None:
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            sid=sid,
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=[action],
            resources=list(resources) or [bucket.bucket_arn, bucket.arn_for_objects("*")],
            conditions=conditions,
        )
    )


def _key_policy(stack: Stack, stage: StageSettings) -> iam.PolicyDocument:
    """The statements of the key's policy, for principals whose own policies allow the calls too.

    Nobody can use it directly: data only through S3, volumes only through a service, by a grant; and what tells of
    alarms and budgets uses it for one topic.
    """
    account = iam.AccountRootPrincipal()
    s3_alone = {"StringEquals": {"kms:ViaService": f"s3.{stack.region}.{Aws.URL_SUFFIX}"}}
    statements = {
        "Administration": (KEY_ADMINISTRATION, None),
        "DataThroughS3": (["kms:Decrypt", "kms:Encrypt", "kms:GenerateDataKey"], s3_alone),
        "VolumesByGrant": (["kms:CreateGrant"], {"Bool": {"kms:GrantIsForAWSResource": "true"}}),
    }
    of_account = [
        iam.PolicyStatement(sid=sid, principals=[account], actions=actions, resources=["*"], conditions=conditions)
        for sid, (actions, conditions) in statements.items()
    ]
    # A deploy may change this key and no other: CloudFormation's role has no rights on keys but these.
    deploying = iam.ArnPrincipal(bootstrap_role(stack, stage.name, Aws.REGION, "cfn-exec"))
    deploys = iam.PolicyStatement(
        sid="Deploys",
        principals=[deploying],
        actions=list(KEY_OF_DEPLOYS),
        resources=["*"],
    )
    volumes = iam.PolicyStatement(
        sid="VolumesOfDeploys",
        principals=[deploying],
        actions=["kms:CreateGrant"],
        resources=["*"],
        conditions={"Bool": {"kms:GrantIsForAWSResource": "true"}},
    )
    # SNS says in the encryption context for which topic it works.
    topic = stack.format_arn(service="sns", resource=stage.alarm_topic)
    notifications = iam.PolicyStatement(
        sid="NotificationsOfAlarms",
        principals=[iam.ServicePrincipal(f"{name}.amazonaws.com") for name in NOTIFIERS],
        actions=["kms:Decrypt", "kms:GenerateDataKey"],
        resources=["*"],
        conditions={
            "StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID, "kms:EncryptionContext:aws:sns:topicArn": topic}
        },
    )
    return iam.PolicyDocument(statements=[*of_account, deploys, volumes, notifications])
