"""`kennel logs`: what a call, an endpoint and a job have written, found by words."""

import pytest

from helpers.stage import TINY, Environment


def test_grep_shows_only_matching_request(deployed: Environment) -> None:
    url = deployed.url()
    first, second = (url.call(deployed.image(), "image/jpeg").document["request_id"] for _ in range(2))
    output = deployed.run("kennel", "logs", "--grep", first).stdout
    assert first in output
    assert second not in output


def test_each_component_has_its_own_logs(deployed: Environment, dataset: str) -> None:
    output = deployed.run("kennel", "train", dataset, "--set", "epochs=1", *TINY).stdout
    job = next(line.split()[2] for line in output.splitlines() if line.startswith("Training job"))
    deployed.url().call(deployed.image(), "image/jpeg")
    assert "top1" in deployed.run("kennel", "logs", "job", job, "--since", "2d").stdout
    assert "has no such lines" in deployed.run("kennel", "logs", "job", job, "--grep", "no such words").stdout
    endpoint = deployed.run("kennel", "logs", "endpoint", "--since", "2d").stdout
    assert "has no such lines" not in endpoint
    assert len(endpoint.splitlines()) > 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("somewhere",), "choose function, endpoint, job, ec2, notebook, failed-jobs, drift"),
        (("--since", "yesterday"), "as 15m"),
        (("--since", "0s"), "as 15m"),
        (("--since", "99999999999999d"), "as 15m"),
        (("function", "another"), "only valid for endpoint, job, ec2"),
        (("endpoint", "kennel-dev-none"), "/aws/sagemaker/Endpoints/kennel-dev-none has no logs: it does not exist"),
        (("job", "kennel-dev-none"), "/aws/sagemaker/TrainingJobs has no logs of kennel-dev-none: it does not exist"),
        (("--stage", "prod"), "/kennel/prod/classifier has no logs"),
    ],
)
def test_failed_log_query_explains_why(deployed: Environment, words: tuple[str, ...], said: str) -> None:
    result = deployed.run("kennel", "logs", *words, check=False)
    assert result.returncode == 1
    assert said in " ".join(result.stdout.split())
