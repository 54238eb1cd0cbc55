import asyncio
from typing import Any

import pytest
from ministack.services.cloudformation import _stacks as deployed

from kennel.local.cloudformation import permissions

NAME = "Kennel-dev-Data"


@pytest.mark.parametrize("asked", [NAME, f"arn:aws:cloudformation:us-east-1:000000000000:stack/{NAME}/1"])
def test_change_is_described_at_its_end(monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    """The CDK CLI would else ask again five seconds later."""
    stack = {"StackStatus": "CREATE_IN_PROGRESS"}
    monkeypatch.setitem(deployed, NAME, stack)

    async def described(*_: Any) -> str:
        return stack["StackStatus"]

    async def ask() -> Any:
        asyncio.get_running_loop().call_later(0.1, lambda: stack.update(StackStatus="CREATE_COMPLETE"))
        body = f"Action=DescribeStacks&StackName={asked}".encode()
        return await permissions._patient(described)("POST", "/", {}, body, {})

    assert asyncio.run(ask()) == "CREATE_COMPLETE"


def test_long_change_is_described_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(deployed, NAME, {"StackStatus": "UPDATE_IN_PROGRESS"})
    monkeypatch.setattr(permissions, "PATIENCE_S", 0.1)

    async def described(*_: Any) -> str:
        return "UPDATE_IN_PROGRESS"

    body = f"Action=DescribeStacks&StackName={NAME}".encode()
    assert asyncio.run(permissions._patient(described)("POST", "/", {}, body, {})) == "UPDATE_IN_PROGRESS"
