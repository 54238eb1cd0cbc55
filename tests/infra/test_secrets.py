"""Nothing secret is in a template: not in environments, not in user data, not in a lifecycle script."""

import json

import pytest

from helpers.invariants import Templates
from helpers.secret_search import secrets

PLANTED = (
    "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
    "-----BEGIN RSA PRIVATE KEY-----",
    "password = 'correct-horse-battery'",
    "https://user:correct-horse@example.com/",
)


def texts(templates: Templates) -> str:
    """All that the templates say, what is base64 in them as what it is."""
    said = json.dumps(templates, indent=1)
    for template in templates.values():
        for resource in template["Resources"].values():
            said += _decoded(resource)
    return said


def _decoded(node: object) -> str:
    """The text below every Fn::Base64."""
    if isinstance(node, dict):
        inner = node.get("Fn::Base64", "")
        return (json.dumps(inner).replace("\\n", "\n") if inner else "") + "".join(map(_decoded, node.values()))
    return "".join(map(_decoded, node)) if isinstance(node, list) else ""


def test_templates_contain_no_secrets(templates: Templates) -> None:
    text = texts(templates)
    assert "kennel: " in text, "the user data was not searched"
    assert secrets(text) == []


@pytest.mark.parametrize("planted", PLANTED)
def test_secret_in_user_data_is_detected(planted: str, matrix: dict[str, Templates]) -> None:
    templates = json.loads(json.dumps(matrix["dev"]))
    script = {"Fn::Base64": f"#!/bin/bash\n{planted}\n"}
    templates["Training"]["Resources"]["Planted"] = {"Type": "X", "Properties": {"UserData": script}}
    assert secrets(texts(templates)) != []
