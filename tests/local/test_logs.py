"""`kennel logs`: what a call, an endpoint and a job have written, found by words."""

import pytest

from environment import Environment

pytestmark = pytest.mark.slow


def test_given_a_call_when_its_request_id_is_looked_for_then_its_line_alone_is_shown(deployed: Environment) -> None:
    url = deployed.url()
    first, second = (url.call(deployed.picture(), "image/jpeg").document["request_id"] for _ in range(2))
    output = deployed.run("kennel", "logs", "--grep", first).stdout
    assert first in output
    assert second not in output


def test_given_parts_when_their_logs_are_read_then_each_has_lines_of_its_own(deployed: Environment) -> None:
    job = deployed.facts["job"]
    assert "top1" in deployed.run("kennel", "logs", "job", job, "--since", "2d").stdout
    assert "has no such lines" in deployed.run("kennel", "logs", "job", job, "--grep", "no such words").stdout
    endpoint = deployed.run("kennel", "logs", "endpoint", "--since", "2d").stdout
    assert "has no such lines" not in endpoint
    assert len(endpoint.splitlines()) > 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("somewhere",), "give function, endpoint, job, ec2, notebook, failed-jobs, drift"),
        (("--since", "yesterday"), "as 15m"),
        (("--since", "0s"), "as 15m"),
        (("--since", "99999999999999d"), "as 15m"),
        (("function", "another"), "names are for endpoint, job, ec2"),
        (("endpoint", "kennel-dev-none"), "/aws/sagemaker/Endpoints/kennel-dev-none has nothing: it is not there"),
        (("job", "kennel-dev-none"), "/aws/sagemaker/TrainingJobs has nothing of kennel-dev-none: it is not there"),
        (("--stage", "prod"), "/kennel/prod/classifier has nothing"),
    ],
)
def test_given_what_has_no_log_when_asked_for_then_it_says_what_to_give(
    deployed: Environment, words: tuple[str, ...], said: str
) -> None:
    result = deployed.run("kennel", "logs", *words, check=False)
    assert result.returncode == 1
    assert said in " ".join(result.stdout.split())
