"""In place of conversion._convert, in its process: what a hostile file could make a decoder do."""

import signal

from kennel.datasets.conversion import MAX_MEMORY_BYTES


def endless(data: bytes, longest_px: int, quality: int, png_bytes: int) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0.05)
    while True:
        pass


def greedy(data: bytes, longest_px: int, quality: int, png_bytes: int) -> tuple[None, str]:
    try:
        bytearray(MAX_MEMORY_BYTES)
    except MemoryError:
        return None, "out of memory"
    return None, "the memory was given"
