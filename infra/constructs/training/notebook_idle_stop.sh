#!/bin/bash
# Runs as root at every start: checks each five minutes, and stops the instance once no kernel and no terminal
# has been active for @IDLE_STOP_MIN@ minutes (the uptime counts as activity).
set -euo pipefail

cat > /usr/local/bin/kennel-idle-stop <<'PYTHON'
import datetime, json, ssl, subprocess, time, urllib.request

IDLE_STOP_S = @IDLE_STOP_MIN@ * 60
# Jupyter answers on loopback with a certificate of its own.
LOOPBACK = ssl._create_unverified_context()


def jupyter(path):
    return json.load(urllib.request.urlopen(f"https://localhost:8443/api/{path}", context=LOOPBACK, timeout=10))


def last_activity():
    yield time.time() - float(open("/proc/uptime").read().split()[0])
    for session in jupyter("sessions"):
        if session["kernel"]["execution_state"] == "busy":
            yield time.time()
        yield seconds(session["kernel"]["last_activity"])
    for terminal in jupyter("terminals"):
        yield seconds(terminal["last_activity"])


def seconds(timestamp):
    return datetime.datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


if time.time() - max(last_activity()) > IDLE_STOP_S:
    name = json.load(open("/opt/ml/metadata/resource-metadata.json"))["ResourceName"]
    subprocess.run(["aws", "sagemaker", "stop-notebook-instance", "--notebook-instance-name", name], check=True)
PYTHON

# Amazon Linux 2023 has no cron (its user guide, "Deprecated in AL2023").
cat > /etc/systemd/system/kennel-idle-stop.service <<UNIT
[Unit]
Description=Stop the notebook instance when nobody uses it

[Service]
Type=oneshot
ExecStart=$(command -v python3) /usr/local/bin/kennel-idle-stop
UNIT

cat > /etc/systemd/system/kennel-idle-stop.timer <<UNIT
[Unit]
Description=Look every five minutes whether the notebook instance is used

[Timer]
OnBootSec=5min
OnUnitActiveSec=5min

[Install]
WantedBy=timers.target
UNIT

systemctl daemon-reload
systemctl enable --now kennel-idle-stop.timer
