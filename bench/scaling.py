"""The accuracy of the simulator of `kennel plan`: against closed forms, and against our own server.

The server is loaded as users do: at moments that a Poisson process drew, whether or not it has answered before. The
simulator gets the same moments, and of the server what `kennel plan` is told: how many requests it computes a second
when it is saturated, and how much single ones vary. The server has one core and one model thread, and the callers have
another core: on shared cores they would take from each other what is measured. Writes the figures into docs/scaling.md
and bench/results/scaling.json.
"""

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import stacks
import urllib3
from rich.console import Console
from serving import machine, package
from stacks import WORK

from kennel.capacity import event_simulation, fluid_simulation
from kennel.capacity.fluid_simulation import erlang_c
from kennel.capacity.load_generator import drive
from kennel.capacity.system import Endpoint, Instance
from kennel.capacity.traffic import Profile, shaped
from kennel.datasets import sample
from kennel.local.sagemaker.target_tracking import Policy

REPOSITORY = Path(__file__).resolve().parents[1]

DOCUMENT, RESULTS = REPOSITORY / "docs" / "scaling.md", REPOSITORY / "bench" / "results" / "scaling.json"
BEGIN, END = "<!-- measured: make bench-scaling -->", "<!-- end of measured -->"
SERVICE_S = 0.1
REQUESTS = 1_500_000
LOADS = (0.3, 0.5, 0.7)
SINGLE = 200
# As many callers as keep every worker busy.
CALLERS, SATURATION_S = 4, 20.0
# Model threads of the server, which has as many cores.
WORKERS = 1
console = Console(highlight=False)


def main() -> None:
    """Measures, and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90, help="of each load on the server (%(default)g)")
    parser.add_argument("--rounds", type=int, default=3, help="of all loads (%(default)s)")
    arguments = parser.parse_args()
    # Before the loads take a core of their own.
    measured_on = machine()
    document = {
        "closed_forms": closed_forms(),
        "aggregate": aggregated(),
        "server": served(arguments.seconds, arguments.rounds),
        "machine": measured_on,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n")
    text = DOCUMENT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n{tables(document)}{END}{after}")
    print(tables(document))
    console.print(f"Written: {DOCUMENT.relative_to(REPOSITORY)}, {RESULTS.relative_to(REPOSITORY)}")


def closed_forms() -> list[dict[str, Any]]:
    """The mean wait of M/M/1, M/D/1 and M/M/c, simulated and by the formula."""
    rows = []
    for name, workers, variation in (("M/M/1", 1, 1.0), ("M/D/1", 1, 0.0), ("M/M/2", 2, 1.0), ("M/M/4", 4, 1.0)):
        for load in LOADS:
            rate = load * workers / SERVICE_S
            profile = shaped("constant", 0, rate, hours=REQUESTS / rate / 3600)
            endpoint = Endpoint(Instance(SERVICE_S, workers, variation), 1)
            simulated = event_simulation.simulate(profile, endpoint, timeout_s=math.inf).mean_wait_s
            formula = erlang_c(workers, load) * SERVICE_S / workers / (1 - load) * (1 + variation**2) / 2
            rows.append({"queue": name, "load": load, "simulated_s": simulated, "formula_s": formula})
    return rows


def aggregated() -> list[dict[str, Any]]:
    """The simulation by ten seconds at a time against the one with every request."""
    instance = Instance(0.01, 2, 0.3, queue=64)
    endpoint = Endpoint(instance, 1, Policy(140 * 60, 1, 8, scale_out_cooldown_s=60))
    rows = []
    for profile in (shaped("constant", 0, 120), shaped("step", 50, 600), shaped("daily", 1, 60)):
        one, other = event_simulation.simulate(profile, endpoint), fluid_simulation.simulate(profile, endpoint)
        rows.append(
            {
                "traffic": profile.name,
                **{f"p{p}": [found.latency_s(p / 100) for found in (one, other)] for p in (50, 95)},
                "failed": [found.failed for found in (one, other)],
                "instance_h": [found.instance_s / 3600 for found in (one, other)],
            }
        )
    return rows


def served(seconds: float, rounds: int) -> dict[str, Any]:
    """The real server.py with ResNet50 under Poisson arrivals, and the simulator under the same ones."""
    data = WORK / "images"
    if not data.exists():
        sample.write(data)
    ours = package("resnet50", data)
    image = next(iter(sorted(data.rglob("*.jpg")))).read_bytes()
    http = urllib3.PoolManager(maxsize=128, retries=False)
    cores = sorted(os.sched_getaffinity(0))
    os.environ["KENNEL_MODEL_THREADS"] = str(WORKERS)
    # What is started inherits it.
    os.sched_setaffinity(0, cores[:1])
    with stacks.server(ours, 9091) as server:
        os.sched_setaffinity(0, cores[1:])

        def send(number: int) -> int:
            answer = http.request("POST", server.url, body=image, headers={"Content-Type": "image/jpeg"}, timeout=60)
            return int(answer.status)

        single = np.array([drive(np.array([0.0]), send)[0].latency_s for _ in range(SINGLE)])[SINGLE // 4 :]
        saturated = saturation(send)
        instance = Instance(WORKERS / saturated, WORKERS, float(single.std() / single.mean()))
        # What a single request takes beside being computed: connection, event loop, the caller itself.
        way_s = max(0.0, float(np.median(single)) - instance.service_s)
        rows = []
        for load in LOADS:
            measured: dict[str, list[float]] = {"p50": [], "p95": []}
            simulated: dict[str, list[float]] = {"p50": [], "p95": []}
            for seed in range(rounds):
                rate = load * instance.requests_per_s
                profile = Profile("constant", seconds, np.array([rate]))
                with console.status(f"{rate:.0f} requests/s for {seconds:g} s, round {seed + 1} of {rounds}"):
                    answers = drive(profile.arrivals(seed), send)
                assert {answer.status for answer in answers} == {200}
                outcome = event_simulation.simulate(profile, Endpoint(instance, 1), network_s=way_s, seed=seed)
                for name, share in (("p50", 0.5), ("p95", 0.95)):
                    measured[name].append(float(np.quantile([answer.latency_s for answer in answers], share)))
                    simulated[name].append(outcome.latency_s(share))
            rows.append({"load": load, "requests_per_s": rate, "measured_s": measured, "simulated_s": simulated})
    return {
        "service_s": instance.service_s,
        "variation": instance.variation,
        "workers": WORKERS,
        "way_s": way_s,
        "loads": rows,
    }


def saturation(send: Callable[[int], int]) -> float:
    """Requests/s of the server with a queue that is never empty."""
    until = time.monotonic() + SATURATION_S

    def calls(caller: int) -> int:
        count = 0
        while time.monotonic() < until:
            send(caller)
            count += 1
        return count

    with ThreadPoolExecutor(CALLERS) as pool:
        return sum(pool.map(calls, range(CALLERS))) / SATURATION_S


def tables(document: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"By `make bench-scaling`, on {document['machine']['processor']}, {document['machine']['cores']} core(s).",
        "",
        "| queue | load | mean wait, simulated | by the formula | difference |",
        "|---|---|---|---|---|",
    ]
    for row in document["closed_forms"]:
        off = row["simulated_s"] / row["formula_s"] - 1
        lines.append(
            f"| {row['queue']} | {row['load']:.0%} | {1000 * row['simulated_s']:.2f} ms | "
            f"{1000 * row['formula_s']:.2f} ms | {off:+.1%} |"
        )
    server = document["server"]
    lines += [
        "",
        f"The real server (ResNet50 on one core, {server['workers'] / server['service_s']:.0f} requests/s when "
        "saturated; the callers on another core), in brackets the smallest and the largest of the rounds:",
        "",
        "| load | requests/s | p50 measured | simulated | difference | p95 measured | simulated | difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in server["loads"]:
        cells = [f"{row['load']:.0%}", f"{row['requests_per_s']:.0f}"]
        for name in ("p50", "p95"):
            seen, told = (row[key][name] for key in ("measured_s", "simulated_s"))
            off = statistics.median(told) / statistics.median(seen) - 1
            spread = f"({1000 * min(seen):.0f} to {1000 * max(seen):.0f})"
            cells += [
                f"{1000 * statistics.median(seen):.0f} ms {spread}",
                f"{1000 * statistics.median(told):.0f} ms",
                f"{off:+.0%}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "The approximation in steps of ten seconds, compared with the simulation of every request (approximate against "
        "exact):",
        "",
        "| traffic | p50 | p95 | without a response | instance hours |",
        "|---|---|---|---|---|",
    ]
    for row in document["aggregate"]:
        latencies = [f"{1000 * row[name][1]:.0f} against {1000 * row[name][0]:.0f} ms" for name in ("p50", "p95")]
        failed = f"{row['failed'][1]:.1%} against {row['failed'][0]:.1%}"
        hours = f"{row['instance_h'][1]:.2f} against {row['instance_h'][0]:.2f}"
        lines.append(f"| {row['traffic']} | {' | '.join(latencies)} | {failed} | {hours} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
