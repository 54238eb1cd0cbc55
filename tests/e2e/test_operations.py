"""Each alarm goes off by what it describes, is over when that is over, and tells the topic both times."""

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from PIL import Image

from helpers.images import encode
from helpers.kept import assembly
from helpers.stage import Environment
from helpers.workday import until
from kennel.local.iam.authorization import FILE
from kennel.local.settings import ACCOUNT, REGION, state_dir

pytestmark = pytest.mark.own_stage


ENDPOINT = "kennel-dev-scaled"
GROUP = "Kennel-dev-ec2-training"
# Limits that whatever is at work is over.
LOW = {
    "endpoint": {"max_model_latency_ms": 1},
    "operations": {
        "max_url_latency_ms": 1,
        "max_memory_percent": 0.001,
        "max_disk_percent": 0.001,
        "budget_usd_month": 0.01,
    },
    "ec2": {"max_run_h": 1},
}


class Mailbox:
    """A queue that is subscribed to the alarms' topic, as a pager is."""

    def __init__(self, deployed: Environment) -> None:
        self._sqs = deployed.client("sqs")
        topic, arn = deployed.output("Operations", "AlarmTopicArn"), f"arn:aws:sqs:{REGION}:{ACCOUNT}:pager"
        let_in = {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [let_in]})
        self._url = self._sqs.create_queue(QueueName="pager", Attributes={"Policy": policy})["QueueUrl"]
        deployed.client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        self._told: list[str] = []
        self.went_off, self.was_over = set[str](), set[str]()

    def waits_for(self, *words: str, timeout_s: float = 60) -> None:
        """Until a message with all the words has arrived since the last time that it was waited for."""
        deadline = time.monotonic() + timeout_s
        while True:
            for told in self._told:
                if all(word in told for word in words):
                    self._told.remove(told)
                    return
            assert time.monotonic() < deadline, f"nobody told {words}, but {self._told}"
            for message in self._sqs.receive_message(QueueUrl=self._url, WaitTimeSeconds=1, MaxNumberOfMessages=10).get(
                "Messages", []
            ):
                self._told.append(json.loads(message["Body"])["Message"])
                self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def goes_off(self, slug: str, timeout_s: float = 60) -> None:
        self.waits_for(f'"AlarmName": "kennel-dev-{slug}"', '"NewStateValue": "ALARM"', timeout_s=timeout_s)
        self.went_off.add(f"kennel-dev-{slug}")

    def is_over(self, slug: str, timeout_s: float = 60) -> None:
        self.waits_for(f'"AlarmName": "kennel-dev-{slug}"', '"NewStateValue": "OK"', timeout_s=timeout_s)
        self.was_over.add(f"kennel-dev-{slug}")


@pytest.fixture(scope="module")
def pager(deployed: Environment) -> Mailbox:
    return Mailbox(deployed)


@contextlib.contextmanager
def callers(count: int, call: Callable[[], Any]) -> Iterator[None]:
    """So many call again and again for the time of a `with` block; they take a refusal as an answer."""
    stop = threading.Event()

    def again() -> None:
        while not stop.is_set():
            try:
                call()
            except ClientError:
                time.sleep(0.1)

    threads = [threading.Thread(target=again) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def put(deployed: Environment, namespace: str, name: str, value: float, **dimensions: str) -> None:
    named = [{"Name": key, "Value": item} for key, item in dimensions.items()]
    deployed.client("cloudwatch").put_metric_data(
        Namespace=namespace, MetricData=[{"MetricName": name, "Value": value, "Dimensions": named}]
    )


def alarms(deployed: Environment) -> dict[str, dict[str, Any]]:
    found = deployed.client("cloudwatch").describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    return {item["AlarmName"]: item for item in (*found["MetricAlarms"], *found["CompositeAlarms"])}


def test_alarms_are_ok_when_stage_is_healthy(deployed: Environment) -> None:
    deadline = time.monotonic() + 60
    while quiet := {name: item["StateValue"] for name, item in alarms(deployed).items() if item["StateValue"] != "OK"}:
        assert time.monotonic() < deadline, quiet
        time.sleep(0.5)
    assert all(item["AlarmActions"] and item["OKActions"] for item in alarms(deployed).values())


def test_hung_instance_fires_related_alarms(deployed: Environment, pager: Mailbox) -> None:
    url, image = deployed.url(), deployed.image()
    url.call(image, "image/jpeg")
    servers = deployed.servers()
    for server in servers:
        server.send_signal(signal.SIGSTOP)
    went_off = ("no-instance", "url-errors", "endpoint-errors", "scaled-errors", "callers-not-served")
    try:
        with callers(2, lambda: url.call(image, "image/jpeg")):
            for slug in went_off:
                pager.goes_off(slug)
    finally:
        for server in servers:
            server.send_signal(signal.SIGCONT)
    for slug in went_off:
        pager.is_over(slug)
    assert url.call(image, "image/jpeg").status == 200


@pytest.fixture(scope="module")
def low_limits(deployed: Environment) -> None:
    """The stage with limits that everything is over, and an EC2 instance that hangs."""
    deployed.deploy("Serving", "Operations", "--exclusively", app=assembly(**LOW))
    hang(deployed)


def hang(deployed: Environment) -> None:
    """Starts an instance, and stops it in its tracks."""
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=1)
    deadline = time.monotonic() + 30
    while not (found := machines(deployed)):
        assert time.monotonic() < deadline
    for process in found:
        process.send_signal(signal.SIGSTOP)


def end_hanging(deployed: Environment) -> None:
    deployed.client("autoscaling").set_desired_capacity(AutoScalingGroupName=GROUP, DesiredCapacity=0)


def machines(deployed: Environment) -> list[psutil.Process]:
    """The processes of the training instance."""
    found = []
    for child in psutil.Process(deployed.server.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it may end in the meantime
            if any("user-data" in part for part in child.cmdline()):
                found.append(child)
    return found


@pytest.fixture(scope="module")
def unfamiliar(deployed: Environment) -> None:
    """Images of no class are answered, and the drift check has compared the answers."""
    function = deployed.output("Operations", "DriftFunctionName")
    runtime = deployed.client("sagemaker-runtime")

    def compared() -> dict[str, Any]:
        answer = deployed.client("lambda").invoke(FunctionName=function)
        document: dict[str, Any] = json.load(answer["Payload"])
        assert "FunctionError" not in answer, document
        return document

    def first(image: bytes) -> tuple[str, float]:
        answer = runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="image/jpeg", Body=image)
        prediction = json.load(answer["Body"])["predictions"][0]
        return prediction["label"], prediction["probability"]

    before, noise = compared(), strange()
    by_doubt = sorted((first(image)[1], number) for number, image in enumerate(noise))
    label = first(noise[by_doubt[0][1]])[0]
    # One class alone, and of its images those that the model is least sure of.
    asked = [noise[number] for _, number in by_doubt if first(noise[number])[0] == label][:3]
    sent = 300 + 10 * int(before["Answers"])
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: first(asked[number % len(asked)]), range(sent)))
    time.sleep(5)  # captures are written every two seconds
    after = compared()
    assert after["Answers"] >= min(before["Answers"] + sent, 5000)
    assert after["ClassMixShift"] > 0.3
    assert after["ConfidenceDrop"] > 0.15


def strange() -> list[bytes]:
    """Images of no class: noise of every grain."""
    images = []
    for seed in range(60):
        values = np.random.default_rng(seed).integers(0, 256, (2 + seed, 2 + seed, 3), dtype=np.uint8)
        images.append(encode(Image.fromarray(values).resize((200, 200)), "JPEG"))
    return images


@pytest.fixture(scope="module")
def missing_report(deployed: Environment) -> None:
    """The drift check has failed: the package that it compares with is gone."""
    name = deployed.output("Operations", "DriftFunctionName")
    ssm, parameter = deployed.client("ssm"), "/kennel/dev/model"
    promoted = ssm.get_parameter(Name=parameter)["Parameter"]["Value"]
    bucket = deployed.output("Data", "ModelBucket")
    ssm.put_parameter(Name=parameter, Value=f"s3://{bucket}/packages/gone/", Overwrite=True)
    try:
        answer = deployed.client("lambda").invoke(FunctionName=name)
    finally:
        ssm.put_parameter(Name=parameter, Value=promoted, Overwrite=True)
    assert "FunctionError" in answer


# What an alarm counts by the hour, a minute here, is begun before the others are looked at, and waited for after them.
@pytest.mark.usefixtures("low_limits", "unfamiliar", "missing_report")
def test_exceeded_limits_fire_alarms_and_budget(deployed: Environment, pager: Mailbox) -> None:
    url, image = deployed.url(), deployed.image()
    with callers(1, lambda: url.call(image, "image/jpeg")):
        for slug in ("url-latency", "model-latency", "scaled-latency", "memory", "disk", "callers-not-served"):
            pager.goes_off(slug)
    for kind in ("ACTUAL", "FORECASTED"):
        pager.waits_for("Budget Name: Kennel-dev", f"Alert Type: {kind}")
    for slug in ("url-latency", "model-latency", "scaled-latency", "callers-not-served"):
        pager.is_over(slug)


def test_throttled_calls_fire_alarm(deployed: Environment, pager: Mailbox) -> None:
    functions, name = deployed.client("lambda"), deployed.output("Api", "FunctionName")
    url, image = deployed.url(), deployed.image()
    functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    try:
        with callers(6, lambda: url.call(image, "image/jpeg")):
            pager.goes_off("throttled")
    finally:
        functions.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=10)
    pager.is_over("throttled")


def test_rejected_calls_fire_endpoint_alarm(deployed: Environment, pager: Mailbox) -> None:
    runtime = deployed.client("sagemaker-runtime", Config(retries={"max_attempts": 1}))
    with callers(1, lambda: runtime.invoke_endpoint(EndpointName=ENDPOINT, ContentType="text/plain", Body=b"no image")):
        pager.goes_off("endpoint-refusals")
    pager.is_over("endpoint-refusals")


def test_spillover_fires_alarm(deployed: Environment, pager: Mailbox) -> None:
    # The embedded AWS starts environments as they are needed: there, nothing spills over. The metric is put.
    name = deployed.output("Api", "FunctionName")
    spilled = {"FunctionName": name, "Resource": f"{name}:live"}
    with callers(1, lambda: put(deployed, "AWS/Lambda", "ProvisionedConcurrencySpilloverInvocations", 1, **spilled)):
        pager.goes_off("spilled-over")
    pager.is_over("spilled-over")


def test_failed_job_fires_alarm_and_is_logged(deployed: Environment, pager: Mailbox) -> None:
    bucket = deployed.output("Data", "DatasetBucket")
    deployed.client("s3").put_object(Bucket=bucket, Key="datasets/lonely/only/1.jpg", Body=deployed.image())
    begun_ms = round(1000 * time.time())
    assert deployed.run("kennel", "train", "lonely", check=False).returncode == 1
    pager.goes_off("failed-jobs")
    pager.is_over("failed-jobs")
    # Other tests' jobs have failed, too.
    (event,) = deployed.client("logs").filter_log_events(logGroupName="/kennel/dev/failed-jobs", startTime=begun_ms)[
        "events"
    ]
    assert "only the class 'only'" in json.loads(event["message"])["detail"]["FailureReason"]


def test_failed_ec2_run_fires_job_alarm(deployed: Environment, pager: Mailbox) -> None:
    logs, group = deployed.client("logs"), deployed.output("Training", "Ec2LogGroup")
    logs.create_log_stream(logGroupName=group, logStreamName="run/i-1")
    line = {"timestamp": round(1000 * time.time()), "message": "kennel: run r failed: exit status 1 at: train"}
    logs.put_log_events(logGroupName=group, logStreamName="run/i-1", logEvents=[line])
    pager.goes_off("failed-jobs")
    pager.is_over("failed-jobs")


@pytest.mark.usefixtures("unfamiliar", "missing_report")
def test_drift_and_failed_check_fire_alarms(pager: Mailbox) -> None:
    for slug in ("confidence-drift", "class-mix-drift", "drift-errors"):
        pager.goes_off(slug, timeout_s=180)


def test_ec2_left_running_fires_alarm(deployed: Environment, pager: Mailbox, low_limits: None) -> None:
    pager.goes_off("ec2-left-on", timeout_s=240)
    end_hanging(deployed)
    pager.is_over("ec2-left-on", timeout_s=240)


def test_alarms_clear_after_limits_are_restored(deployed: Environment, pager: Mailbox) -> None:
    deployed.deploy("Serving", "Operations", "--exclusively")
    # Nothing was compared again: the last drift is of an hour that is over.
    for slug in ("memory", "disk", "confidence-drift", "class-mix-drift", "drift-errors"):
        pager.is_over(slug, timeout_s=180)

    def spent() -> list[str]:
        notifications = deployed.client("budgets").describe_notifications_for_budget(
            AccountId=ACCOUNT, BudgetName="Kennel-dev"
        )["Notifications"]
        # What is forecast goes by what is on at the moment, with what earlier tests left.
        return [item["NotificationState"] for item in notifications if item["NotificationType"] == "ACTUAL"]

    until(lambda: spent() == ["OK", "OK"])


def test_notifications_pass_topic_and_key_policies(deployed: Environment, pager: Mailbox) -> None:
    lines = (json.loads(line) for line in (state_dir() / FILE).read_text().splitlines())
    asked = {
        (line["principal"].partition(".")[0], line["action"], line["outcome"])
        for line in lines
        if line["principal"] in ("cloudwatch.amazonaws.com", "budgets.amazonaws.com")
    }
    calls = ("sns:Publish", "kms:GenerateDataKey", "kms:Decrypt")
    assert {item for item in asked if item[2] == "allowed"} == {
        (service, call, "allowed") for service in ("cloudwatch", "budgets") for call in calls
    }


def test_every_alarm_fired_and_cleared(deployed: Environment, pager: Mailbox) -> None:
    assert pager.went_off == pager.was_over == set(alarms(deployed))
