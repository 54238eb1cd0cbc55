#!/usr/bin/env bash
# The templates of a stage as they are deployed, into a folder, with the AWS command line that runners have: what may ask
# for credentials installs nothing. A stage that is not deployed leaves a file that says so.
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
