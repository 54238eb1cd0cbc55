"""EC2 training: a launch template and a group of 0 or 1; a run sets the group to 1, the instance back to 0."""

from pathlib import Path

from aws_cdk import Aws, Stack
from aws_cdk import aws_autoscaling as autoscaling
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra import names
from infra.constructs.data.storage import Storage
from infra.constructs.shared.grants import (
    grant,
    grant_asset_read,
    grant_list,
    grant_read,
    grant_write,
    role_policies_of,
)
from infra.constructs.shared.log_groups import log_group
from infra.constructs.shared.nag import acknowledge
from infra.constructs.training.network import Network
from infra.constructs.training.training_asset import TrainingCode
from infra.names import CHECKPOINTS_PREFIX, DATASETS_PREFIX, PACKAGES_PREFIX, WEIGHTS_PREFIX
from infra.settings import StageSettings
from training.containers import python_version

USER_DATA = Path(__file__).resolve().parents[3] / "training" / "ec2_user_data.sh"
AMAZON_LINUX = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-x86_64"


class Ec2Training(Construct):
    """The instance's role, log group, launch template and group. Idle, it cost nothing: the group is empty."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        stage: StageSettings,
        storage: Storage,
        code: TrainingCode,
        network: Network,
    ) -> None:
        super().__init__(scope, construct_id)
        stack = Stack.of(self)
        group_name = stage.ec2_group
        run_parameter = names.parameter(stage.name, "ec2-run")

        self.log_group = log_group(self, "Log", stage=stage, part="ec2-training")
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
        )
        # Session Manager instead of SSH: no key pair, no inbound rule. AWS's own policy for it would let the instance
        # read every parameter of the account.
        grant(
            self.role,
            ["ssm:UpdateInstanceInformation"],
            stack.format_arn(service="ec2", resource="instance", resource_name="*"),
        )
        channels = [f"{verb}{kind}Channel" for verb in ("Create", "Open") for kind in ("Control", "Data")]
        # The actions have no resource level.
        grant(self.role, [f"ssmmessages:{channel}" for channel in channels], "*")
        grant_read(self.role, storage.datasets, DATASETS_PREFIX, WEIGHTS_PREFIX)
        grant_asset_read(self.role, code, listing=False)
        # The packages are listed, not read: a run that has ended is not started twice.
        grant_list(self.role, storage.models, PACKAGES_PREFIX)
        grant_read(self.role, storage.models, CHECKPOINTS_PREFIX)
        grant_write(self.role, storage.models, CHECKPOINTS_PREFIX, PACKAGES_PREFIX)
        grant(self.role, ["s3:PutObjectTagging"], storage.models.arn_for_objects(f"{PACKAGES_PREFIX}*"))
        grant(self.role, ["logs:CreateLogStream", "logs:PutLogEvents"], self.log_group.log_group_arn)
        grant(
            self.role,
            ["ssm:GetParameter"],
            stack.format_arn(service="ssm", resource=f"parameter{run_parameter}"),
        )
        grant(
            self.role,
            ["autoscaling:SetDesiredCapacity"],
            f"arn:{Aws.PARTITION}:autoscaling:{Aws.REGION}:{Aws.ACCOUNT_ID}"
            f":autoScalingGroup:*:autoScalingGroupName/{group_name}",
        )

        user_data = USER_DATA.read_text()
        for name, value in {
            "@REGION@": stage.region,
            "@GROUP@": group_name,
            "@RUN_PARAMETER@": run_parameter,
            "@LOG_GROUP@": self.log_group.log_group_name,
            "@CODE@": code.s3_object_url,
            "@DATASETS@": f"{storage.datasets.bucket_name}/{DATASETS_PREFIX}",
            "@MODELS@": storage.models.bucket_name,
            "@PACKAGES@": PACKAGES_PREFIX,
            "@CHECKPOINTS@": CHECKPOINTS_PREFIX,
            "@PYTHON@": f"python{python_version()}",
            "@MAX_RUN_S@": str(stage.ec2.max_run_h * 3600),
        }.items():
            user_data = user_data.replace(name, value)

        template = ec2.LaunchTemplate(
            self,
            "Template",
            instance_type=ec2.InstanceType(stage.ec2.instance_type),
            machine_image=ec2.MachineImage.resolve_ssm_parameter_at_launch(AMAZON_LINUX),
            user_data=ec2.UserData.custom(user_data),
            role=self.role,
            security_group=network.security_group,
            associate_public_ip_address=True,
            require_imdsv2=True,
            http_put_response_hop_limit=1,
            # The account's EBS key: with ours, a new account's Auto Scaling role could not start the instance.
            block_devices=[
                ec2.BlockDevice(
                    device_name="/dev/xvda",
                    volume=ec2.BlockDeviceVolume.ebs(
                        stage.ec2.volume_size_gib, encrypted=True, volume_type=ec2.EbsDeviceVolumeType.GP3
                    ),
                )
            ],
            spot_options=ec2.LaunchTemplateSpotOptions() if stage.ec2.spot else None,
        )
        acknowledge(
            template,
            {"CKV_AWS_88": "it needs the package index; nothing reaches it, and a NAT gateway has an idle cost"},
        )
        self.group = autoscaling.AutoScalingGroup(
            self,
            "Group",
            auto_scaling_group_name=group_name,
            vpc=network.vpc,
            vpc_subnets=ec2.SubnetSelection(subnet_type=ec2.SubnetType.PUBLIC),
            launch_template=template,
            min_capacity=0,
            max_capacity=1,
            # One-minute metrics, free of charge: they show an instance that nobody ends is noticed.
            group_metrics=[autoscaling.GroupMetrics(autoscaling.GroupMetric.DESIRED_CAPACITY)],
        )
        acknowledge(
            self.group,
            {"AwsSolutions-AS3": "the one instance of a run says itself, in its log and in S3, how it went"},
        )
        self.group.node.add_dependency(*role_policies_of(self.role))
