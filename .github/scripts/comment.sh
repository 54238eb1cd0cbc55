#!/usr/bin/env bash
# Keeps one comment per stage on a pull request: creates it, updates it, or deletes it when nothing changes any more.
# The argument is the review file. It is empty if nothing changes, and missing if the review failed.
# Needs gh with GH_TOKEN, GITHUB_REPOSITORY, NUMBER (of the pull request), STAGE and RUN_URL.
set -euo pipefail
review=$1

marker="<!-- kennel review: $STAGE -->"
text=$(mktemp)
if [ -f "$review" ]; then
  cp "$review" "$text"
else
  printf '%s\n**The review of stage %s failed.** This does not mean that nothing changes: see [the run](%s).\n' \
    "$marker" "$STAGE" "$RUN_URL" > "$text"
fi

comments="repos/$GITHUB_REPOSITORY/issues/$NUMBER/comments"
present=$(gh api --paginate "$comments" --jq ".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id" | head -n 1)
if [ ! -s "$text" ]; then
  [ -z "$present" ] || gh api --silent --method DELETE "repos/$GITHUB_REPOSITORY/issues/comments/$present"
elif [ -n "$present" ]; then
  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$present" --field "body=@$text"
else
  gh api --silent --method POST "$comments" --field "body=@$text"
fi
