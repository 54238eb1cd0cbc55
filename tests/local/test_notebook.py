"""The notebook: without outputs in the repository, and executed from its first cell to its last."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from environment import REPOSITORY, Environment
from test_training_script import pictures  # noqa: F401

NOTEBOOK = REPOSITORY / "notebooks" / "train_and_deploy.ipynb"


def test_given_the_notebook_then_it_has_no_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


@pytest.mark.slow
def test_given_the_stage_when_the_notebook_is_executed_then_each_cell_succeeds_and_nothing_is_left(
    deployed: Environment,
    pictures: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sagemaker = deployed.client("sagemaker")
    before = {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]}
    role = deployed.client("sagemaker").describe_notebook_instance(NotebookInstanceName="kennel-dev-notebook")[
        "RoleArn"
    ]
    own = {**deployed.variables, **deployed.credentials(role), "DATA": str(pictures), "TRIALS": "4"}
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, 4)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": REPOSITORY}}).execute()
    text = "\n".join(
        output.get("text", "") or output.get("data", {}).get("text/markdown", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert "top-1 " in text
    assert "| network isolation | True |" in text
    assert {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]} == before
    assert os.environ["AWS_ENDPOINT_URL"] == deployed.server.endpoint
