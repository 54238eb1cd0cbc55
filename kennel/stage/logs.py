"""CloudWatch Logs: of a job, followed; of any part of a stage, read."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra import names
from kennel.errors import KennelError
from kennel.stage.deployed import DeployedStage

PARTS = ("function", "endpoint", "job", "ec2", "notebook", "failed-jobs", "drift")
# Parts with several logs.
NAMED = ("endpoint", "job", "ec2")
POLL_S = 2.0
LATE_MS = 60_000


class LogTail:
    """The streams of `group` whose names start with `prefix`; streams that begin later are followed too."""

    def __init__(self, client: Any, group: str, prefix: str) -> None:
        self._client, self._group, self._prefix = client, group, prefix
        self._tokens: dict[str, str | None] = {}

    def lines(self) -> list[str]:
        """The lines since the last time, stream by stream."""
        try:
            pages = self._client.get_paginator("describe_log_streams").paginate(
                logGroupName=self._group, logStreamNamePrefix=self._prefix
            )
            for page in pages:
                for stream in page["logStreams"]:
                    self._tokens.setdefault(stream["logStreamName"], None)
            return [line for stream in self._tokens for line in self._new(stream)]
        except self._client.exceptions.ResourceNotFoundException:
            return []  # the group is made by the first job of an account

    def _new(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            token = self._tokens[stream]
            more: dict[str, str] = {"nextToken": token} if token else {}
            answer = self._client.get_log_events(
                logGroupName=self._group, logStreamName=stream, startFromHead=True, **more
            )
            lines += [event["message"] for event in answer["events"]]
            # The same token again is the end; a page without events is not (API reference, GetLogEvents).
            self._tokens[stream] = answer["nextForwardToken"]
            if answer["nextForwardToken"] == token:
                return lines


@dataclass(frozen=True)
class Source:
    """The log of a part of a stage: the group, and the prefix of its streams."""

    group: str
    streams: str = ""

    @property
    def request(self) -> dict[str, str]:
        """The parameters of CloudWatch Logs' calls for it."""
        return {"logGroupName": self.group, **({"logStreamNamePrefix": self.streams} if self.streams else {})}


@dataclass(frozen=True)
class Line:
    """One event of a log."""

    time: datetime
    stream: str
    message: str


def source(deployment: DeployedStage, part: str, name: str | None) -> Source:
    """The log of a part of the stage; `name` is that of a job or a run. Raises KennelError for what is not there."""
    if name and part not in NAMED:
        raise KennelError(f"{part} has a single log: a name such as {name!r} is only valid for {', '.join(NAMED)}.")
    if part == "function":
        return Source(names.log_group(deployment.stage, "classifier"))
    if part == "endpoint":
        return Source(names.endpoint_log_group(name or deployment.output("Serving", "EndpointName")))
    if part == "job":
        return Source("/aws/sagemaker/TrainingJobs", f"{name}/" if name else names.resource(deployment.stage, ""))
    if part == "ec2":
        return Source(deployment.output("Training", "Ec2LogGroup"), f"{name}/" if name else "")
    if part == "notebook":
        return Source("/aws/sagemaker/NotebookInstances", deployment.output("Training", "NotebookName"))
    if part in ("failed-jobs", "drift"):
        return Source(names.log_group(deployment.stage, part))
    raise KennelError(f"No log named {part!r}: choose {', '.join(PARTS)}.")


def require(client: Any, source: Source) -> None:
    """Raises KennelError for a log in which nothing was ever written."""
    with suppress(client.exceptions.ResourceNotFoundException):
        if client.describe_log_streams(**source.request, limit=1)["logStreams"]:
            return
    of = f" of {source.streams.removesuffix('/')}" if source.streams else ""
    raise KennelError(f"{source.group} has no logs{of}: it does not exist, has not started, or its log was deleted.")


def read(client: Any, source: Source, since: datetime, containing: str = "", *, follow: bool = False) -> Iterator[Line]:
    """The lines of a log since a moment that contain some words, oldest first; with `follow` without an end.

    A group that does not exist has no lines.
    """
    begin = int(since.timestamp() * 1000)
    shown = set[tuple[str, int, str]]()
    while True:
        latest, new = begin, set[tuple[str, int, str]]()
        for event in _events(client, source, begin):
            latest = max(latest, event["timestamp"])
            identity = (event["logStreamName"], event["timestamp"], event["message"])
            new.add(identity)
            if identity not in shown and containing.lower() in event["message"].lower():
                moment = datetime.fromtimestamp(event["timestamp"] / 1000, UTC)
                yield Line(moment, event["logStreamName"], event["message"].rstrip())
        if not follow:
            return
        shown = new
        # Events arrive late and not in order: the last minute is asked for again.
        begin = max(begin, latest - LATE_MS)
        time.sleep(POLL_S)


def _events(client: Any, source: Source, begin: int) -> list[dict[str, Any]]:
    pages = client.get_paginator("filter_log_events").paginate(**source.request, startTime=begin)
    try:
        found = [event for page in pages for event in page["events"]]
    except client.exceptions.ResourceNotFoundException:
        return []
    of_source = (event for event in found if event["logStreamName"].startswith(source.streams))
    return sorted(of_source, key=lambda event: event["timestamp"])
