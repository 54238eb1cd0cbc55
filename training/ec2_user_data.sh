#!/bin/bash
# The first start of an EC2 training instance: fetch the code, train with checkpoints in S3, upload the package, report,
# and set the group back to 0 whatever happened. Only a spot interruption leaves the group at 1: it starts the next
# instance, which goes on from the checkpoint. The names between @ are filled in by the Training stack.
set -uo pipefail
export AWS_DEFAULT_REGION=@REGION@ HOME=${HOME:-/root}
# Not /tmp: on Amazon Linux that is memory.
WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/kennel.XXXXXX")
cd "$WORK" || exit 1
exec > >(tee -a log) 2>&1
RUN=unknown STEP=start STREAM=

# --- what the instance knows of itself (IMDSv2) ---
IMDS=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
IMDS=${IMDS%/}
metadata() {
  local token
  token=$(curl -sf -m 5 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$IMDS/latest/api/token") &&
    curl -sf -m 5 -H "X-aws-ec2-metadata-token: $token" "$IMDS/latest/meta-data/$1"
}

# --- the log, in CloudWatch Logs a few seconds later ---
send_log() {
  [ -n "$STREAM" ] || return 0
  while python3 - <<'PYTHON'
import json, os, sys, time
start = int(open("log.sent").read()) if os.path.exists("log.sent") else 0
with open("log", "rb") as log:
    log.seek(start)
    lines = [line for line in log.readlines(200_000) if line.endswith(b"\n")]
if not lines:
    sys.exit(1)
now = int(time.time() * 1000)
messages = [line.decode(errors="replace").rstrip() or " " for line in lines]
json.dump([{"timestamp": now, "message": message} for message in messages], open("log.events", "w"))
open("log.next", "w").write(str(start + sum(map(len, lines))))
PYTHON
  do
    aws logs put-log-events --log-group-name "@LOG_GROUP@" --log-stream-name "$STREAM" \
      --log-events file://log.events > /dev/null || return 0
    mv log.next log.sent
  done
}

# --- the end, however it comes ---
reason() {
  if [ -s ml/output/failure ]; then cat ml/output/failure; else echo "exit status $1 at: $STEP: $(tail -n 1 log)"; fi
}
report() { # state, reason
  python3 -c 'import json, sys; print(json.dumps({"state": sys.argv[1], "reason": sys.argv[2]}))' "$1" "$2" \
    | aws s3 cp - "s3://@MODELS@/@PACKAGES@$RUN/status.json"
}
finish() {
  local code=$?
  trap - EXIT
  [ -z "${HELPERS:-}" ] || kill $HELPERS 2> /dev/null
  # A training that ended before its instance did is no interruption: there is time to upload its package.
  [ "$code" -ne 0 ] || rm -f interrupted
  if [ -e interrupted ]; then
    save_checkpoints
    echo "kennel: run $RUN interrupted: the next instance goes on from the checkpoint"
  elif [ "$code" -eq 0 ]; then
    report Completed "" && echo "kennel: run $RUN completed"
  else
    REASON=$(reason "$code")
    report Failed "$REASON"
    echo "kennel: run $RUN failed: $REASON"
  fi
  sleep 1 # tee writes the last lines
  send_log
  [ -e interrupted ] ||
    aws autoscaling set-desired-capacity --auto-scaling-group-name "@GROUP@" --desired-capacity 0 --no-honor-cooldown
}
trap finish EXIT
step() { STEP=$1; echo "kennel: $1"; }

set -e
step "read the run's settings from @RUN_PARAMETER@"
INSTANCE=$(metadata instance-id)
aws ssm get-parameter --name "@RUN_PARAMETER@" --query Parameter.Value --output text > run.json
setting() { python3 -c 'import json, sys; print(json.load(open("run.json"))[sys.argv[1]])' "$1"; }
RUN=$(setting run) DATASET=$(setting dataset) PROGRAM=$(setting program) WEIGHTS=$(setting weights)
CHECKPOINTS="s3://@MODELS@/@CHECKPOINTS@$(setting checkpoints)"
step "open the log"
aws logs create-log-stream --log-group-name "@LOG_GROUP@" --log-stream-name "$RUN/$INSTANCE"
STREAM=$RUN/$INSTANCE
(while sleep 3; do send_log; done) &
HELPERS=$!
if aws s3 ls "s3://@MODELS@/@PACKAGES@$RUN/status.json"; then
  step "start run $RUN, which has ended already: start a new one with kennel train --on ec2"
  false
fi

step "fetch the code, the dataset and the checkpoints"
mkdir -p ml/input/config ml/input/data/training ml/model ml/checkpoints ml/output
aws s3 cp --no-progress "@CODE@" code.zip
python3 -m zipfile -e code.zip code
aws s3 sync --only-show-errors "s3://@DATASETS@$DATASET/" ml/input/data/training
aws s3 sync --only-show-errors "$CHECKPOINTS" ml/checkpoints
[ -z "$WEIGHTS" ] || aws s3 cp --only-show-errors "$WEIGHTS" ml/input/data/weights/
python3 -c 'import json; print(json.dumps(json.load(open("run.json"))["hyperparameters"]))' \
  > ml/input/config/hyperparameters.json

step "install the versions of AWS's training container"
dnf install -y -q @PYTHON@
@PYTHON@ -m venv venv
# /tmp is memory on Amazon Linux, and the wheels are gigabytes.
TMPDIR=$WORK venv/bin/pip install -q --disable-pip-version-check \
  --require-hashes -r code/training/requirements.lock

step "train"
# Names with a dot are being written.
save_checkpoints() { aws s3 sync --only-show-errors --exclude ".*" --exclude "*/.*" ml/checkpoints "$CHECKPOINTS"; }
cd code
SAGEMAKER_BASE_DIR=$WORK/ml timeout --foreground --kill-after=120 @MAX_RUN_S@ ../venv/bin/python -m "training.$PROGRAM" &
TRAINING=$!
cd "$WORK"
(while sleep 30; do save_checkpoints; done) &
HELPERS="$HELPERS $!"
# A spot instance is told two minutes before its end: time for the last checkpoint.
(
  until metadata spot/instance-action; do sleep 5; done
  echo
  touch interrupted
  kill -TERM "$TRAINING"
) &
HELPERS="$HELPERS $!"
wait "$TRAINING"

step "upload the model package"
aws s3 sync --only-show-errors ml/model "s3://@MODELS@/@PACKAGES@$RUN/output/model/"
aws s3api put-object-tagging --bucket "@MODELS@" --key "@PACKAGES@$RUN/output/model/model.json" --tagging \
  "TagSet=[{Key=kennel:run,Value=$RUN},{Key=kennel:dataset,Value=$DATASET},{Key=kennel:instance,Value=$INSTANCE}]" > /dev/null
save_checkpoints
