"""Programs of Node.js that answer a line of JSON with a line of JSON, and stay for the questions that follow."""

import atexit
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

from kennel.errors import KennelError

TIMEOUT_S = 120.0


class NodeProgram:
    """A script that is started with the first question: its libraries take longer to load than an answer takes.

    The script reads lines of JSON from standard input and writes one line for each, {"answer": …} or {"error": …}.
    """

    def __init__(self, script: Path, cwd: Path | None = None) -> None:
        self._script, self._cwd = script, cwd
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def ask(self, question: Any) -> Any:
        """The answer. Raises KennelError for an error of the script, its end, and after TIMEOUT_S without an answer."""
        with self._lock:
            process = self._running()
            assert process.stdin is not None
            assert process.stdout is not None
            timer = threading.Timer(TIMEOUT_S, process.kill)
            timer.start()
            try:
                process.stdin.write(json.dumps(question) + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except BrokenPipeError:
                line = ""
            finally:
                timer.cancel()
            if not line:
                _, reason = process.communicate()
                raise KennelError(f"{self._script.name} ended without a reply: {reason.strip()[-500:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise KennelError(str(reply["error"]))
        return reply["answer"]

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                ["node", str(self._script)],
                cwd=self._cwd,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            atexit.register(self._process.kill)
        return self._process
