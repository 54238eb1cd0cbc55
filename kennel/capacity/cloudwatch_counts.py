"""Invocation counts of an endpoint from CloudWatch."""

from datetime import UTC, datetime, timedelta
from typing import Any

from infra.names import VARIANT
from kennel.capacity.traffic import Profile, from_counts
from kennel.stage.deployed import DeployedStage

# CloudWatch keeps minutes for 15 days.
PERIOD_S = 60


def invocations(deployment: DeployedStage, hours: float) -> Profile:
    """Requests to the stage's endpoint in the last `hours`, by the minute. Raises KennelError if there were none."""
    name = deployment.output("Serving", "EndpointName")
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    begin = until - timedelta(hours=hours)
    counts = datapoints(deployment.client("cloudwatch"), name, "Invocations", "Sum", begin, until, PERIOD_S)
    return from_counts(name, counts, PERIOD_S)


def datapoints(
    cloudwatch: Any, endpoint: str, metric: str, statistic: str, begin: datetime, end: datetime, period_s: int
) -> dict[datetime, float]:
    """A statistic of one of the endpoint's metrics by period; periods without requests are left out."""
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": VARIANT}]
    pages = cloudwatch.get_paginator("get_metric_data").paginate(
        StartTime=begin,
        EndTime=end,
        ScanBy="TimestampAscending",
        MetricDataQueries=[
            {
                "Id": "it",
                "MetricStat": {
                    "Metric": {"Namespace": "AWS/SageMaker", "MetricName": metric, "Dimensions": dimensions},
                    "Period": period_s,
                    "Stat": statistic,
                },
            }
        ],
    )
    found: dict[datetime, float] = {}
    for page in pages:
        for result in page["MetricDataResults"]:
            found.update(zip(result["Timestamps"], result["Values"], strict=True))
    return found
