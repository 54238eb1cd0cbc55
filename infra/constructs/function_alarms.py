"""What says that a function has too little concurrency: callers were refused, or waited for a start."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

PERIOD = Duration.minutes(1)


class FunctionAlarms(Construct):
    """Throttled calls, and calls that spilled over from provisioned concurrency to a cold start."""

    def __init__(self, scope: Construct, construct_id: str, *, alias: lambda_.Alias, provisioned: bool) -> None:
        super().__init__(scope, construct_id)
        self._alias = alias
        self.throttled = self._alarm(
            "Throttled", "Throttles", "Calls are answered 429: raise reserved_concurrency, or find who calls so often"
        )
        if provisioned:
            self.spilled_over = self._alarm(
                "SpilledOver",
                "ProvisionedConcurrencySpilloverInvocations",
                "Calls wait for a cold start: raise provisioned_max, or lower provisioned_utilization",
            )

    def _alarm(self, construct_id: str, metric: str, meaning: str) -> cloudwatch.Alarm:
        # Three minutes of five: one burst is what the queue of the caller is for.
        return cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=meaning,
            metric=self._alias.metric(metric, statistic="Sum", period=PERIOD),
            threshold=0,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            evaluation_periods=5,
            datapoints_to_alarm=3,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
