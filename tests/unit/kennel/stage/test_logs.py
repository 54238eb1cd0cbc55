"""Where each part of a stage writes its log."""

from typing import Any

import pytest

from kennel.errors import KennelError
from kennel.stage.logs import NAMED, PARTS, LogTail, Source, source

GROUPS = {
    "function": "/kennel/dev/classifier",
    "endpoint": "/aws/sagemaker/Endpoints/EndpointName of Serving",
    "job": "/aws/sagemaker/TrainingJobs",
    "ec2": "Ec2LogGroup of Training",
    "notebook": "/aws/sagemaker/NotebookInstances",
    "failed-jobs": "/kennel/dev/failed-jobs",
    "drift": "/kennel/dev/drift",
}


class Dev:
    """A stage whose outputs say where they are from."""

    stage = "dev"

    def output(self, stack: str, key: str) -> str:
        return f"{key} of {stack}"


STAGE: Any = Dev()


def test_each_part_has_its_log_group() -> None:
    assert {part: source(STAGE, part, None).group for part in PARTS} == GROUPS


def test_run_is_found_by_its_name() -> None:
    assert source(STAGE, "job", "kennel-dev-a") == Source("/aws/sagemaker/TrainingJobs", "kennel-dev-a/")


@pytest.mark.parametrize("part", sorted(set(PARTS) - set(NAMED)))
def test_name_of_single_log_is_rejected(part: str) -> None:
    with pytest.raises(KennelError, match=f"{part} has a single log"):
        source(STAGE, part, "other")


def test_unknown_part_lists_parts() -> None:
    with pytest.raises(KennelError, match="choose function, endpoint"):
        source(STAGE, "nonsense", None)


class Pages:
    """Stands for CloudWatch Logs: one stream, whose second page has no events."""

    class exceptions:
        ResourceNotFoundException = KeyError

    PAGES = (["first"], [], ["last"])

    def get_paginator(self, _: str) -> "Pages":
        return self

    def paginate(self, **_: str) -> Any:
        return [{"logStreams": [{"logStreamName": "one"}]}]

    def get_log_events(self, nextToken: str = "0", **_: Any) -> Any:
        page = int(nextToken)
        events = [{"message": text} for text in self.PAGES[page]] if page < len(self.PAGES) else []
        return {"events": events, "nextForwardToken": str(min(page + 1, len(self.PAGES)))}


def test_page_without_events_is_not_the_end() -> None:
    tail = LogTail(Pages(), "group", "o")
    assert tail.lines() == ["first", "last"]
    assert tail.lines() == []
