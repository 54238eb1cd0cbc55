"""Endpoints: which fleet answers, and how a new one takes over: canary, bake, rollback by alarm, end of the old one."""

import itertools
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto.sagemaker.models import FakeEndpoint

from kennel.local.cloudwatch.metrics import EndpointMetrics, Invocation, publish_uses
from kennel.local.processes import Processes
from kennel.local.sagemaker.data_capture import Capture
from kennel.local.sagemaker.fleets import Fleet, FleetSettings, Unavailable
from kennel.local.settings import speed

POLL_S = 0.1
MINUTE_S = 60


@dataclass(frozen=True)
class Rollout:
    """The settings of a blue/green update; times in seconds of AWS's."""

    canary: dict[str, Any] | None = None
    bake_s: float = 0.0
    termination_wait_s: float = 0.0
    alarms: tuple[str, ...] = ()

    @classmethod
    def of(cls, config: dict[str, Any]) -> "Rollout":
        """Out of the DeploymentConfig of a call."""
        policy = config.get("BlueGreenUpdatePolicy", {})
        routing = policy.get("TrafficRoutingConfiguration", {})
        return cls(
            canary=routing.get("CanarySize") if routing.get("Type") == "CANARY" else None,
            bake_s=float(routing.get("WaitIntervalInSeconds", 0)),
            termination_wait_s=float(policy.get("TerminationWaitInSeconds", 0)),
            alarms=tuple(alarm["AlarmName"] for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])),
        )

    def shares(self, instances: int) -> list[float]:
        """Of the traffic, what the new fleet gets, step by step."""
        if self.canary is None:
            return [1.0]
        value = self.canary["Value"]
        part = value if self.canary["Type"] == "INSTANCE_COUNT" else instances * value // 100
        return [max(part, 1) / instances, 1.0]


@dataclass
class _Route:
    """The fleet in charge, and while it is tried the new one with its share of the requests."""

    fleet: Fleet
    green: Fleet | None = None
    share: float = 0.0

    @property
    def instances(self) -> int:
        """Those that get requests."""
        return self.fleet.size if self.green is None else max(self.fleet.size, self.green.size)


class Endpoints:
    """The fleets of all endpoints; each endpoint's state is moto's record of it.

    `firing` says which of some alarms are in ALARM.
    """

    def __init__(
        self,
        processes: Processes,
        folder: Path,
        service_endpoint: str,
        metrics: EndpointMetrics,
        capture: Capture,
        firing: Callable[[tuple[str, ...]], list[str]],
    ) -> None:
        self._processes = processes
        self._folder = folder
        self._service_endpoint = service_endpoint
        self._metrics = metrics
        self._capture = capture
        self._firing = firing
        self._routes: dict[str, _Route] = {}
        self._fleets: Iterator[int] = itertools.count(1)
        self._requests: Iterator[int] = itertools.count()

    def watch(self) -> None:
        """Publishes what the instances use, once in every minute of AWS's, for as long as this process lives."""
        threading.Thread(target=self._watch, name="instances", daemon=True).start()

    def _watch(self) -> None:
        while True:
            _wait(MINUTE_S)
            try:
                for name, route in list(self._routes.items()):
                    for fleet in filter(None, (route.fleet, route.green)):
                        if not fleet.settings.max_concurrency:  # serverless, there are none
                            publish_uses(name, fleet.settings.variant, fleet.uses())
            except Exception:
                traceback.print_exc()

    def deploy(self, endpoint: FakeEndpoint, settings: FleetSettings, rollout: Rollout) -> None:
        """Blue/green: a new fleet is started, and takes over as `rollout` says once every instance answers /ping."""
        threading.Thread(target=self._deploy, args=(endpoint, settings, rollout), daemon=True).start()

    def resize(self, endpoint: FakeEndpoint, instances: int) -> None:
        """Starts or stops instances until there are so many."""
        threading.Thread(target=self._resize, args=(endpoint, instances), daemon=True).start()

    def remove(self, name: str) -> None:
        """Stops what answers for the endpoint."""
        if route := self._routes.pop(name, None):
            for fleet in filter(None, (route.fleet, route.green)):
                fleet.close()

    def invoke(self, name: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The answer of one instance; raises Unavailable if none is ready or the connection breaks."""
        begun = time.monotonic()
        route = self._routes.get(name)
        if route is None:
            raise Unavailable(f"Endpoint {name} has no healthy instance")
        fleet = self._choose(route)
        status, sent = 503, time.monotonic()
        try:
            status, content_type, answer = fleet.invoke(headers, body)
        finally:
            took = time.monotonic() - sent
            variant, config = fleet.settings.variant, fleet.settings.config_name
            self._metrics.add(Invocation(name, variant, config, route.instances, status, took, sent - begun))
        if status < 400:
            self._capture.add(name, fleet.settings, headers.get("content-type", ""), body, content_type, answer)
        variant = {"x-Amzn-Invoked-Production-Variant": fleet.settings.variant}
        return status, {"Content-Type": content_type, **variant}, answer

    def _choose(self, route: _Route) -> Fleet:
        """Evenly spread: of any n requests one after the other, the new fleet gets its share to within one."""
        number = next(self._requests)
        green, share = route.green, route.share
        return green if green and int((number + 1) * share) > int(number * share) else route.fleet

    def _deploy(self, endpoint: FakeEndpoint, settings: FleetSettings, rollout: Rollout) -> None:
        name = endpoint.endpoint_name
        green = Fleet(
            name,
            settings,
            processes=self._processes,
            # Never that of another fleet: one may be on its way to the config that another is leaving.
            folder=self._folder / name / str(next(self._fleets)),
            service_endpoint=self._service_endpoint,
        )
        route = self._routes.get(name)
        try:
            green.start()
            if route:
                self._shift(endpoint, route, green, rollout)
        except Exception as error:
            if route:
                endpoint.endpoint_status = "RollingBack"
                route.green, route.share = None, 0.0
            green.close()
            if self._routes.get(name) is not route:
                return  # it was deleted in the meantime
            endpoint.failure_reason = str(error)
            endpoint.endpoint_status = "InService" if route else "Failed"
            return
        if self._routes.get(name) is not route:
            green.close()  # it was deleted in the meantime
            return
        self._routes[name] = _Route(green)
        endpoint.endpoint_config_name = settings.config_name
        endpoint.data_capture_config = settings.capture_summary
        endpoint.production_variants = [
            {
                "VariantName": settings.variant,
                "CurrentInstanceCount": settings.instances,
                "DesiredInstanceCount": settings.instances,
                "CurrentWeight": 1.0,
                "DesiredWeight": 1.0,
            }
        ]
        if route:
            _wait(rollout.termination_wait_s)
            route.fleet.close()
        endpoint.failure_reason, endpoint.endpoint_status = None, "InService"

    def _shift(self, endpoint: FakeEndpoint, route: _Route, green: Fleet, rollout: Rollout) -> None:
        """Gives the new fleet its shares, one after the other; raises Unavailable if an alarm fires before the end."""
        for share in rollout.shares(green.size):
            route.green, route.share = green, share
            ends = time.monotonic() + rollout.bake_s / speed()
            while time.monotonic() < ends:
                if fired := self._firing(rollout.alarms):
                    raise Unavailable(
                        f"The update was rolled back: {', '.join(fired)} fired while {share:.0%} of the requests "
                        f"went to {green.settings.config_name}"
                    )
                time.sleep(POLL_S)

    def _resize(self, endpoint: FakeEndpoint, instances: int) -> None:
        fleet = self._routes[endpoint.endpoint_name].fleet
        variant = endpoint.production_variants[0]
        variant["DesiredInstanceCount"] = instances
        try:
            fleet.resize(instances)
        except Unavailable as error:
            endpoint.failure_reason = str(error)
        for key in ("CurrentInstanceCount", "DesiredInstanceCount"):
            variant[key] = fleet.size
        endpoint.endpoint_status = "InService"


def _wait(aws_s: float) -> None:
    time.sleep(aws_s / speed())
