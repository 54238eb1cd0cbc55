"""Inspects the files of a dataset in processes of its own, a few files at a time, one process for each processor.

A process has the limits of a decoder (inference/decoder.py), for each image. When it ends, each file of its batch is
inspected by itself, its image in a process of decoder_pool.py: the one that ended it is found, and costs no other file.
"""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import SimpleQueue

from inference.processors import usable
from training.data.inspection import CheckedImage, from_json, inspect
from training.data.layout import Image

PROGRAM = "training.data.inspection"
CODE = Path(__file__).resolve().parents[2]
# Large enough that sending it costs nothing, small enough that progress is seen with large images.
BATCH = 16


class _Inspector:
    """A process of inspection.py, which starts with its first batch, and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def inspect(self, files: list[Image]) -> list[CheckedImage]:
        """The results of the files, in their order."""
        self._process = self._process or _start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            request = json.dumps([[str(file.path), file.format] for file in files])
            self._process.stdin.write(f"{request}\n".encode())
            self._process.stdin.flush()
            rows = json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            if (status := self.close()) > 0:
                raise RuntimeError(f"{PROGRAM} ended with status {status}; its own message is above") from None
            return [inspect(file) for file in files]
        return [from_json(file, row) for file, row in zip(files, rows, strict=True)]

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
    inspectors = [_Inspector() for _ in range(usable())]
    for inspector in inspectors:
        idle.put(inspector)

    def inspected(batch: list[Image]) -> list[CheckedImage]:
        inspector = idle.get()
        try:
            return inspector.inspect(batch)
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
