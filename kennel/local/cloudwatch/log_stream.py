"""The output of a job or a server, in a file and in CloudWatch Logs."""

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3

FLUSH_S = 0.5


class LogStream:
    """One stream of a CloudWatch log group, written with the credentials of `session`, and its copy in a file."""

    def __init__(self, session: boto3.Session, endpoint: str, group: str, stream: str, copy: Path) -> None:
        self._client: Any = session.client("logs", endpoint_url=endpoint)
        self._names = {"logGroupName": group, "logStreamName": stream}
        copy.parent.mkdir(parents=True, exist_ok=True)
        self._copy = copy.open("ab", buffering=0)
        for create, names in (
            (self._client.create_log_group, {"logGroupName": group}),
            (self._client.create_log_stream, self._names),
        ):
            with suppress(self._client.exceptions.ResourceAlreadyExistsException):
                create(**names)

    def follow(self, lines: Iterable[bytes], seen: Callable[[str], None] | None = None) -> None:
        """Writes each line as it comes, until there are no more; `seen` gets each line too."""
        waiting: list[dict[str, Any]] = []
        done = threading.Event()
        lock = threading.Lock()

        def flush() -> None:
            with lock:
                events, waiting[:] = list(waiting), []
            if events:
                self._client.put_log_events(**self._names, logEvents=events)

        def flush_often() -> None:
            while not done.wait(FLUSH_S):
                flush()

        flusher = threading.Thread(target=flush_often, daemon=True)
        flusher.start()
        try:
            for line in lines:
                self._copy.write(line)
                text = line.decode(errors="replace").rstrip("\n")
                if seen:
                    seen(text)
                with lock:
                    # CloudWatch Logs refuses empty messages.
                    waiting.append({"timestamp": int(time.time() * 1000), "message": text or " "})
        finally:
            done.set()
            flusher.join()
            flush()
            self._copy.close()
