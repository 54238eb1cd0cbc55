"""The script that every start of the notebook runs, as root, on Amazon Linux 2023: a systemd timer, no cron."""

import os
import subprocess
from pathlib import Path

from infra.constructs.training.notebook import IDLE_STOP

SYSTEMCTL = """#!/bin/bash
echo "$@" >> "$CALLS"
"""


def test_timer_is_installed_and_started(tmp_path: Path) -> None:
    for folder in ("bin", "etc/systemd/system", "usr/local/bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin" / "systemctl").write_text(SYSTEMCTL)
    (tmp_path / "bin" / "systemctl").chmod(0o755)
    text = IDLE_STOP.read_text().replace("@IDLE_STOP_MIN@", "60")
    for folder in ("/usr/local/bin/", "/etc/systemd/"):
        text = text.replace(f" {folder}", f" {tmp_path}{folder}")
    environment = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "CALLS": str(tmp_path / "calls")}
    subprocess.run(["bash", "-c", text], env=environment, check=True)

    assert (tmp_path / "calls").read_text().splitlines() == [
        "daemon-reload",
        "enable --now kennel-idle-stop.timer",
    ]
    service = (tmp_path / "etc/systemd/system/kennel-idle-stop.service").read_text()
    (command,) = (line.partition("=")[2] for line in service.splitlines() if line.startswith("ExecStart="))
    python, script = command.split()
    assert os.access(python, os.X_OK)
    compile(Path(script).read_text(), script, "exec")
    assert "OnUnitActiveSec=5min" in (tmp_path / "etc/systemd/system/kennel-idle-stop.timer").read_text()
    assert "cron" not in text.replace("has no cron", "")
