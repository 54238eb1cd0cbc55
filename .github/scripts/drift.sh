#!/usr/bin/env bash
# Keeps one issue open while the deployed stage differs from main, and closes it when they agree again.
# The argument is the review file. It is empty if they agree. If it is missing, the review failed: no issue is changed.
# Needs gh with GH_TOKEN, GITHUB_REPOSITORY and STAGE.
set -euo pipefail
review=$1
[ -f "$review" ] || { echo "The review of $STAGE is missing, so its difference from main is unknown." >&2; exit 1; }

title="Drift: the deployed stage $STAGE differs from main"
present=$(gh issue list --repo "$GITHUB_REPOSITORY" --state open --search "in:title \"$title\"" --json number --jq '.[0].number // empty')
if [ ! -s "$review" ]; then
  [ -z "$present" ] || gh issue close --repo "$GITHUB_REPOSITORY" "$present" --comment "The deployed stage agrees with main again."
elif [ -n "$present" ]; then
  gh issue edit --repo "$GITHUB_REPOSITORY" "$present" --body-file "$review"
else
  gh issue create --repo "$GITHUB_REPOSITORY" --title "$title" --body-file "$review"
fi
