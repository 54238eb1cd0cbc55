"""The `kennel` command: signals first, so that Ctrl-C ends it cleanly even while it imports; then the command line."""

import io
import signal
import sys
from typing import Any


class Interrupted(BaseException):
    """Ctrl-C, `kill` or a closed terminal. Not KeyboardInterrupt, which Typer would take for its own."""


def main() -> None:
    """Runs the command line; an expected error is one line on standard error and exit status 1."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    for stream in (sys.stdout, sys.stderr):
        # A terminal without Unicode shows question marks, not a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        from kennel.commands.app import run

        sys.exit(run())
    except Interrupted:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] in ("kennel", "infra"):
            raise
        # The environment grows: what operates a stage does without what trains, serves and emulates.
        print(f"This command needs {missing.name}, which is not installed: run `make setup-ml`.", file=sys.stderr)
        sys.exit(1)


def _interrupt(number: int, frame: Any) -> None:
    # Once: a second Ctrl-C must not end the cleaning up.
    for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(again, signal.SIG_IGN)
    raise Interrupted


if __name__ == "__main__":
    main()
