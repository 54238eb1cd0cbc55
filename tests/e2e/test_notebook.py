"""The notebook: without outputs in the repository, and executed from its first cell to its last."""

import os
from pathlib import Path

import nbformat

from helpers.stage import Environment
from helpers.workday import NOTEBOOK, run_notebook


def test_notebook_has_no_outputs() -> None:
    for cell in nbformat.read(NOTEBOOK, 4).cells:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None


def test_notebook_runs_and_cleans_up(deployed: Environment, images: Path) -> None:
    sagemaker = deployed.client("sagemaker")
    before = {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]}
    text = run_notebook(deployed, images)
    assert "top-1 " in text
    assert "| network isolation | True |" in text
    assert {item["EndpointName"] for item in sagemaker.list_endpoints()["Endpoints"]} == before
    assert os.environ["AWS_ENDPOINT_URL"] == deployed.server.endpoint
