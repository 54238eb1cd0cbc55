"""Looks for images that are expensive to decode: evolves files towards processor time and memory.

python tests/fuzz/fuzz_cost.py [--seconds 300]
    A generation keeps the files that cost most per kind and outcome, and changes them. Each is decoded in the process
    that the product decodes in. Ends with 1 if one takes more than its limits, or crashes the decoder; such files, and
    those that only the process's limits stopped, are kept in build/fuzz/cost.
"""

import argparse
import hashlib
import logging
import random
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from helpers.bad_images import corpus, many_scans, png
from helpers.images import encode, gradient
from inference import decoder_pool
from inference.decoder import MAX_CPU_S, MAX_MEMORY_BYTES, MAX_ROWWISE_PIXELS
from inference.formats import FORMATS
from inference.images import UnreadableImage, UnsupportedImage

REPOSITORY = Path(__file__).resolve().parents[2]

MAX_INPUT_BYTES = 6_000_000
SHORTER_SIDE = 256
KEPT = 24
# Of the kernel's clock, and of a process that starts.
TOLERANCE_S = 0.1
TOKENS = [bytes([0xFF, marker]) for marker in (0xC0, 0xC2, 0xC4, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xE0, 0xE1, 0xFE)]
TOKENS += [
    b"IDAT",
    b"eXIf",
    b"tRNS",
    b"PLTE",
    b"VP8 ",
    b"VP8L",
    b"ALPH",
    b"VP8X",
    b"Exif\0\0",
    b"\0\0\0\0",
    b"\xff\xff",
]


@dataclass(frozen=True)
class Trial:
    """A file, and what decoding it took: seconds of processor time, bytes beyond the idle process."""

    data: bytes
    cpu_s: float
    memory: int
    outcome: str

    def above_limits(self) -> bool:
        """Whether it is a fault of the product."""
        too_much = self.cpu_s > MAX_CPU_S + TOLERANCE_S or self.memory > MAX_MEMORY_BYTES
        return too_much or "ends its decoder" in self.outcome or "RuntimeError" in self.outcome


def tried(data: bytes) -> Trial:
    """Decodes `data`, with the kernel's figures of the process that did."""
    decoder_pool.decode(png(8, 8, data=bytes(8 * 25)), 8)
    (process,) = decoder_pool._idle
    proc = Path(f"/proc/{process._process.pid}")
    (proc / "clear_refs").write_text("5")  # the peak begins at what the process has now
    idle, before = _peak(proc), _cpu_s(proc)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    try:
        outcome = str(decoder_pool.decode(data, SHORTER_SIDE).pixels.shape)
    except (UnreadableImage, UnsupportedImage) as error:
        outcome = str(error)
    except Exception as error:
        outcome = f"RuntimeError: {error!r}"
    if process.alive:
        return Trial(data, _cpu_s(proc) - before, _peak(proc) - idle, outcome)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - ended.ru_utime - ended.ru_stime
    # Its peak is not known: what the kernel counts of ended processes has this one in it, which they were forked from.
    return Trial(data, spent - before, 0, outcome)


def _peak(proc: Path) -> int:
    (line,) = (line for line in (proc / "status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _cpu_s(proc: Path) -> float:
    return int((proc / "schedstat").read_text().split()[0]) / 1e9


def seeds() -> list[bytes]:
    """Good and bad images, and large ones just below the limits."""
    found = [encode(gradient(90, 70), kind) for kind in ("JPEG", "PNG", "WEBP")]
    found += [encode(gradient(90, 70), "JPEG", progressive=True), encode(gradient(90, 70), "WEBP", lossless=True)]
    side = int(MAX_ROWWISE_PIXELS**0.5)
    found.append(encode(gradient(side, side), "JPEG", quality=30))
    for kind, limit in ((name, format.max_pixels) for name, format in FORMATS.items()):
        side = int(limit**0.5)
        found.append(
            encode(gradient(side, side).convert("RGB"), kind, **({"progressive": True} if kind == "JPEG" else {}))
        )
    found.append(many_scans(1000, 1000, 480))
    return found + [data for _, data, _ in corpus()]


def changed(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """`data` with one to four changes: bytes, tokens, sizes; parts repeated, left out, or taken from `other`."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        # Headers decide most of the cost: half of the changes are there.
        end = min(len(result), 2048) if chance.random() < 0.5 else len(result)
        place = chance.randrange(end + 1)
        length = chance.choice((1, 2, 4, 16, 64, 1024, 65_536))
        kind = chance.randrange(7)
        if kind == 0:
            result[place : place + 1] = chance.randbytes(1)
        elif kind == 1:
            token = chance.choice(TOKENS)
            result[place : place + (len(token) if chance.random() < 0.5 else 0)] = token
        elif kind == 2:
            number = chance.choice((0, 1, 255, 256, 4095, 4096, 16_383, 65_535, 2**31 - 1))
            size = chance.choice((2, 4))
            result[place : place + size] = (number % 256**size).to_bytes(size, chance.choice(("big", "little")))
        elif kind == 3:
            result[place:place] = result[place : place + length] * chance.choice((1, 2, 8, 64))
        elif kind == 4:
            del result[place : place + length]
        elif kind == 5:
            start = chance.randrange(len(other) + 1)
            result[place:place] = other[start : start + length]
        else:
            result[place : place + length] = chance.randbytes(min(length, len(result) - place))
        del result[MAX_INPUT_BYTES:]
    return bytes(result)


def main() -> int:
    """Runs for the given time; the number of faults decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--seed", type=int, default=0, help="of the changes (0)")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    folder = REPOSITORY / "build" / "fuzz" / "cost"
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(arguments.seed)
    end = time.monotonic() + arguments.seconds
    population = [tried(data) for data in seeds()]
    faults, stopped, count, told = [], 0, len(population), time.monotonic()
    new = population
    while True:
        for trial in new:
            if trial.above_limits() or "takes more than" in trial.outcome:
                (folder / hashlib.sha256(trial.data).hexdigest()[:16]).write_bytes(trial.data)
                stopped += 1
                faults += [trial] if trial.above_limits() else []
        by_time = sorted(population, key=lambda trial: -trial.cpu_s)[:KEPT]
        by_memory = sorted(population, key=lambda trial: -trial.memory)[:KEPT]
        # What is expensive for its size finds more ways than what is merely large.
        by_byte = sorted(population, key=lambda trial: -trial.cpu_s / (1000 + len(trial.data)))[:KEPT]
        population = list({trial.data: trial for trial in (*by_time, *by_memory, *by_byte)}.values())
        if time.monotonic() > end:
            break
        parents = [*chance.choices(population, k=8), *chance.choices(by_byte, k=8)]
        new = [tried(changed(parent.data, chance.choice(population).data, chance)) for parent in parents]
        population, count = population + new, count + len(new)
        if time.monotonic() - told > 10:
            told = time.monotonic()
            print(_line(count, by_time[0], by_memory[0], stopped), flush=True)
    print(_line(count, by_time[0], by_memory[0], stopped))
    for trial in faults:
        cost = f"{trial.cpu_s:.2f} s, {trial.memory / 1e6:.0f} MB, {len(trial.data):,} bytes"
        print(f"ABOVE THE LIMITS: {cost}: {trial.outcome}")
    print(
        f"{len(faults)} files above {MAX_CPU_S:g} s or {MAX_MEMORY_BYTES / 1e6:.0f} MB; what was stopped is in {folder}"
    )
    return bool(faults)


def _line(count: int, slowest: Trial, largest: Trial, stopped: int) -> str:
    return (
        f"{count:,} files; most: {slowest.cpu_s:.2f} s ({len(slowest.data):,} bytes), "
        f"{largest.memory / 1e6:.0f} MB ({len(largest.data):,} bytes); {stopped} stopped by the process's limits"
    )


if __name__ == "__main__":
    sys.exit(main())
