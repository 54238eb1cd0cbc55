"""Inspects the files of a dataset in processes of its own, a few files at a time, one process for each processor.

A process has the limits of a decoder (inference/decoder.py), for each image. When it ends, each file of its batch is
inspected by itself, its image in a process of decoder_pool.py: the one that ended it is found, and costs no other file.
"""

import json
import os
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import SupportsBytes

from inference.processors import usable
from training.data.inspection import GREY_BYTES, CheckedImage, from_json, inspect
from training.data.layout import Image

PROGRAM = "training.data.inspection"
CODE = Path(__file__).resolve().parents[2]
# Large enough that sending it costs nothing, small enough that progress is seen with large images.
BATCH = 64


class _Levels:
    """Grey levels of many images, in a temporary file and not in memory."""

    def __init__(self) -> None:
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 (closed with the object)
        self._places = count()
        weakref.finalize(self, self._file.close)

    def add(self, levels: bytes) -> SupportsBytes:
        if not levels:
            return levels
        start = next(self._places) * GREY_BYTES
        os.pwrite(self._file.fileno(), levels, start)
        return _Stored(self, start)

    def read(self, start: int) -> bytes:
        return os.pread(self._file.fileno(), GREY_BYTES, start)


@dataclass(frozen=True, slots=True)
class _Stored:
    levels: _Levels
    start: int

    def __bytes__(self) -> bytes:
        return self.levels.read(self.start)


class _Inspector:
    """A process of inspection.py, which starts with its first batch, and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def inspect(self, files: list[Image], levels: _Levels) -> list[CheckedImage]:
        """The results of the files, in their order, their grey levels in `levels`."""
        self._process = self._process or _start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            request = json.dumps([[file.file, file.format] for file in files])
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
            rows = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            if (status := self.close()) > 0:
                raise RuntimeError(f"{PROGRAM} ended with status {status}; its own message is above") from None
            return [inspect(file) for file in files]
        return [from_json(file, row, levels.add) for file, row in zip(files, rows, strict=True)]

    def close(self) -> int:
        """Ends the process; returns its exit status, as subprocess has it."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        process.communicate()
        return process.returncode


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", PROGRAM],
        cwd=CODE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Its own process group: Ctrl-C is for this process alone.
        process_group=0,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )


def inspect_all(files: list[Image]) -> Iterator[CheckedImage]:
    """The result of each file, in their order."""
    idle: SimpleQueue[_Inspector] = SimpleQueue()
    levels = _Levels()
    inspectors = [_Inspector() for _ in range(usable())]
    for inspector in inspectors:
        idle.put(inspector)

    def inspected(batch: list[Image]) -> list[CheckedImage]:
        inspector = idle.get()
        try:
            return inspector.inspect(batch, levels)
        finally:
            idle.put(inspector)

    batches = iter(files[start : start + BATCH] for start in range(0, len(files), BATCH))
    try:
        with ThreadPoolExecutor(len(inspectors)) as pool:
            # Read ahead of the batch that is waited for: every processor is busy, and memory stays flat.
            running: deque[Future[list[CheckedImage]]] = deque()
            running.extend(pool.submit(inspected, batch) for batch in islice(batches, 2 * len(inspectors)))
            while running:
                yield from running.popleft().result()
                running.extend(pool.submit(inspected, batch) for batch in islice(batches, 1))
    finally:
        for inspector in inspectors:
            inspector.close()
