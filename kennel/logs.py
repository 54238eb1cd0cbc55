"""CloudWatch Logs, followed."""

from typing import Any

from botocore.exceptions import ClientError


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
        except ClientError as error:
            # The group is made by the first job of an account.
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return []

    def _new(self, stream: str) -> list[str]:
        lines: list[str] = []
        while True:
            token = self._tokens[stream]
            more: dict[str, str] = {"nextToken": token} if token else {}
            answer = self._client.get_log_events(
                logGroupName=self._group, logStreamName=stream, startFromHead=True, **more
            )
            lines += [event["message"] for event in answer["events"]]
            if answer["nextForwardToken"] == token or not answer["events"]:
                return lines
            self._tokens[stream] = answer["nextForwardToken"]
