"""A stage's own log groups: one name, one retention for all."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra import names
from infra.constructs.shared.nag import acknowledge
from infra.settings import StageSettings

RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1096: logs.RetentionDays.THREE_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    2192: logs.RetentionDays.SIX_YEARS,
    2557: logs.RetentionDays.SEVEN_YEARS,
    2922: logs.RetentionDays.EIGHT_YEARS,
    3288: logs.RetentionDays.NINE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}


def log_group(
    scope: Construct, construct_id: str, *, stage: StageSettings, part: str = "", name: str | None = None
) -> logs.LogGroup:
    """The log group `/kennel/STAGE/PART`, or `name`, which a stage that keeps its data keeps, too.

    But for a deploy that failed: what it had made would be in the way of the next one (CloudFormation's user guide,
    "DeletionPolicy attribute", RetainExceptOnCreate).
    """
    group = logs.LogGroup(
        scope,
        construct_id,
        log_group_name=name or names.log_group(stage.name, part),
        retention=RETENTION[stage.log_retention_days],
        removal_policy=RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE if stage.retain_data else RemovalPolicy.DESTROY,
    )
    acknowledge(group, {"CKV_AWS_158": "no image and no secret is in it: CloudWatch's own key is enough"})
    return group
