#!/usr/bin/env bash
# Keeps one comment for each stage of a pull request: created, updated, or deleted once nothing changes any more.
# The argument is the review: an empty file where nothing changes; a file that is missing is a review that failed.
# Needs gh with GH_TOKEN, GITHUB_REPOSITORY, NUMBER (of the pull request), STAGE and RUN_URL.
set -euo pipefail
review=$1

marker="<!-- kennel review: $STAGE -->"
text=$(mktemp)
if [ -f "$review" ]; then
  cp "$review" "$text"
else
  printf '%s\n**Stage %s could not be reviewed.** That is not "nothing changes": see [the run](%s).\n' \
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
