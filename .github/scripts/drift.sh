#!/usr/bin/env bash
# Keeps one issue while what is deployed is not what main declares; it is closed when both agree again.
# The argument is the review: an empty file where they agree. Without the file the review failed, and nothing is done.
# Needs gh with GH_TOKEN, GITHUB_REPOSITORY and STAGE.
set -euo pipefail
review=$1
[ -f "$review" ] || { echo "There is no review of $STAGE: nothing is known about its drift." >&2; exit 1; }

title="Drift: $STAGE is not what main says"
present=$(gh issue list --repo "$GITHUB_REPOSITORY" --state open --search "in:title \"$title\"" --json number --jq '.[0].number // empty')
if [ ! -s "$review" ]; then
  [ -z "$present" ] || gh issue close --repo "$GITHUB_REPOSITORY" "$present" --comment "It is what main says again."
elif [ -n "$present" ]; then
  gh issue edit --repo "$GITHUB_REPOSITORY" "$present" --body-file "$review"
else
  gh issue create --repo "$GITHUB_REPOSITORY" --title "$title" --body-file "$review"
fi
