"""Coverage-guided fuzzing of the decoder: no crash, and no exception but its two. fuzz_cost.py looks for what is slow.

make fuzz [SECONDS=300]
    begins with the good and the bad images of the unit tests; what fails is kept in build/fuzz
"""

import argparse
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["image_file", "decoder", "PIL"]):
    from inference.decoder import UnreadableImage, UnsupportedImage, decode

from helpers.bad_images import corpus
from helpers.images import encode, gradient

REPOSITORY = Path(__file__).resolve().parents[2]

LARGEST_SEED_BYTES = 100_000


def one(data: bytes) -> None:
    """One input: anything but an answer or a named refusal ends the run."""
    try:
        pixels = decode(data, 64).pixels
    except (UnreadableImage, UnsupportedImage):
        return
    assert pixels.shape[2] == 3


def main() -> None:
    """Writes the seeds and fuzzes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=300)
    arguments = parser.parse_args()
    folder = REPOSITORY / "build" / "fuzz"
    seeds = folder / "corpus"
    seeds.mkdir(parents=True, exist_ok=True)
    good = [encode(gradient(90, 70).convert(mode), kind) for kind in ("JPEG", "PNG", "WEBP") for mode in ("RGB", "L")]
    good += [encode(gradient(90, 70).convert(mode), "PNG") for mode in ("P", "RGBA", "LA", "1", "I;16")]
    good.append(encode(gradient(90, 70).convert("CMYK"), "JPEG"))
    bad = [data for _, data, _ in corpus() if len(data) < LARGEST_SEED_BYTES]
    for number, data in enumerate([*good, *bad]):
        (seeds / f"seed-{number:03d}").write_bytes(data)
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-artifact_prefix={folder}/",
        *("-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"),
    ]
    atheris.Setup([sys.argv[0], str(seeds), *options], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
