"""Traffic as CloudWatch counted it."""

from datetime import UTC, datetime, timedelta

from infra.config import VARIANT
from kennel.capacity.traffic import Profile, from_counts
from kennel.deployment import Deployment

# CloudWatch keeps minutes for 15 days.
PERIOD_S = 60


def invocations(deployment: Deployment, hours: float) -> Profile:
    """What the stage's endpoint was asked in the last `hours`, by the minute. Raises KennelError if it was nothing."""
    name = deployment.output("Serving", "EndpointName")
    until = datetime.now(UTC).replace(second=0, microsecond=0)
    pages = (
        deployment.client("cloudwatch")
        .get_paginator("get_metric_data")
        .paginate(
            StartTime=until - timedelta(hours=hours),
            EndTime=until,
            ScanBy="TimestampAscending",
            MetricDataQueries=[
                {
                    "Id": "invocations",
                    "MetricStat": {
                        "Metric": {
                            "Namespace": "AWS/SageMaker",
                            "MetricName": "Invocations",
                            "Dimensions": [
                                {"Name": "EndpointName", "Value": name},
                                {"Name": "VariantName", "Value": VARIANT},
                            ],
                        },
                        "Period": PERIOD_S,
                        "Stat": "Sum",
                    },
                }
            ],
        )
    )
    counts: dict[datetime, float] = {}
    for page in pages:
        for result in page["MetricDataResults"]:
            counts.update(zip(result["Timestamps"], result["Values"], strict=True))
    return from_counts(name, counts, PERIOD_S)
