"""The process of the embedded AWS: ministack with the bridge, IAM enforced, on loopback, until it is stopped."""

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import threading
from pathlib import Path

from kennel.local.settings import ACCOUNT, REGION, REPOSITORY, isolated_environment, state_dir
from kennel.local.workarounds import Application


def main() -> None:
    """Serves until SIGTERM, SIGINT or, with --with-parent, the end of standard input."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--with-parent", action="store_true", help="stop when standard input is closed")
    parser.add_argument("--resource-types", type=Path, required=True, help="the calls that deploys take, as TOML")
    parser.add_argument("--prices", type=Path, required=True, help="USD an hour by instance type, as JSON")
    arguments = parser.parse_args()

    # ministack leaves its functions' folders behind; they are deleted with the state folder.
    temporary = state_dir() / "tmp"
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    try:
        _run(arguments.port, arguments.with_parent, arguments.resource_types, arguments.prices)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _run(port: int, with_parent: bool, resource_types: Path, prices: Path) -> None:
    endpoint = f"http://localhost:{port}"
    folder = state_dir()
    _configure(endpoint, port)

    # Imported only now: ministack and moto read the environment when they are imported.
    from ministack.app import app

    from kennel.local import bridge, gate, scheduler, service_quotas, workarounds
    from kennel.local.awslambda import function_urls
    from kennel.local.awslambda import metrics as function_metrics
    from kennel.local.budgets import Bill
    from kennel.local.cloudformation import permissions
    from kennel.local.cloudwatch import alarms, metric_filters
    from kennel.local.cloudwatch.metrics import EndpointMetrics
    from kennel.local.cloudwatch.notifications import Notices
    from kennel.local.ec2 import quotas
    from kennel.local.ec2.instances import Machines
    from kennel.local.iam import authorization
    from kennel.local.processes import Processes
    from kennel.local.sagemaker.api import SageMaker
    from kennel.local.sagemaker.data_capture import Capture
    from kennel.local.sagemaker.endpoints import Endpoints
    from kennel.local.sagemaker.scaling import Scaling
    from kennel.local.sagemaker.training_jobs import Jobs
    from kennel.local.sagemaker.tuning_jobs import Tuner

    processes = Processes()
    jobs = Jobs(processes, folder / "jobs", endpoint)
    metrics, capture = EndpointMetrics(), Capture(endpoint)
    endpoints = Endpoints(processes, folder / "endpoints", endpoint, metrics, capture, alarms.firing)
    scaling = Scaling(metrics, endpoints.resize)
    bridge.install(SageMaker(jobs, Tuner(jobs), endpoints), scaling, endpoint)
    gate.install(os.environ["AWS_ACCESS_KEY_ID"])
    workarounds.apply()
    service_quotas.install()
    alarms.install()
    function_metrics.install()
    function_urls.install()
    metric_filters.install()
    scheduler.install(endpoint)
    record = authorization.Record(folder)
    authorization.install(record)
    permissions.install(record, resource_types)
    quotas.install()
    notices = Notices(record)
    notices.install()
    Machines(processes, folder / "instances", endpoint).watch()
    scaling.watch()
    capture.watch()
    endpoints.watch()
    Bill(notices, prices).watch()
    try:
        asyncio.run(_serve(gate.closed(workarounds.loopback_is_secure(app)), port, with_parent))
    finally:
        processes.stop_all()


def _configure(endpoint: str, port: int) -> None:
    environment = isolated_environment(endpoint, REGION, os.environ["AWS_ACCESS_KEY_ID"]) | {
        "AUTH": "true",
        "BIND_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
        "MINISTACK_REGION": REGION,
        "MOTO_ACCOUNT_ID": ACCOUNT,
        "LOG_LEVEL": os.environ.get("LOG_LEVEL", "INFO"),
        # Jobs and servers run the virtual environment's python, CDK's own functions its node.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        # Lambda's Node.js runtime includes the AWS SDK; package.json has the clients that those functions use.
        "NODE_PATH": str(REPOSITORY / "node_modules"),
    }
    # ministack then gives its functions 127.0.0.1, where the S3 client of CDK's own puts the bucket into the path.
    del environment["AWS_ENDPOINT_URL"]
    os.environ.clear()
    os.environ.update(environment)


async def _serve(application: Application, port: int, with_parent: bool) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.keep_alive_timeout = 75
    config.graceful_timeout = 1
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    if with_parent:

        def watch() -> None:
            sys.stdin.buffer.read()
            loop.call_soon_threadsafe(stopped.set)

        threading.Thread(target=watch, daemon=True).start()
    await serve(application, config, shutdown_trigger=stopped.wait)


if __name__ == "__main__":
    main()
