"""Data capture: what an endpoint answered, as JSON lines in the bucket, written in the endpoint's role."""

import base64
import json
import random
import threading
import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import Any

from kennel.local.iam.service_roles import service_session
from kennel.local.sagemaker.fleets import FleetSettings
from kennel.local.sagemaker.s3_uri import split_uri

EVERY_S = 2.0


class Capture:
    """Collects records, and writes them every few seconds, one file for each endpoint and config."""

    def __init__(self, service_endpoint: str) -> None:
        self._service_endpoint = service_endpoint
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, str], tuple[FleetSettings, list[str]]] = {}

    def watch(self) -> None:
        """Writes for as long as this process lives."""
        threading.Thread(target=self._watch, name="capture", daemon=True).start()

    def add(
        self, endpoint: str, settings: FleetSettings, content_type: str, body: bytes, answer_type: str, answer: bytes
    ) -> None:
        """Takes one invocation, if it is among the share that the config captures."""
        config = settings.capture
        if not config.get("EnableCapture") or random.random() * 100 >= int(config["InitialSamplingPercentage"]):
            return
        modes = {option["CaptureMode"] for option in config["CaptureOptions"]}
        plain = config.get("CaptureContentTypeHeader", {}).get("JsonContentTypes", [])
        data: dict[str, Any] = {}
        if "Input" in modes:
            data["endpointInput"] = _part("INPUT", content_type, body, plain)
        if "Output" in modes:
            data["endpointOutput"] = _part("OUTPUT", answer_type, answer, plain)
        event = {"eventId": str(uuid.uuid4()), "inferenceTime": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}
        line = json.dumps({"captureData": data, "eventMetadata": event, "eventVersion": "0"})
        with self._lock:
            self._waiting.setdefault((endpoint, settings.config_name), (settings, []))[1].append(line)

    def _watch(self) -> None:
        while True:
            time.sleep(EVERY_S)
            with self._lock:
                waiting, self._waiting = self._waiting, {}
            for (endpoint, _), (settings, lines) in waiting.items():
                try:
                    self._write(endpoint, settings, lines)
                except Exception:
                    traceback.print_exc()

    def _write(self, endpoint: str, settings: FleetSettings, lines: list[str]) -> None:
        bucket, prefix = split_uri(settings.capture["DestinationS3Uri"])
        now = datetime.now(UTC)
        key = f"{prefix}/{endpoint}/{settings.variant}/{now:%Y/%m/%d/%H}/{now:%M-%S}-{uuid.uuid4()}.jsonl"
        client: Any = service_session(settings.role_arn, endpoint).client("s3", endpoint_url=self._service_endpoint)
        client.put_object(Bucket=bucket, Key=key, Body="\n".join(lines).encode())


def _part(mode: str, content_type: str, data: bytes, plain: list[str]) -> dict[str, str]:
    readable = content_type.partition(";")[0] in plain
    return {
        "observedContentType": content_type,
        "mode": mode,
        "data": data.decode() if readable else base64.b64encode(data).decode(),
        "encoding": "JSON" if readable else "BASE64",
    }
