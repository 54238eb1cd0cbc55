"""The settings of a stage as a reference page and as a JSON schema for cdk.json, from the models of infra/settings."""

import json
from collections.abc import Iterator
from typing import Any

from infra.settings import StageSettings

# The bounds of JSON Schema as they are shown, in this order.
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "multipleOf": "multiple of {}"}


def reference() -> str:
    """Tables of all settings in Markdown: the stage's own, then a section for each part."""
    schema = StageSettings.model_json_schema()
    return "\n".join(_sections("", schema, schema["$defs"]))


def schema() -> dict[str, Any]:
    """A JSON schema of cdk.json, by which editors complete and check the stages; other settings are CDK's."""
    stage = StageSettings.model_json_schema()
    parts = stage.pop("$defs")
    # It is the key in `stages`.
    stage["properties"].pop("name")
    stage["required"].remove("name")
    stages = {"type": "object", "additionalProperties": {"$ref": "#/$defs/StageSettings"}}
    context = {"type": "object", "properties": {"stage": {"type": "string"}, "stages": stages}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cdk.json with the stages of Kennel",
        "type": "object",
        "properties": {"context": context},
        "$defs": {"StageSettings": stage, **parts},
    }


def _sections(path: str, model: dict[str, Any], parts: dict[str, Any]) -> Iterator[str]:
    """The table of a model, and those of the models in it."""
    if path:
        yield f"## `{path.removesuffix('.')}`\n"
        yield _sentence(model["description"]) + "\n"
    yield "| Setting | Value | Default | Description |\n|---|---|---|---|"
    inner: dict[str, dict[str, Any]] = {}
    for name, field in model["properties"].items():
        if path + name == "name":
            continue
        where, part = f"{path}{name}", _part(field, parts)
        if part:
            inner[where + ("[]." if "items" in field else ".")] = part
        described = field.get("description") or part["description"]
        default = f"`{json.dumps(field['default'])}`" if _has_default(field) else ""
        yield f"| `{where}` | {_values(field)} | {default} | {_sentence(described)} |"
    yield ""
    for where, part in inner.items():
        yield from _sections(where, part, parts)


def _part(field: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """The model of a field that is one, may be one, or is a list of some; empty for a plain value."""
    for form in (field, field.get("items", {}), *field.get("anyOf", [])):
        if "$ref" in form:
            return dict(parts[form["$ref"].rpartition("/")[2]])
    return {}


def _has_default(field: dict[str, Any]) -> bool:
    # The defaults of a part are those of its settings.
    return "default" in field and not isinstance(field["default"], dict)


def _values(field: dict[str, Any]) -> str:
    """The allowed values of a field, in words."""
    if "anyOf" in field:
        return " or ".join(_values(form) for form in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "$ref" in field:
        return "object"
    kinds = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "null": "null"}
    if field["type"] == "array":
        return "list of objects" if "$ref" in field["items"] else f"list of {_values(field['items'])}"
    bounds = [text.format(f"{field[name]:,.15g}") for name, text in BOUNDS.items() if name in field]
    return " ".join([kinds[field["type"]], ", ".join(bounds)]).strip()


def _sentence(text: str) -> str:
    """A description as a sentence, on one line."""
    text = " ".join(text.split()).replace("|", "\\|")
    return text[:1].upper() + text[1:].removesuffix(".") + "."
