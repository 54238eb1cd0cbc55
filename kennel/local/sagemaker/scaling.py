"""Application Auto Scaling: what the registered policies ask for, on the metrics that were published.

Target tracking itself is kennel.local.sagemaker.target_tracking, which `kennel plan` simulates with.
"""

import json
import threading
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from moto.applicationautoscaling.models import FakeApplicationAutoscalingPolicy, applicationautoscaling_backends
from moto.sagemaker.models import FakeEndpoint, sagemaker_backends

from kennel.local.cloudwatch import alarms
from kennel.local.cloudwatch.metrics import INSTANCES, NAMESPACE, EndpointMetrics
from kennel.local.errors import ServiceError
from kennel.local.sagemaker.target_tracking import Policy, Tracker
from kennel.local.service_quotas import instance_type_of, require_instances
from kennel.local.settings import ACCOUNT, REGION, speed

MINUTE_S = 60
INVOCATIONS = "SageMakerVariantInvocationsPerInstance"
# The metrics that are published here and follow the number of instances (metrics.py, fleets.py).
USES = ("CPUUtilization", "MemoryUtilization", "DiskUtilization")

Activities = list[dict[str, Any]]


class Scaling:
    """Follows the endpoints for as long as this process lives; `resize` changes one to so many instances."""

    def __init__(self, metrics: EndpointMetrics, resize: Callable[[FakeEndpoint, int], None]) -> None:
        self._metrics = metrics
        self._resize = resize
        # By the policy's ARN: what it says, what it saw, and until when.
        self._trackers: dict[str, tuple[Policy, Tracker, float]] = {}
        self._activities: Activities = []

    def watch(self) -> None:
        """Publishes metrics, evaluates alarms and scales, once in every minute of AWS's."""
        threading.Thread(target=self._watch, name="scaling", daemon=True).start()

    def operations(self) -> dict[str, Callable[..., Any]]:
        """The operations that moto lacks."""
        return {"DescribeScalingActivities": self.activities, "PutScalingPolicy": self.put_policy}

    def put_policy(self, parameters: dict[str, Any], record: Callable[..., Any]) -> Any:
        """Records a policy, if there is its metric here; one that is changed keeps its ARN, which moto gives again."""
        config = parameters.get("TargetTrackingScalingPolicyConfiguration", {})
        if parameters["ServiceNamespace"] == "sagemaker" and _metric(parameters["ResourceId"], config) is None:
            raise ServiceError(
                400,
                "ValidationException",
                f"The embedded AWS publishes no metric as in {json.dumps(config)}: leave the policy out",
            )
        policies = applicationautoscaling_backends[ACCOUNT][REGION].policies
        names = ("ServiceNamespace", "ResourceId", "ScalableDimension", "PolicyName")
        key = FakeApplicationAutoscalingPolicy.formulate_key(*(parameters[name] for name in names))
        before = policies.get(key)
        answer = record()
        if before:
            policies[key].policy_arn = answer["PolicyARN"] = before.policy_arn
        return answer

    def activities(self, parameters: dict[str, Any], record: Callable[..., Any]) -> dict[str, Activities]:
        """Scaling activities with their causes, newest first."""
        wanted = parameters.get("ResourceId")
        found = [item for item in reversed(self._activities) if wanted in (None, item["ResourceId"])]
        return {"ScalingActivities": found}

    def _watch(self) -> None:
        minute_s = MINUTE_S / speed()
        while True:
            # Just after the end of each, so that none is seen twice.
            time.sleep(minute_s - time.time() % minute_s)
            try:
                self._metrics.publish()
                alarms.evaluate_all()
                self._scale()
            except Exception:
                traceback.print_exc()

    def _scale(self) -> None:
        scaling = applicationautoscaling_backends[ACCOUNT][REGION]
        endpoints = sagemaker_backends[ACCOUNT][REGION].endpoints
        by_resource: dict[str, list[Any]] = {}
        for policy in list(scaling.policies.values()):
            if policy.service_namespace == "sagemaker":
                by_resource.setdefault(policy.resource_id, []).append(policy)
        for resource, policies in by_resource.items():
            # endpoint/NAME/variant/VARIANT
            endpoint = endpoints.get(resource.split("/")[1])
            target = scaling.targets.get(policies[0].scalable_dimension, {}).get(resource)
            if endpoint is None or target is None or not endpoint.production_variants:
                continue
            before = int(endpoint.production_variants[0]["DesiredInstanceCount"])
            decisions = [(self._decide(policy, target, endpoint, before), policy.policy_name) for policy in policies]
            # Among several policies, the one that wants most.
            after, policy_name = max(decisions)
            if after > before:
                try:
                    require_instances("endpoint usage", str(instance_type_of(endpoint)), after - before)
                except ServiceError as fault:
                    self._note(resource, policy_name, before, after, failure=str(fault))
                    continue
            if after != before:
                self._note(resource, policy_name, before, after)
                endpoint.endpoint_status = "Updating"
                self._resize(endpoint, after)

    def _decide(self, policy: Any, target: Any, endpoint: FakeEndpoint, instances: int) -> int:
        config = policy.target_tracking_scaling_policy_configuration
        wanted = Policy(
            target=float(config["TargetValue"]),
            minimum=int(target.min_capacity),
            maximum=int(target.max_capacity),
            scale_out_cooldown_s=int(config.get("ScaleOutCooldown", 300)),
            scale_in_cooldown_s=int(config.get("ScaleInCooldown", 300)),
        )
        now = time.time()
        known, tracker, seen_until = self._trackers.get(policy.policy_arn, (None, None, now))
        if tracker is None or known != wanted:
            tracker = Tracker(wanted)
        self._trackers[policy.policy_arn] = (wanted, tracker, now)
        # On a busy machine this is not called in every minute; the datapoints of those between are there all the same.
        passed = round((now - seen_until) * speed() / MINUTE_S)
        metric = _metric(policy.resource_id, config)
        assert metric
        *missed, value = alarms.recent(metric, max(1, passed), now=now)
        for earlier in missed:
            tracker.note(earlier)
        busy = endpoint.endpoint_status != "InService"
        return tracker.observe(time.monotonic() * speed(), value, instances, busy=busy)

    def _note(self, resource: str, policy_name: str, before: int, after: int, failure: str = "") -> None:
        direction = "High" if after > before else "Low"
        now = datetime.now(UTC).timestamp()
        self._activities.append(
            {
                "ActivityId": f"{len(self._activities)}",
                "ServiceNamespace": "sagemaker",
                "ResourceId": resource,
                "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
                "Description": f"Setting desired instance count to {after}.",
                "Cause": f"monitor alarm TargetTracking-{resource}-Alarm{direction} in state ALARM triggered policy "
                f"{policy_name}",
                "StartTime": now,
                "EndTime": now,
                "StatusCode": "Failed" if failure else "Successful",
                "StatusMessage": failure or f"Successfully set desired instance count to {after}.",
            }
        )


def scaled(endpoint: str) -> bool:
    """True if a variant of the endpoint is registered as a scalable target."""
    return bool(_resources(endpoint))


def forget(endpoint: str) -> None:
    """Deregisters a deleted endpoint's targets with their policies, as Application Auto Scaling does."""
    backend = applicationautoscaling_backends[ACCOUNT][REGION]
    for dimension, resource in _resources(endpoint):
        backend.deregister_scalable_target("sagemaker", resource, dimension)
        for key, policy in list(backend.policies.items()):
            if policy.resource_id == resource:
                del backend.policies[key]


def _resources(endpoint: str) -> list[tuple[str, str]]:
    targets = applicationautoscaling_backends[ACCOUNT][REGION].targets
    prefix = f"endpoint/{endpoint}/variant/"
    return [(dimension, name) for dimension, of in targets.items() for name in of if name.startswith(prefix)]


def _metric(resource: str, config: dict[str, Any]) -> dict[str, Any] | None:
    """The metric of a policy's configuration, as an alarm has it; None if it is not published here."""
    _, endpoint, _, variant = resource.split("/")
    dimensions = [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]
    metric = {"Dimensions": dimensions, "Period": MINUTE_S}
    if config.get("PredefinedMetricSpecification", {}).get("PredefinedMetricType") == INVOCATIONS:
        # The invocations of each instance in a minute.
        return {"Namespace": NAMESPACE, "MetricName": "InvocationsPerInstance", "Statistic": "Sum"} | metric
    custom = config.get("CustomizedMetricSpecification", {})
    known = custom.get("Namespace") == INSTANCES and custom.get("MetricName") in USES
    if known and sorted(custom.get("Dimensions", []), key=lambda item: str(item["Name"])) == dimensions:
        return {name: custom[name] for name in ("Namespace", "MetricName", "Statistic")} | metric
    return None
