"""What `kennel destroy` removes beside its stacks is what has the stage's names, whatever a service lists."""

from typing import Any

import pytest

from kennel.operations import teardown

OTHERS = ("kennel-prod-notebook-x", "their-kennel-dev-notebook-x", "kennel-dev-serving-model", "kennel-dev2-notebook-x")


class Service:
    """Stands for SageMaker: it lists everything whatever is asked for, and keeps what it is told to remove or stop."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self.done: list[str] = []

    def get_paginator(self, operation: str) -> "Service":
        self._key = {
            "list_endpoints": ("Endpoints", "EndpointName"),
            "list_endpoint_configs": ("EndpointConfigs", "EndpointConfigName"),
            "list_models": ("Models", "ModelName"),
            "list_training_jobs": ("TrainingJobSummaries", "TrainingJobName"),
            "list_hyper_parameter_tuning_jobs": ("HyperParameterTuningJobSummaries", "HyperParameterTuningJobName"),
        }[operation]
        return self

    def paginate(self, **_: str) -> list[dict[str, Any]]:
        return [{self._key[0]: [{self._key[1]: name} for name in self._names]}]

    def __getattr__(self, operation: str) -> Any:
        return lambda **arguments: self.done.append(f"{operation} {next(iter(arguments.values()))}")


class Stage:
    stage = "dev"

    def __init__(self, service: Service) -> None:
        self._service = service

    def client(self, _: str) -> Service:
        return self._service


@pytest.mark.parametrize("part", [teardown._remove_of_notebooks, teardown._stop_jobs])
def test_other_stages_are_left_alone(part: Any) -> None:
    service = Service(("kennel-prod-notebook-x", "their-kennel-dev-notebook-x", "kennel-dev2-notebook-x"))
    part(Stage(service), lambda message: None)
    assert service.done == []


def test_what_notebook_made_is_removed() -> None:
    service = Service((*OTHERS, "kennel-dev-notebook-1"))
    teardown._remove_of_notebooks(Stage(service), lambda message: None)  # type: ignore[arg-type]
    assert service.done == [f"delete_{kind} kennel-dev-notebook-1" for kind in ("endpoint", "endpoint_config", "model")]
