"""A search for secrets in texts."""

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

PLUGINS = ("AWSKeyDetector", "BasicAuthDetector", "GitHubTokenDetector", "JwtTokenDetector", "KeywordDetector",
           "PrivateKeyDetector", "SlackDetector")  # fmt: skip


def secrets(text: str) -> list[str]:
    """The lines in which a secret was found, by its kind."""
    with transient_settings({"plugins_used": [{"name": name} for name in PLUGINS]}):
        return [f"{found.type}: {line.strip()[:80]}" for line in text.splitlines() for found in scan_line(line)]
