"""A new model takes over as a canary: a good one goes through, one that answers 500 is rolled back by its alarm."""

import json
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from helpers.kept import assembly
from helpers.stage import Environment
from helpers.workday import until

pytestmark = pytest.mark.own_stage


# Of the requests while both fleets answer; one of two instances.
CANARY = 50
# The health check's own image is answered, as it must be before anybody is sent there.
FAILING = """
    def predict(self, data: bytes, top_k: int = 5) -> list[Prediction]:
        if data != example():
            raise RuntimeError("a model that fails")
        return self.answer(data, top_k)

    def answer(self, data: bytes, top_k: int = 5) -> list[Prediction]:"""


@dataclass(frozen=True)
class Seen:
    """What one request got: the model's name, or the status of the refusal."""

    model: str
    status: int


class Callers:
    """Call the endpoint itself, ten times a second, until they are told to stop."""

    def __init__(self, deployed: Environment) -> None:
        self._runtime = deployed.client("sagemaker-runtime")
        self._image = deployed.image()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.seen: list[Seen] = []

    def __enter__(self) -> "Callers":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self) -> None:
        """Returns after twenty more answers, however long they take."""
        enough = len(self.seen) + 20
        until(lambda: len(self.seen) >= enough)

    def _call(self) -> None:
        while not self._stop.wait(0.1):
            try:
                answer = self._runtime.invoke_endpoint(
                    EndpointName="kennel-dev-scaled", ContentType="image/jpeg", Body=self._image
                )
                self.seen.append(Seen(json.load(answer["Body"])["model"], 200))
            except ClientError as error:
                self.seen.append(Seen("", error.response.get("OriginalStatusCode", 0)))


@pytest.fixture(scope="module")
def careful(deployed: Environment) -> Path:
    """The stage with two instances and a canary of one of them: its cloud assembly."""
    app = assembly(endpoint={"min_instances": 2, "canary_percent": CANARY})
    deployed.deploy("Serving", app=app)
    until(lambda: deployed.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 2)
    return app


def failing_package(deployed: Environment) -> None:
    """The stage's package with a predictor that raises."""
    code = deployed.package_file("inference/predictor.py").decode()
    signature = "    def predict(self, data: bytes, top_k: int = 5) -> list[Prediction]:"
    assert signature in code
    code = code.replace(signature, FAILING.lstrip("\n"), 1)
    deployed.copy_package("failing", name="failing-model", changed={"inference/predictor.py": code.encode()})


def test_canary_shifts_traffic_without_errors(deployed: Environment, careful: Path) -> None:
    deployed.copy_package("better", name="better-model")
    deployed.run("kennel", "promote", "better")
    with Callers(deployed) as callers:
        until(lambda: callers.seen)
        first = callers.seen[0].model
        deployed.deploy("Serving", app=careful)
        callers.go_on()
    assert {seen.status for seen in callers.seen} == {200}
    models = [seen.model for seen in callers.seen]
    assert set(models) == {first, "better-model"}
    tried = models[models.index("better-model") :]
    last_of_first = len(tried) - tried[::-1].index(first)
    # While it was tried it got its half, to within the request that was under way.
    assert abs(tried[:last_of_first].count("better-model") - last_of_first * CANARY / 100) <= 2
    assert last_of_first >= 10  # enough for a share; how many there are depends on the machine
    assert set(models[-5:]) == {"better-model"}
    assert deployed.endpoint()["ProductionVariants"][0]["CurrentInstanceCount"] == 2


def test_failing_canary_is_rolled_back(deployed: Environment, careful: Path) -> None:
    before = deployed.endpoint()
    failing_package(deployed)
    deployed.run("kennel", "promote", "failing")
    with Callers(deployed) as callers:
        until(lambda: callers.seen)
        output = deployed.deploy("Serving", app=careful, check=False)
        callers.go_on()
    assert "kennel-dev-scaled-errors fired while 50% of the requests" in output
    assert deployed.stack_status("Serving") == "UPDATE_ROLLBACK_COMPLETE"
    after = deployed.endpoint()
    assert after["EndpointConfigName"] == before["EndpointConfigName"]
    assert after["EndpointStatus"] == "InService"

    statuses = [seen.status for seen in callers.seen]
    assert set(statuses) == {200, 500}
    first, last = statuses.index(500), len(statuses) - statuses[::-1].index(500)
    # Not one more than the canary's half, between the first failure and the last.
    assert statuses[first:last].count(500) <= (last - first) * CANARY / 100 + 1
    assert set(statuses[last:]) == {200}
    assert len(statuses) - last > 10

    report = deployed.run("kennel", "status", check=False).stdout
    assert "promoted" in report
    assert "make deploy, or kennel promote --previous" in report
    deployed.run("kennel", "promote", "--previous")


def test_fix_is_not_rolled_back_for_errors_of_old_fleet(deployed: Environment, careful: Path) -> None:
    # It gets into service while nobody calls.
    deployed.run("kennel", "promote", "failing")
    deployed.deploy("Serving", app=careful)
    deployed.run("kennel", "promote", "better")
    with Callers(deployed) as callers:
        until(lambda: any(seen.status == 500 for seen in callers.seen))
        deployed.deploy("Serving", app=careful)
        callers.go_on()
    assert deployed.stack_status("Serving") == "UPDATE_COMPLETE"
    assert {seen.model for seen in callers.seen[-5:]} == {"better-model"}


def test_endpoint_can_return_to_previous_config(deployed: Environment, careful: Path) -> None:
    sagemaker = deployed.client("sagemaker")
    before = deployed.endpoint()["EndpointConfigName"]
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=before)["ProductionVariants"]
    sagemaker.create_endpoint_config(EndpointConfigName="by-hand", ProductionVariants=variants)

    def move(config: str) -> None:
        sagemaker.update_endpoint(EndpointName="kennel-dev-scaled", EndpointConfigName=config)
        until(lambda: deployed.endpoint()["EndpointStatus"] == "InService")

    move("by-hand")
    result = deployed.run("kennel", "status", check=False)
    assert result.returncode == 1
    assert f"runs by-hand, not {before}" in " ".join(result.stdout.split())
    move(before)
    assert deployed.run("kennel", "status").returncode == 0
    # The servers' files are theirs, too: one that ends is started again from them.
    for server in deployed.servers():
        server.kill()
    with Callers(deployed) as callers:
        until(lambda: len(callers.seen) > 3 and {seen.status for seen in callers.seen[-3:]} == {200})
    sagemaker.delete_endpoint_config(EndpointConfigName="by-hand")


def test_scaled_instance_type_change_is_rejected(deployed: Environment, careful: Path) -> None:
    sagemaker = deployed.client("sagemaker")
    config = sagemaker.describe_endpoint_config(EndpointConfigName=deployed.endpoint()["EndpointConfigName"])
    variants = [{**config["ProductionVariants"][0], "InstanceType": "ml.m5.xlarge"}]
    sagemaker.create_endpoint_config(EndpointConfigName="larger", ProductionVariants=variants)
    with pytest.raises(ClientError, match="registered as a scalable target"):
        sagemaker.update_endpoint(EndpointName="kennel-dev-scaled", EndpointConfigName="larger")
    sagemaker.delete_endpoint_config(EndpointConfigName="larger")
