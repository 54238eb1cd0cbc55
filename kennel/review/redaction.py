"""What a comment that anybody can read must not have: account ids and secrets."""

import re

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

# Plugins for what is a secret by its form. Those that guess by entropy see one in every hash.
PLUGINS = (
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "GitHubTokenDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PrivateKeyDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "StripeDetector",
    "TwilioKeyDetector",
)
ACCOUNT = re.compile(r"(?<![0-9A-Za-z.])\d{12}(?![0-9A-Za-z])")
# What stands behind a name that says so; secretsmanager:… is an action.
NAMED_SECRET = re.compile(
    r"(?i)((?:password|passwd|secret(?!smanager)|token|api[_-]?key|private[_-]?key|credential)[\w-]*[\"'`]*\s*[:=|→]\s*)"
    r"([\"'`]?)([^\s\"'`|,}]{6,})"
)
# A secret access key has no form but its length: forty characters of base64 by themselves.
SECRET_KEY = re.compile(
    r"(?<![A-Za-z0-9/+=])(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*\d)[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])"
)
PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL)


def redacted(text: str) -> str:
    """`text` with every account id as <account> and every secret as <redacted>."""
    text = PRIVATE_KEY.sub("<redacted>", text)
    with transient_settings({"plugins_used": [{"name": name} for name in PLUGINS]}):
        lines = [_line(line) for line in text.split("\n")]
    return ACCOUNT.sub("<account>", "\n".join(lines))


def _line(line: str) -> str:
    for found in scan_line(line):
        if found.secret_value:
            line = line.replace(found.secret_value, "<redacted>")
    line = SECRET_KEY.sub("<redacted>", line)
    return NAMED_SECRET.sub(r"\1\2<redacted>", line)
