"""Faults of the emulators, one function each, named for the fault.

tests/local/test_workarounds.py shows each fault without its function, and so fails once upstream has mended it.
"""

from collections.abc import Awaitable, Callable
from typing import Any

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


def apply() -> None:
    """Applies every workaround to ministack."""
    reserved_concurrency_does_not_reach_the_function()


def loopback_is_secure(application: Application) -> Application:
    """Supplies aws:SecureTransport: nothing leaves this machine, so the buckets' TLS-only policies hold on loopback."""

    async def served(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [*scope["headers"], (b"x-forwarded-proto", b"https")]}
        await application(scope, receive, send)

    return served


def reserved_concurrency_does_not_reach_the_function() -> None:
    """ministack 1.5.33: CloudFormation's ReservedConcurrentExecutions is dropped."""
    from ministack.services import lambda_svc
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    create, update = handlers["create"], handlers["update"]

    def reserve(result: tuple[str, dict[str, Any]], properties: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        reserved = properties.get("ReservedConcurrentExecutions")
        lambda_svc._functions[result[0]]["concurrency"] = None if reserved is None else int(reserved)
        return result

    def create_and_reserve(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        return reserve(create(logical_id, properties, stack_name), properties)

    def update_and_reserve(
        physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str
    ) -> Any:
        return reserve(update(physical_id, old, new, stack_name, logical_id), new)

    handlers.update(create=create_and_reserve, update=update_and_reserve)
