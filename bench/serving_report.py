"""bench/serving.py's results as files: JSON for programs, a Markdown table and a plot for people."""

import json
import statistics
from pathlib import Path
from typing import Any

# On-demand list prices in USD an hour, us-east-1, as AWS's price list had them in November 2026; two cores each, which
# need not be as fast as those that were measured.
PRICES = {"ml.m5.large": 0.115, "ml.c5.large": 0.102}
PRICED_IN = "2026-11"
ROWS = {
    "baseline": "TorchServe, ResNet50 (the course's)",
    "resnet50": "ours behind the adapter, ResNet50",
    "adapter": "ours behind the adapter",
    "server": "ours, server.py alone",
}
GOALS = {
    "throughput_ratio_c8": ("throughput at 8 connections, adapter to baseline", "≥ 20"),
    "p50_ratio_c1": ("p50 at 1 connection, adapter to baseline", "≤ 0.2"),
    "resnet50_throughput_ratio_c8": ("throughput at 8 connections, ResNet50 to ResNet50", "≥ 4"),
    "http_share_of_in_process": ("throughput at the adapter, share of the predictor in process", "≥ 0.80"),
    "resnet50_http_share_of_in_process": ("the same with ResNet50, a slower model", ""),
    "server_share_of_in_process": ("throughput at server.py, share of the predictor in process", "≥ 0.92"),
    "predictor_ratio": ("predictor in process, to the usual recipe", "≥ 1.5"),
    "c64_share_of_c8": ("throughput at 64 connections, share of that at 8", "≥ 0.90"),
}


def write(folder: Path, document: dict[str, Any]) -> None:
    """serving.json, serving.md and serving.svg in `folder`."""
    folder.mkdir(exist_ok=True)
    document["cost_per_million"] = {"priced_in": PRICED_IN, "usd": _costs(document)}
    (folder / "serving.json").write_text(json.dumps(document, indent=2) + "\n")
    (folder / "serving.md").write_text(_markdown(document))
    (folder / "serving.svg").write_text(_plot(document))


def _median(document: dict[str, Any], row: str, column: str) -> float:
    return statistics.median(figures[row][column] for figures in document["rounds"])


def _costs(document: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {
        kind: {
            row: round(price / 3600 / _median(document, f"{row} c8", "per_s") * 1e6, 2)
            for row in ("baseline", "resnet50", "adapter")
        }
        for kind, price in PRICES.items()
    }


def _markdown(document: dict[str, Any]) -> str:
    at = document["machine"]
    rounds = document["rounds"]
    lines = [
        "# Serving, measured",
        "",
        f"`make bench-serving` on {at['processor']}, {at['cores']} cores, {at['memory_gib']} GiB; medians of "
        f"{len(rounds)} rounds, in brackets the spread. Served: {document['variant']['runtime']} in "
        f"{document['variant']['precision']}; ResNet50: {document['resnet50_variant']['runtime']} in "
        f"{document['resnet50_variant']['precision']}.",
        "",
        "![throughput by connections](serving.svg)",
        "",
        "| | measured | goal |",
        "|---|---|---|",
    ]
    for name, (text, goal) in GOALS.items():
        low, high = document["spread"][name]
        lines.append(f"| {text} | {document[name]:.2f} ({low:.2f} to {high:.2f}) | {goal} |")
    lines += [
        "",
        "| stack | connections | images/s | p50 ms | p99 ms | refused | errors | CPU ms an image | wrk's CPU ms |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row, text in ROWS.items():
        for count in (1, 8, 64):
            if (name := f"{row} c{count}") in rounds[0]:
                value = {column: _median(document, name, column) for column in rounds[0][name]}
                lines.append(
                    f"| {text} | {count} | {value['per_s']:.1f} | {value['p50_ms']:.1f} | {value['p99_ms']:.1f} "
                    f"| {value['refused']:.0f} | {value['errors']:.0f} | {value['cpu_ms']:.1f} "
                    f"| {value['load_cpu_ms']:.2f} |"
                )
    ours, recipe = (statistics.median(figures[kind] for figures in rounds) for kind in ("ours", "recipe"))
    lines += [
        "",
        f"In process, on all cores: ours {ours:.1f} images/s, the usual recipe (ONNX Runtime in fp32, OpenCV) "
        f"{recipe:.1f}.",
        "",
        "| stack | start to ready | peak memory |",
        "|---|---|---|",
    ]
    for row, text in ROWS.items():
        about = document["stacks"][row]
        lines.append(f"| {text} | {about['start_to_ready_s']:.1f} s | {about['peak_mib']} MiB |")
    lines += ["", "| image | baseline images/s, p50 ms | ours images/s, p50 ms |", "|---|---|---|"]
    for size, both in document["by_image_size"].items():
        cells = " | ".join(f"{both[row]['per_s']:.1f}, {both[row]['p50_ms']:.0f}" for row in ("baseline", "adapter"))
        lines.append(f"| {size} | {cells} |")
    lines += [
        "",
        "| shorter side of the validation images | top-1, JPEG at a reduced scale | in full | same label |",
        "|---|---|---|---|",
    ]
    for row in document["decoding"]:
        side = f"{row['shorter_side_px']} px" if row["shorter_side_px"] else "as they are"
        lines.append(f"| {side} | {row['top1_reduced']:.1%} | {row['top1_full']:.1%} | {row['agreement']:.1%} |")
    over, bad, soak = document["overload"], document["bad_images"], document["soak"]
    lines += [
        "",
        f"Overload, {over['connections']} connections at server.py: {over['per_s']:.1f} images/s; refusals take "
        f"{over['refused_p50_ms']} ms (p50), {over['refused_p99_ms']} ms (p99); an answer at most "
        f"{over['answered_max_ms']:.0f} ms; other statuses: {over['other_statuses']} of {over['probed']} probes.",
        "",
        f"Bad images: {bad['images']}, wrong answers: {len(bad['wrong'])}; the slowest took "
        f"{bad['slowest_ms']:.0f} ms ({bad['slowest']}); at most {bad['peak_above_idle_mib']} MiB above idle.",
        "",
        f"At saturation for {soak['minutes']:g} minutes, 64 connections at the adapter: {soak['requests']:.0f} "
        f"requests, {soak['refused']:.0f} refused, {soak['errors']:.0f} errors; memory after warm-up grew by "
        f"{soak['growth']:.1%}.",
        "",
        f"| USD a million images, at 8 connections ({document['cost_per_million']['priced_in']}, us-east-1) "
        "| baseline | ours, ResNet50 | ours |",
        "|---|---|---|---|",
    ]
    for kind, costs in document["cost_per_million"]["usd"].items():
        lines.append(f"| `{kind}` | {costs['baseline']:.2f} | {costs['resnet50']:.2f} | {costs['adapter']:.2f} |")
    return "\n".join(lines) + "\n"


def _plot(document: dict[str, Any]) -> str:
    """Bars of throughput by stack and number of connections, on a scale that begins at 0."""
    bars = [
        (text, count, _median(document, f"{row} c{count}", "per_s"))
        for row, text in ROWS.items()
        for count in (1, 8, 64)
        if f"{row} c{count}" in document["rounds"][0]
    ]
    highest = max(value for *_, value in bars)
    height = 26 * len(bars) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="760" height="{height}" fill="#fff"/>',
        '<text x="10" y="22" font-weight="bold">Images per second, by connections</text>',
    ]
    for place, (text, count, value) in enumerate(bars):
        y = 40 + 26 * place
        colour = "#98a2b3" if text.startswith("TorchServe") else "#2563c9"
        parts += [
            f'<text x="300" y="{y + 14}" text-anchor="end" fill="#1c2430">{text}, {count}</text>',
            f'<rect x="310" y="{y}" width="{380 * value / highest:.1f}" height="19" fill="{colour}"/>',
            f'<text x="{316 + 380 * value / highest:.1f}" y="{y + 14}" fill="#1c2430">{value:.0f}</text>',
        ]
    return "\n".join([*parts, "</svg>"]) + "\n"
