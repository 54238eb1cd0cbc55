#!/usr/bin/env bash
# One comment for each stage of a pull request: written, written anew, or taken away where nothing changes any more.
# What is deployed is what counts; where nobody may look at it, what the pull request is based on.
# Wants gh with GH_TOKEN, GITHUB_REPOSITORY, NUMBER (of the pull request) and STAGE.
set -euo pipefail
folder=$1

marker="<!-- kennel review: $STAGE -->"
text=$(mktemp)
for review in "$folder/deployed-$STAGE" "$folder/review-$STAGE/build"; do
  if [ -f "$review/review-$STAGE.md" ]; then
    cp "$review/review-$STAGE.md" "$text"
    break
  fi
done

comments="repos/$GITHUB_REPOSITORY/issues/$NUMBER/comments"
present=$(gh api --paginate "$comments" --jq ".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id" | head -n 1)
if [ ! -s "$text" ]; then
  [ -z "$present" ] || gh api --silent --method DELETE "repos/$GITHUB_REPOSITORY/issues/comments/$present"
elif [ -n "$present" ]; then
  gh api --silent --method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$present" --field "body=@$text"
else
  gh api --silent --method POST "$comments" --field "body=@$text"
fi
