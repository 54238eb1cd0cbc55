"""One call of the URL after a deploy: does it answer at all? Needs no right but to call it."""

import json
from pathlib import Path

from inference.photograph import photograph
from infra import names
from kennel.client.function_url import Answer, Url
from kennel.errors import KennelError


def url_of(outputs: Path, stage: str) -> str:
    """The URL in the file that `cdk deploy --outputs-file` writes. Raises KennelError where it is not there."""
    try:
        found: str = json.loads(outputs.read_text())[names.stack(stage, "Api")]["FunctionUrl"]
    except (OSError, ValueError, KeyError, TypeError):
        raise KennelError(
            f"{outputs} has no URL of stage {stage}: run `make release STAGE={stage}`, which writes it."
        ) from None
    return found


def smoke(url: Url) -> Answer:
    """The URL's response to a generated image; raises KennelError unless it is labels with probabilities."""
    answer = url.call(photograph(), "image/jpeg")
    if answer.status != 200:
        raise KennelError(f"{url.url} returned {answer.label}")
    return answer
