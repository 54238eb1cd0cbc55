"""An image that the caller has put into the stage's inbox: one prefix of one bucket, which the role may read."""

import os
import urllib.parse

from classifier.aws_client import CallError, SignedClient
from classifier.budget import Budget
from classifier.problem import Problem

MAX_KEY_BYTES = 1024


class S3Inbox:
    """Objects below `place`, for example s3://kennel-dev-datasets/inbox/."""

    def __init__(self, place: str) -> None:
        self._place = place
        bucket = place.split("/")[2]
        host = f"{bucket}.s3.{os.environ['AWS_REGION']}.{os.environ['DNS_SUFFIX']}"
        self._service = SignedClient("s3", host, "AWS_ENDPOINT_URL_S3")

    def fetch(self, uri: str, max_bytes: int, budget: Budget) -> bytes:
        """The object; raises Problem 400 for one elsewhere, 413, and 424 for one that cannot be read."""
        if not uri.startswith(self._place):
            raise Problem(400, f"'s3' must begin with {self._place}: put the image there first")
        if uri == self._place:
            raise Problem(400, f"'s3' must name an object below {self._place}")
        _, _, bucket, key = uri.split("/", 3)
        if {".", ".."} & set(key.split("/")):
            # S3 takes a key as it is; what resolves paths on the way would leave the inbox.
            raise Problem(400, "A key in the inbox must not have a segment . or ..")
        if len(key.encode(errors="replace")) > MAX_KEY_BYTES:
            raise Problem(400, f"The key of an object has at most {MAX_KEY_BYTES} bytes")
        path = "/" + urllib.parse.quote(key, safe="/-_.~", errors="replace")
        if not self._service.is_aws:
            path = f"/{bucket}{path}"
        try:
            answer = self._service.call("GET", path, {}, b"", budget, max_bytes)
        except CallError as error:
            raise Problem(424, "The inbox could not be read: try again") from error
        if answer.status in (403, 404):
            # Without the right to list the bucket, S3 says "forbidden" of what does not exist.
            raise Problem(424, f"{uri} does not exist", logged="There is no such object in the inbox")
        if answer.status != 200:
            raise Problem(424, "The inbox could not be read: try again") from CallError(f"S3 said {answer.status}")
        return answer.body
