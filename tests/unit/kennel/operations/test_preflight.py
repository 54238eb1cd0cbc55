"""What is in the way, found by calls that only read, all of it at once."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra.settings import StageSettings
from kennel.errors import KennelError
from kennel.operations.preflight import Finding, Job, Preflight, require

LAMBDA, ENDPOINT = "Concurrent executions", "ml.m5.large for endpoint usage"


class Account:
    """Stands for AWS's services: quotas, what is reserved, and what the caller may not ask."""

    def __init__(self, quotas: dict[str, float], concurrency: int = 1000, free: int = 1000, denied: str = "") -> None:
        self._quotas, self._concurrency, self._free, self._denied = quotas, concurrency, free, denied

    def get_caller_identity(self) -> Any:
        return {"Account": "111122223333", "Arn": "arn:aws:iam::111122223333:user/me"}

    def get_account_settings(self) -> Any:
        if self._denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "GetAccountSettings")
        limits = {"ConcurrentExecutions": self._concurrency, "UnreservedConcurrentExecutions": self._free}
        return {"AccountLimit": limits}

    def describe_stacks(self, **_: str) -> Any:
        raise ClientError({"Error": {"Message": "Stack does not exist"}}, "DescribeStacks")

    def describe_vpcs(self) -> Any:
        return {"Vpcs": [{}]}

    def get_paginator(self, operation: str) -> Any:
        pages = {
            "list_functions": [{"Functions": []}],
            "list_service_quotas": [
                {"Quotas": [{"QuotaName": n, "QuotaCode": "L-1", "Value": v} for n, v in self._quotas.items()]}
            ],
        }[operation]

        class Pages:
            def paginate(self, **_: str) -> Any:
                return pages

        return Pages()


class Stage:
    stage, region = "dev", "us-east-1"

    def __init__(self, at: Account, /, **settings: Any) -> None:
        self._account, self.settings = at, StageSettings(name="dev", region="us-east-1", **settings)

    def client(self, _: str) -> Account:
        return self._account


Checks = Callable[..., list[Finding]]


@pytest.fixture
def found() -> Checks:
    def check(at: Account, /, **settings: Any) -> list[Finding]:
        stage: Any = Stage(at, **settings)
        return Preflight(stage).quotas(Job("ml.m5.xlarge"))

    return check


def test_requested_concurrency_is_enough(found: Checks) -> None:
    """10 for the function and 1 for drift; once the quota is larger, 100 must stay unreserved."""
    (finding,) = found(Account({LAMBDA: 10}, concurrency=10, free=10), function={"reserved_concurrency": 10})
    assert "--desired-value 111" in finding.remedy
    assert "set function.reserved_concurrency null" in finding.remedy
    assert found(Account({LAMBDA: 111}, concurrency=111, free=111), function={"reserved_concurrency": 10}) == []


def test_nothing_reserved_needs_no_quota(found: Checks) -> None:
    assert found(Account({LAMBDA: 10}, concurrency=10, free=10), function={"reserved_concurrency": None}) == []
    provisioned = {"reserved_concurrency": None, "provisioned_min": 1, "provisioned_max": 4}
    (finding,) = found(Account({LAMBDA: 10}, concurrency=10, free=10), function=provisioned)
    assert "provisions up to 4" in finding.what


def test_instances_are_counted_twice_for_updates(found: Checks) -> None:
    endpoint = {"min_instances": 2, "max_instances": 4, "fixed": True, "fixed_instances": 2}
    (finding,) = found(Account({ENDPOINT: 3}), endpoint=endpoint)
    assert finding.blocks
    assert "starts with 4 × ml.m5.large" in finding.what
    assert "--desired-value 12" in finding.remedy
    (warning,) = found(Account({ENDPOINT: 6}), endpoint=endpoint)
    assert not warning.blocks
    assert found(Account({ENDPOINT: 12}), endpoint=endpoint) == []


def test_all_obstacles_are_told_at_once(found: Checks) -> None:
    quotas = {ENDPOINT: 0, "ml.m5.xlarge for training job usage": 0, "ml.t3.medium for notebook instance usage": 0}
    findings = found(Account({**quotas, "VPCs per Region": 1}, concurrency=10, free=10), account="999900009999")
    assert len(findings) == 6
    said: list[Finding] = []
    with pytest.raises(KennelError, match="6 obstacle"):
        require(findings, said.append, force=False)
    assert said == findings
    require(findings, said.append, force=True)


def test_what_may_not_be_looked_at_is_said(found: Checks) -> None:
    (finding,) = found(Account({}, denied="yes"))
    assert not finding.blocks
    assert "Lambda's concurrency" in finding.what
