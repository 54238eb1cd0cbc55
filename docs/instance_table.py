"""The instance types of the price table, by family: the container that runs on them, or why synth rejects them."""

from infra import instance_types
from kennel.pricing import prices
from training.containers import SERVING_IMAGE, TRAINING_IMAGE

# By use: the prices of its types, and what runs on those that are accepted.
USES: dict[instance_types.Use, tuple[str, str]] = {
    "endpoint": ("hosting", f"container `{':'.join(SERVING_IMAGE)}`"),
    "training": ("training", f"container `{':'.join(TRAINING_IMAGE)}`"),
    "notebook": ("notebook", "SageMaker's own image"),
    "ec2": ("ec2", "Amazon Linux 2023, PyTorch for CPUs"),
}


def table() -> str:
    """A Markdown table with a row for each use and family."""
    lines = ["| Use | Instance types | Served by |", "|---|---|---|"]
    priced = prices.load()
    for use, (usage, runs) in USES.items():
        families: dict[str, list[str]] = {}
        usd: dict[str, float] = getattr(priced, f"{usage}_usd_h")
        # Small before large.
        for name in sorted(usd, key=lambda name: (name.rpartition(".")[0], usd[name])):
            families.setdefault(name.rpartition(".")[0], []).append(name)
        first = f"`{use}`"
        for names in families.values():
            problem = instance_types.problem(names[0], use)
            why = f"rejected: {problem.partition(' has ')[2].partition(',')[0]}" if problem else runs
            if not problem and use == "endpoint" and instance_types.burstable(names[0]):
                why += "; SageMaker does not scale this family, so `scaling_target_instance_type` must be `none`"
            lines.append(f"| {first} | {', '.join(f'`{name}`' for name in names)} | {why} |")
            first = ""
    return "\n".join(lines) + "\n"
