#!/usr/bin/env bash
# Downloads the deployed templates of a stage into a folder with the runner's AWS CLI, because jobs that may request
# credentials install nothing. For a stage that is not deployed, it writes a file that says so.
#
# templates.sh STAGE FOLDER
set -euo pipefail
stage=$1 folder=$2
mkdir -p "$folder"
stacks=$(aws cloudformation list-stacks --output text --query \
  "StackSummaries[?starts_with(StackName, 'Kennel-$stage-') && !starts_with(StackStatus, 'DELETE')].StackName")
for stack in $stacks; do
  aws cloudformation get-template --stack-name "$stack" --template-stage Original --output json --query TemplateBody \
    > "$folder/$stack.template.json"
done
[[ -n "$stacks" ]] || echo "No stack of the stage $stage is deployed." | tee "$folder/nothing-is-deployed.txt"
