"""Processes of `decoder.py`, one for each image that is decoded at the same time; kept for the next image."""

import atexit
import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from inference.decoder import ERRORS, MAX_CPU_S, MAX_FILE_BYTES, REPLY, REQUEST, SHARED_BYTES, Decoded, fits, receive
from inference.image_file import TooLargeImage, UnreadableImage

# MAX_CPU_S stops a process that computes; this limit is for one that waits. It is long, so that a busy machine rejects
# no valid image: with 20 s, one in 2,500 was rejected at the lowest priority. The server's health check fails earlier.
MAX_WALL_S = 120.0
PROGRAM = "inference.decoder"
# The folder that holds inference/: the repository, the code of a job, or a model package.
ROOT = Path(__file__).resolve().parent.parent

# A model package has no bytecode beside its files.
_FLAGS = ("-B",) if sys.dont_write_bytecode else ()

log = logging.getLogger("kennel")


class _Process:
    """One process of decoder.py; it ends with this object, at the latest with this process."""

    def __init__(self) -> None:
        self._connection, its = socket.socketpair()
        self._connection.settimeout(MAX_WALL_S)
        with its, _memory() as memory:
            os.truncate(memory.fileno(), SHARED_BYTES)
            self._shared = mmap.mmap(memory.fileno(), SHARED_BYTES)
            self._pixels = np.frombuffer(self._shared, np.uint8)
            # Its own process group: Ctrl-C is for this process alone.
            self._process = subprocess.Popen(
                [sys.executable, *_FLAGS, "-m", PROGRAM, str(memory.fileno())],
                cwd=ROOT,
                stdin=its.fileno(),
                pass_fds=[memory.fileno()],
                stdout=subprocess.DEVNULL,
                process_group=0,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )

    def decode(self, data: bytes, shorter_side: int, share: float) -> Decoded:
        """As decoder.decode, the pixels until the next image; the process may have ended after it raised."""
        try:
            self._shared[: len(data)] = data
            self._connection.sendall(REQUEST.pack(shorter_side, share, len(data)))
            header_length, pixels_length = REPLY.unpack(receive(self._connection, REPLY.size))
            header = json.loads(self._shared[:header_length])
            if fits(header_length, pixels_length):
                pixels = self._pixels[header_length:][:pixels_length]
            else:
                pixels = np.frombuffer(receive(self._connection, pixels_length), np.uint8)
        except OSError as error:
            raise self._ended(isinstance(error, TimeoutError)) from None
        if "error" in header:
            raise ERRORS[header["error"]](header["message"])
        shape = header.pop("shape")
        return Decoded(**header, pixels=pixels.reshape(shape))

    def _ended(self, too_slow: bool) -> Exception:
        if too_slow:
            self._process.kill()
        status = self._process.wait()
        self.close()
        if status >= 0:
            return RuntimeError(f"{PROGRAM} ended with status {status}; its own message is above")
        if too_slow:
            return TooLargeImage(f"decoding takes more than {MAX_WALL_S:g} s: send a smaller image")
        if status == -signal.SIGPROF:
            return TooLargeImage(f"decoding takes more than {MAX_CPU_S:g} s of processor time: send a smaller image")
        log.warning(json.dumps({"decoder": signal.Signals(-status).name}))
        return UnreadableImage(f"the image is damaged: it ends its decoder ({signal.Signals(-status).name})")

    @property
    def alive(self) -> bool:
        """True while the process can decode another image."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.wait()


def _memory() -> IO[bytes]:
    """A file without a name."""
    if sys.platform == "linux":
        return open(os.memfd_create("decoded image"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


_idle: list[_Process] = []
_lock = threading.Lock()


def decode(data: bytes, shorter_side: int) -> Decoded:
    """decoder.decode in another process, from any thread. Raises UnsupportedImage or UnreadableImage."""
    with lent(data, shorter_side) as decoded:
        return replace(decoded, pixels=decoded.pixels.copy())


@contextmanager
def lent(data: bytes, shorter_side: int, share: float = 0) -> Generator[Decoded]:
    """The same without a copy: the pixels are the process's until the block ends. `share` as of decoder.decode."""
    if len(data) > MAX_FILE_BYTES:
        raise TooLargeImage(f"the file has more than {MAX_FILE_BYTES:,} bytes: send a smaller image")
    process = _taken() or _Process()
    try:
        yield process.decode(data, shorter_side, share)
    finally:
        if process.alive:
            with _lock:
                _idle.append(process)


def _taken() -> _Process | None:
    with _lock:
        while _idle:
            if (process := _idle.pop()).alive:
                return process
            process.close()
    return None


@atexit.register
def close() -> None:
    """Ends the processes that are idle."""
    with _lock:
        while _idle:
            _idle.pop().close()


def _forget() -> None:
    """In a child that was forked: the processes are its parent's."""
    global _lock
    _lock = threading.Lock()
    _idle.clear()


os.register_at_fork(after_in_child=_forget)
