#!/usr/bin/env bash
# One issue while what is deployed is not what main says, closed when it is again.
# Wants gh with GH_TOKEN, GITHUB_REPOSITORY and STAGE.
set -euo pipefail
review=$1

title="Drift: $STAGE is not what main says"
present=$(gh issue list --repo "$GITHUB_REPOSITORY" --state open --search "in:title \"$title\"" --json number --jq '.[0].number // empty')
if [ ! -s "$review" ]; then
  [ -z "$present" ] || gh issue close --repo "$GITHUB_REPOSITORY" "$present" --comment "It is what main says again."
elif [ -n "$present" ]; then
  gh issue edit --repo "$GITHUB_REPOSITORY" "$present" --body-file "$review"
else
  gh issue create --repo "$GITHUB_REPOSITORY" --title "$title" --body-file "$review"
fi
