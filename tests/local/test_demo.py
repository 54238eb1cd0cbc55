"""The main job: from nothing to a table of predictions."""

import pytest

from environment import PHOTOGRAPHS, Environment

pytestmark = pytest.mark.slow


def test_given_pictures_when_the_demo_ran_then_the_url_names_them_rightly(deployed: Environment) -> None:
    assert deployed.facts["top1"] >= 0.93
    assert deployed.facts["metrics"]["valid"]["top1"] >= 0.93
    if PHOTOGRAPHS.is_dir():
        assert len(deployed.facts["predictions"]) == 153


def test_given_the_same_pictures_when_predicted_directly_then_every_label_agrees(deployed: Environment) -> None:
    assert deployed.facts["agreement"] == 1.0
    assert all(row["status"] == 200 and row["predicted"] == row["direct"] for row in deployed.facts["predictions"])


def test_given_the_demo_when_it_ran_then_its_output_tells_the_story(deployed: Environment) -> None:
    output = deployed.facts["output"]
    for stage in ("Embedded AWS up", "cdk bootstrap", "cdk deploy", "Training job", "promoted", "signed calls"):
        assert f"✓ {stage}" in output or stage in output
    assert "Top-1" in output
    assert "Traceback" not in output
    assert set(deployed.facts["seconds"]) >= {"cdk bootstrap", "Training job", "total"}


def test_given_a_picture_when_predicted_by_the_command_then_its_label_is_in_the_table(deployed: Environment) -> None:
    row = deployed.facts["predictions"][0]
    output = deployed.run("kennel", "predict", str(deployed.pictures / row["picture"])).stdout
    assert row["predicted"] in output


def test_given_the_embedded_aws_when_asked_then_it_is_up_and_only_on_loopback(deployed: Environment) -> None:
    assert deployed.server.endpoint in deployed.run("kennel", "local", "status").stdout
    import psutil

    family = [psutil.Process(deployed.server.pid), *psutil.Process(deployed.server.pid).children(recursive=True)]
    listening = {c.laddr.ip for p in family for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
