"""IAM in the embedded AWS: every decision is recorded, and the use of keys by S3 is checked too.

`calls.jsonl` in the state folder has one line for each check: who asked for what, on what, and the outcome.
"""

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ministack.core import iam_evaluator
from ministack.services import s3

from kennel.local.settings import REGION

FILE = "calls.jsonl"
# What S3 asks the key for, in the name of the caller.
KEY_ACTIONS = {"s3:GetObject": "kms:Decrypt", "s3:PutObject": "kms:GenerateDataKey"}


class Record:
    """The file of the checks."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / FILE).open("a", buffering=1)
        self._lock = threading.Lock()

    def add(self, principal: str, action: str, resource: str, context: Mapping[str, Any], *, allowed: bool) -> None:
        """Writes one check down."""
        line = {
            "time": round(time.time(), 3),
            "principal": principal,
            "action": action,
            "resource": resource,
            "context": {name: value for name, value in context.items() if value is not None},
            "outcome": "allowed" if allowed else "denied",
        }
        with self._lock:
            self._file.write(json.dumps(line) + "\n")


def install(record: Record) -> None:
    """Puts the record, and the check of keys, around the one place where ministack decides."""
    upstream = iam_evaluator.enforce

    def enforce(
        access_key_id: str,
        iam_action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: dict[str, Any] | None = None,
    ) -> Any:
        context = service_context or {}
        denied = upstream(access_key_id, iam_action, service, region, resource_arn, context)
        principal = _principal(access_key_id)
        record.add(principal, iam_action, resource_arn, context, allowed=denied is None)
        if denied is None and service == "s3" and (use := _use_of_key(iam_action, resource_arn)):
            action, key, of_key = use
            denied = upstream(access_key_id, action, "kms", region, key, of_key)
            record.add(principal, action, key, of_key, allowed=denied is None)
        return denied

    iam_evaluator.enforce = enforce


def _use_of_key(action: str, resource: str) -> tuple[str, str, dict[str, Any]] | None:
    """The call of the key that S3 makes for a call on an object: action, key, condition keys."""
    bucket = resource.removeprefix("arn:aws:s3:::").partition("/")[0]
    key = s3._bucket_default_sse_headers(bucket).get("x-amz-server-side-encryption-aws-kms-key-id", "")
    if action not in KEY_ACTIONS or not key.startswith("arn:"):
        return None
    context = {
        "kms:ViaService": f"s3.{REGION}.amazonaws.com",
        "kms:EncryptionContext:aws:s3:arn": f"arn:aws:s3:::{bucket}",
    }
    return KEY_ACTIONS[action], key, context


def _principal(access_key_id: str) -> str:
    identity = iam_evaluator.resolve_caller_identity(access_key_id) if access_key_id else None
    return str((identity or {}).get("userArn", "anonymous"))
