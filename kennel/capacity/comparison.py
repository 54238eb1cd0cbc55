"""Both endpoints under the same load: what callers waited, and what CloudWatch says of instances and models.

Requests go to the endpoints themselves, past the function, whose concurrency would be what is measured.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError

from infra.names import VARIANT
from infra.settings import METRIC_DELAY_S
from kennel.capacity.cloudwatch_counts import datapoints
from kennel.capacity.load_generator import THREADS, Answer, drive_all
from kennel.capacity.planning import QUEUE, Option, Row
from kennel.capacity.system import Endpoint, Floats, Instance, Outcome, histogram, moment
from kennel.capacity.traffic import Profile
from kennel.errors import KennelError
from kennel.pricing import prices
from kennel.stage.deployed import DeployedStage

# No answer at all, or none in time.
BROKEN = 0
# CloudWatch has every datapoint by then.
COMPLETE_S = 3 * METRIC_DELAY_S
POLL_S = 2.0


@dataclass(frozen=True)
class Step:
    """One scaling activity: its time in s after the begin, its description, and its policy."""

    second: float
    description: str
    cause: str


@dataclass(frozen=True)
class Comparison:
    """The fixed and the autoscaled endpoint under one traffic, measured from `begun` on."""

    profile: Profile
    begun: datetime
    instance_type: str
    prices: prices.Prices
    # The fixed one, and the scaled one.
    rows: list[Row]
    # 95 % of the model's own times in s by CloudWatch, a row for each step of the timelines; nan without requests.
    model_p95_s: dict[str, list[float]]
    # What is registered with Application Auto Scaling, as it describes it.
    policies: list[dict[str, Any]]
    bounds: tuple[int, int]
    steps: list[Step]


def endpoints(deployment: DeployedStage) -> tuple[str, str]:
    """The names of the fixed and of the autoscaled endpoint; raises KennelError where one of them is not deployed."""
    scaled = deployment.output("Serving", "EndpointName")
    if "AWS::ApplicationAutoScaling::ScalingPolicy" not in deployment.resources("Serving"):
        raise KennelError(f"{scaled} does not scale: there is nothing to compare.")
    try:
        return deployment.output("Serving", "FixedEndpointName"), scaled
    except KennelError:
        raise KennelError(
            f"Stage {deployment.stage} has no fixed endpoint: set endpoint.fixed in cdk.json, "
            f"then `make deploy STAGE={deployment.stage}`."
        ) from None


def warning(deployment: DeployedStage, profile: Profile) -> str:
    """The load and its possible cost, in words."""
    settings = deployment.settings.endpoint
    hourly = prices.load().instance(settings.instance_type)
    more = (settings.max_instances - settings.min_instances) * hourly * profile.duration_s / 3600
    running = (settings.fixed_instances + settings.min_instances) * hourly
    return (
        f"{profile.requests:,.0f} requests to each endpoint in {profile.duration_s / 60:g} minutes. Both cost "
        f"{running:.2f} USD an hour while they are there; scaling out may add up to {more:.2f} USD."
    )


def compare(
    deployment: DeployedStage,
    profile: Profile,
    image: bytes,
    *,
    period_s: int,
    seed: int,
    progress: Callable[[str], None] = lambda message: None,
) -> Comparison:
    """Sends `image` to both endpoints at the times of `profile`, then reads CloudWatch, by `period_s` seconds.

    Raises KennelError where one of the endpoints is not deployed, or its instance type has no price.
    """
    names = endpoints(deployment)
    settings = deployment.settings.endpoint
    table = prices.load()
    hourly = table.instance(settings.instance_type)
    arrivals = profile.arrivals(seed)
    # One try: a second would be another request. A client for each endpoint, so that they share no connections.
    once = Config(retries={"total_max_attempts": 1}, max_pool_connections=THREADS, read_timeout=settings.timeout_s)
    clients = {name: deployment.client("sagemaker-runtime", once) for name in names}

    def sender(name: str) -> Callable[[int], int]:
        return lambda number: _status(clients[name], name, image)

    def said(sent: int) -> None:
        progress(f"{sent:,} of {len(arrivals):,} requests to each endpoint")

    for name in names:
        if (status := _status(clients[name], name, image)) != 200:
            raise KennelError(f"{name} returns {status or 'nothing'} before any load: see `kennel status`.")
    # Whole periods, so that the first one is not cut.
    begun = datetime.fromtimestamp((time.time() // period_s + 1) * period_s, UTC)
    progress(f"begins at {begun:%H:%M:%S} UTC")
    time.sleep(max(0.0, (begun - datetime.now(UTC)).total_seconds()))
    answers = drive_all(arrivals, [sender(name) for name in names], said)
    ended = begun + timedelta(seconds=np.ceil(profile.duration_s / period_s) * period_s)
    cloudwatch = deployment.client("cloudwatch")
    _await(cloudwatch, names, begun, ended, period_s, len(arrivals), progress)

    policies, bounds, steps = _scaling(deployment.client("application-autoscaling"), names[1], begun)
    rows: list[Row] = []
    model: dict[str, list[float]] = {}
    for number, (name, least) in enumerate(zip(names, (settings.fixed_instances, bounds[0]), strict=True)):
        seen = _metrics(cloudwatch, name, begun, ended, period_s)
        outcome = _outcome(answers[number], seen["instances"], period_s, settings.timeout_s)
        # The capacity of an instance is not known; this row has what was measured.
        option = Option(name, None, Endpoint(Instance(float("nan"), queue=QUEUE), least), None, hourly)
        rows.append(Row(option, outcome, outcome.instance_s / 3600 * hourly, 0.0, profile.duration_s))
        model[name] = seen["model_p95_s"]
    return Comparison(profile, begun, settings.instance_type, table, rows, model, policies, bounds, steps)


def _scaling(client: Any, name: str, begun: datetime) -> tuple[list[dict[str, Any]], tuple[int, int], list[Step]]:
    """The scaling of an endpoint: its policies and bounds, and its activities since `begun`."""
    resource = f"endpoint/{name}/variant/{VARIANT}"
    of_it = {"ServiceNamespace": "sagemaker", "ResourceId": resource}
    policies = client.describe_scaling_policies(**of_it)["ScalingPolicies"]
    targets = client.describe_scalable_targets(ServiceNamespace="sagemaker", ResourceIds=[resource])["ScalableTargets"]
    activities = client.describe_scaling_activities(**of_it)["ScalingActivities"]
    steps = [
        Step((item["StartTime"] - begun).total_seconds(), item["Description"], item["Cause"])
        for item in reversed(activities)
        if item["StartTime"] >= begun
    ]
    return policies, (int(targets[0]["MinCapacity"]), int(targets[0]["MaxCapacity"])), steps


def _status(runtime: Any, endpoint: str, image: bytes) -> int:
    """The status of an endpoint's response: 200, the model server's status, 429, 503, or BROKEN."""
    try:
        answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=image, ContentType="image/jpeg")
        answer["Body"].read()
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("AccessDeniedException", "ValidationError"):
            raise KennelError(f"{endpoint}: {error.response['Error'].get('Message', code)}") from None
        if code == "ThrottlingException":
            return 429
        return int(error.response.get("OriginalStatusCode") or error.response["ResponseMetadata"]["HTTPStatusCode"])
    except HTTPClientError:
        return BROKEN
    return 200


def _outcome(answers: list[Answer], instances: Floats, period_s: int, timeout_s: float) -> Outcome:
    statuses = np.array([answer.status for answer in answers])
    latencies = np.array([answer.latency_s for answer in answers])
    due = np.array([answer.due_s for answer in answers])
    good = (statuses == 200) & (latencies <= timeout_s)
    timeline = []
    for number, count in enumerate(instances):
        of_step = (due >= number * period_s) & (due < (number + 1) * period_s)
        counts = histogram(latencies[of_step & good])
        timeline.append(moment(number * period_s, period_s, int(of_step.sum()), counts, round(float(count), 2)))
    throttled, refused = int((statuses == 429).sum()), int((statuses == 503).sum())
    answered = int(good.sum())
    return Outcome(
        requests=len(answers),
        answered=answered,
        throttled=throttled,
        refused=refused,
        late=len(answers) - answered - throttled - refused,
        cold_starts=0,
        counts=histogram(latencies[good]),
        mean_s=float(latencies[good].mean()) if answered else float("nan"),
        mean_wait_s=float("nan"),
        timeline=timeline,
        instance_s=float(instances.sum()) * period_s,
    )


def _await(
    cloudwatch: Any,
    names: tuple[str, str],
    begun: datetime,
    ended: datetime,
    period_s: int,
    requests: int,
    progress: Callable[[str], None],
) -> None:
    """Until CloudWatch has counted every request, or must have."""
    until = time.monotonic() + COMPLETE_S
    while time.monotonic() < until:
        counted = [_series(cloudwatch, name, "Invocations", "Sum", begun, ended, period_s) for name in names]
        if all(sum(series.values()) >= requests for series in counted):
            return
        progress("waiting for CloudWatch")
        time.sleep(POLL_S)


def _metrics(cloudwatch: Any, name: str, begun: datetime, ended: datetime, period_s: int) -> dict[str, Any]:
    def series(metric: str, statistic: str) -> dict[int, float]:
        return _series(cloudwatch, name, metric, statistic, begun, ended, period_s)

    steps = round((ended - begun).total_seconds() / period_s)
    sent, each = series("Invocations", "Sum"), series("InvocationsPerInstance", "Sum")
    model = series("ModelLatency", "p95")
    # Each request counts as one, and as one by the instances there are: their ratio is how many there were.
    known = {step: sent[step] / each[step] for step in sent if each.get(step)}
    if not known:
        raise KennelError(
            f"CloudWatch has no invocations of {name} since {begun:%H:%M:%S} UTC: check that your role allows "
            "cloudwatch:GetMetricData."
        )
    instances = np.empty(steps)
    current = known[min(known)]
    for step in range(steps):
        instances[step] = current = known.get(step, current)
    # In microseconds.
    return {"instances": instances, "model_p95_s": [model.get(step, float("nan")) / 1e6 for step in range(steps)]}


def _series(
    cloudwatch: Any, name: str, metric: str, statistic: str, begun: datetime, ended: datetime, period_s: int
) -> dict[int, float]:
    """The datapoints of a metric of an endpoint's, by step."""
    found = datapoints(cloudwatch, name, metric, statistic, begun, ended, period_s)
    return {round((moment - begun).total_seconds() / period_s): value for moment, value in found.items()}
