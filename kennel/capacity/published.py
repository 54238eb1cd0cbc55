"""The capacity of an instance, as its servers published it."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from inference.metrics import MODEL_CAPACITY, NAMESPACE, THROUGHPUT
from kennel.stage.deployed import DeployedStage

# CloudWatch keeps five-minute datapoints for 63 days.
PERIOD_S, DAYS = 300, 63
# The rest of the processor time of a request is that of the adapter. Of the fastest model; of slower ones it is less
# (bench/results/serving.md, "share of the predictor in process": 0.62, and 0.84 for ResNet50).
SHARE_BEHIND_ADAPTER = 0.6


@dataclass(frozen=True)
class Capacity:
    """Requests per second of one instance, the slowest of those that published it last; when, and how it is known."""

    requests_per_s: float
    time: datetime
    source: str

    def __str__(self) -> str:
        return f"{self.requests_per_s:,.0f} requests/s per instance, {self.source} at {self.time:%Y-%m-%d %H:%M} UTC"


def capacity(deployment: DeployedStage) -> Capacity | None:
    """The newest published capacity of the stage's instance type; None if no instance has published one.

    An instance that was saturated since it started has shown it; of others it is estimated, rather too low.
    """
    runs_on = deployment.settings.endpoint.runs_on
    dimensions = [{"Name": "InstanceType", "Value": runs_on}, {"Name": "Stage", "Value": deployment.stage}]
    now = datetime.now(UTC)
    results = deployment.client("cloudwatch").get_metric_data(
        StartTime=now - timedelta(days=DAYS),
        EndTime=now + timedelta(seconds=PERIOD_S),
        ScanBy="TimestampDescending",
        MetricDataQueries=[
            {
                "Id": name.lower(),
                "MetricStat": {
                    "Metric": {"Namespace": NAMESPACE, "MetricName": name, "Dimensions": dimensions},
                    "Period": PERIOD_S,
                    "Stat": "Minimum",
                },
            }
            for name in (MODEL_CAPACITY, THROUGHPUT)
        ],
    )["MetricDataResults"]
    newest = {item["Id"]: (item["Timestamps"][0], float(item["Values"][0])) for item in results if item["Values"]}
    if MODEL_CAPACITY.lower() not in newest:
        return None
    started, model = newest[MODEL_CAPACITY.lower()]
    seen, throughput = newest.get(THROUGHPUT.lower(), (started, 0.0))
    if throughput and seen >= started:
        return Capacity(throughput, seen, "seen under full load")
    return Capacity(SHARE_BEHIND_ADAPTER * model, started, f"{SHARE_BEHIND_ADAPTER:.0%} of what its model measured")
