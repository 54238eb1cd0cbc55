"""Redaction of account ids and secrets in comments that anybody can read."""

import re
from collections.abc import Container
from typing import Any

from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

REDACTED = "<redacted>"
# Plugins for what is a secret by its form. Those that guess by entropy see one in every hash.
PLUGINS = (
    "AWSKeyDetector",
    "AzureStorageKeyDetector",
    "BasicAuthDetector",
    "GitLabTokenDetector",
    "JwtTokenDetector",
    "NpmDetector",
    "OpenAIDetector",
    "PypiTokenDetector",
    "SendGridDetector",
    "SlackDetector",
    "StripeDetector",
    "TwilioKeyDetector",
)
# Anywhere in a longer text, and with hyphens as the console shows them.
ACCOUNT = re.compile(r"(?<!\d)(?:\d{12}|\d{4}-\d{4}-\d{4})(?!\d)")
# Whose ids are in templates and are AWS's own.
AWS_ACCOUNTS = {"763104351884": "containers"}
# A name of what nobody else is to know; secretsmanager:… is an action.
SECRET_NAME = re.compile(
    r"(?i)pass(?:word|wd|phrase)?(?![a-z])|pwd|secret(?!smanager)|token|api[_-]?key|private[_-]?key|access[_-]?key"
    r"|credential|authorization|(?<![a-z])auth(?![a-z])|conn(?:ection)?[_-]?str"
)
# In a text of several: NAME=value and NAME: value, as connection strings have them.
NAMED_SECRET = re.compile(
    r"(?i)((?:password|passwd|pwd|secret(?!smanager)|token|api[_-]?key|private[_-]?key|sig)[\w-]*[\"'`]*\s*[:=]\s*)"
    r"(?!<redacted>)(\"[^\"]+\"|[^;&|`\"]{4,})"
)
# To where a secret is, by CloudFormation.
REFERENCE = re.compile(r"\{\{resolve:[\w:/.@-]+\}\}")
FORMS = re.compile(
    "|".join(
        (
            # A secret access key has no form but its length: forty characters of base64 by themselves.
            r"(?<![A-Za-z0-9/+=])(?=[a-z0-9/+]*[A-Z])(?=[A-Z0-9/+]*[a-z])(?=[A-Za-z/+]*\d)"
            r"[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+=])",
            r"gh[pousr]_[A-Za-z0-9]{20,}",
            r"github_pat_\w{20,}",
            r"AIza[\w-]{30,}",
            r"(?<=[Bb]earer )[\w.~+/=-]{8,}",
            # To the end of the line: what is after it on others is not the key's.
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^`|\n]*",
        )
    )
)


def without_secrets(name: str, value: Any) -> Any:
    """A value of a template without what stands under the name of a secret, however deep."""
    if isinstance(value, dict):
        # {"Name": "DB_PASSWORD", "Value": "…"}, as containers have it.
        named = next((str(value[key]) for key in ("Name", "Key", "ParameterKey") if key in value), "")
        return {
            key: REDACTED
            if isinstance(item, str) and key in ("Value", "ParameterValue") and SECRET_NAME.search(named)
            else without_secrets(str(key), item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(name, item) for item in value]
    secret = isinstance(value, str) and not REFERENCE.fullmatch(value)
    return REDACTED if secret and SECRET_NAME.search(name.rpartition(".")[2]) else value


def without_named(text: str) -> str:
    """A value without what stands in it as NAME=value, where the name is that of a secret."""
    return text if REFERENCE.fullmatch(text) else NAMED_SECRET.sub(rf"\1{REDACTED}", text)


def redacted(text: str, known: Container[str] = (), own: Container[str] | None = None) -> str:
    """`text` with every account id as <account> and every secret as <redacted>, but names that are `known`.

    Where `own` has the accounts that are the reader's, the id of another one is told by its last digits.
    """
    with transient_settings({"plugins_used": [{"name": name} for name in PLUGINS]}):
        lines = [_line(line, known) for line in text.split("\n")]
    return ACCOUNT.sub(lambda match: _account(match[0], own), "\n".join(lines))


def accounts(text: str) -> set[str]:
    """The account ids in a text."""
    return {found.replace("-", "") for found in ACCOUNT.findall(text)}


def _account(written: str, own: Container[str] | None) -> str:
    account = written.replace("-", "")
    if account in AWS_ACCOUNTS:
        return f"<AWS's {AWS_ACCOUNTS[account]}>"
    return "<account>" if own is None or account in own else f"<another account, …{account[-4:]}>"


def _line(line: str, known: Container[str]) -> str:
    for found in scan_line(line):
        if found.secret_value:
            line = line.replace(found.secret_value, REDACTED)
    return FORMS.sub(lambda match: match[0] if match[0] in known else REDACTED, line)
