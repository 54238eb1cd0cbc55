"""A GitHub repository as GitHub's tokens name it."""

import re

from infra.config import ConfigurationError

REPOSITORY = re.compile(
    r"(?P<owner>[A-Za-z0-9][A-Za-z0-9-]{0,38})(?P<id>@\d+)?/(?P<name>[A-Za-z0-9._-]{1,100})(?(id)@\d+)"
)


def parse(repository: str) -> re.Match[str]:
    """The groups `owner`, `name` and `id` of OWNER/NAME or OWNER@ID/NAME@ID.

    Raises ConfigurationError for anything else.
    """
    found = REPOSITORY.fullmatch(repository)
    if not found:
        raise ConfigurationError(
            f"The repository {repository!r} is not an OWNER/NAME of GitHub: make delivery REPOSITORY=OWNER/NAME, "
            "or OWNER@ID/NAME@ID."
        )
    return found
