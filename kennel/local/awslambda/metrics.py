"""Metrics of function URLs and aliases, as Lambda publishes them. ministack 1.5.33 counts a function's calls only."""

import time
from typing import Any

from ministack.services import cloudwatch, lambda_svc

NAMESPACE = "AWS/Lambda"
THROTTLED = 429
# What the function itself answers, refusals by SageMaker included, is a problem document.
OF_THE_FUNCTION = "application/problem+json"


def install() -> None:
    """Counts and times every request of a function URL."""
    upstream = lambda_svc.handle_function_url_request

    async def handle(url_id: str, *arguments: Any, resolved: tuple[Any, ...] | None = None, **rest: Any) -> Any:
        begun = time.monotonic()
        answer = await upstream(url_id, *arguments, resolved=resolved, **rest)
        if resolved is not None:
            _, _, function, qualifier, _ = resolved
            _publish(function, qualifier, answer[0], answer[1], time.monotonic() - begun)
        return answer

    lambda_svc.handle_function_url_request = handle


def _publish(function: str, qualifier: str | None, status: int, headers: dict[str, Any], seconds: float) -> None:
    content_type = {name.lower(): value for name, value in headers.items()}.get("content-type", "")
    throttled = status == THROTTLED and not str(content_type).startswith(OF_THE_FUNCTION)
    url = {
        "UrlRequestCount": (1.0, "Count"),
        "Url4xxCount": (float(400 <= status < 500), "Count"),
        "Url5xxCount": (float(status >= 500), "Count"),
        "UrlRequestLatency": (1000 * seconds, "Milliseconds"),
    }
    for name, (value, unit) in url.items():
        cloudwatch.record_metric(NAMESPACE, name, value, unit, {"FunctionName": function})
    of_alias = {"FunctionName": function, "Resource": f"{function}:{qualifier}"}
    cloudwatch.record_metric(NAMESPACE, "Throttles", float(throttled), "Count", of_alias)
