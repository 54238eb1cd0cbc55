#!/bin/bash
# The first start of an EC2 training instance: fetch the code, train with checkpoints in S3, upload the package,
# report, and set the group back to 0 whatever happened. The names between @ are filled in by the Training stack.
set -uo pipefail
export AWS_DEFAULT_REGION=@REGION@ HOME=/root
LOG=/var/log/kennel-training.log
exec > >(tee -a "$LOG") 2>&1

report() { # state, reason
  printf '{"state": "%s", "reason": "%s"}\n' "$1" "$2" | aws s3 cp - "@PACKAGES@${RUN:-unknown}/status.json"
  echo "kennel: run ${RUN:-unknown} $1 ${2:+($2)}"
}

finish() {
  code=$?
  if [ "$code" -eq 0 ]; then report Completed ""; else report Failed "exit status $code at: ${STEP:-start}"; fi
  sleep 20 # the agent sends the last lines
  aws autoscaling set-desired-capacity --auto-scaling-group-name "@GROUP@" --desired-capacity 0 --no-honor-cooldown
}
trap finish EXIT
step() { STEP=$1; echo "kennel: $1"; }

set -e
step "start the log agent"
dnf install -y -q amazon-cloudwatch-agent python3.13
cat > /opt/aws/amazon-cloudwatch-agent/etc/kennel.json <<JSON
{"logs": {"logs_collected": {"files": {"collect_list": [
  {"file_path": "$LOG", "log_group_name": "@LOG_GROUP@", "log_stream_name": "{instance_id}"}]}}}}
JSON
/opt/aws/amazon-cloudwatch-agent/bin/amazon-cloudwatch-agent-ctl \
  -a fetch-config -m ec2 -s -c file:/opt/aws/amazon-cloudwatch-agent/etc/kennel.json

step "read the run's settings from @RUN_PARAMETER@"
aws ssm get-parameter --name "@RUN_PARAMETER@" --query Parameter.Value --output text > /root/run.json
setting() { python3 -c 'import json,sys; print(json.load(open("/root/run.json"))[sys.argv[1]])' "$1"; }
RUN=$(setting run) DATASET=$(setting dataset)

step "fetch the code and the dataset"
mkdir -p /opt/ml/code /opt/ml/input/config /opt/ml/input/data/training /opt/ml/model /opt/ml/checkpoints /opt/ml/output
aws s3 cp --no-progress "@CODE@" /root/code.zip
python3 -m zipfile -e /root/code.zip /opt/ml/code
aws s3 sync --no-progress "@DATASETS@$DATASET" /opt/ml/input/data/training
aws s3 sync --no-progress "@CHECKPOINTS@$RUN" /opt/ml/checkpoints
python3 -c 'import json; print(json.dumps(json.load(open("/root/run.json"))["hyperparameters"]))' \
  > /opt/ml/input/config/hyperparameters.json

step "install the versions of AWS's training container"
python3.13 -m venv /opt/kennel
/opt/kennel/bin/pip install -q -r /opt/ml/code/training/requirements.txt

step "train"
while sleep 30; do aws s3 sync --quiet /opt/ml/checkpoints "@CHECKPOINTS@$RUN"; done &
timeout @MAX_RUN_S@ /opt/kennel/bin/python /opt/ml/code/training/train.py

step "upload the model package"
aws s3 sync --no-progress /opt/ml/model "@PACKAGES@$RUN/output/model/"
