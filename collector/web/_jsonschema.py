"""
Prints the JSON Schema of every message that the dashboard reads: `python -m collector.web._jsonschema`. Pure.
"""

import inspect
import json
import sys
from typing import Any, Final

import msgspec

from collector.web._schema import CoverageData, DataHealthData, ErrorAnswer, LiveMessage, SeriesData

_DOCUMENTS: Final = (SeriesData, CoverageData, DataHealthData, ErrorAnswer)


def json_schema() -> dict[str, object]:
    """The JSON Schema of every message, as one document whose `$defs` are all of the definitions."""
    (union, *answers), definitions = msgspec.json.schema_components([LiveMessage, *_DOCUMENTS])
    live_message = {"title": "LiveMessage", "description": "Whatever the live stream sends.", **union}
    tidy: dict[str, object] = {name: _tidy(definition) for name, definition in definitions.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Dashboard",
        "description": "Everything that the dashboard reads. Printed by python -m collector.web._jsonschema.",
        "anyOf": [{"$ref": "#/$defs/LiveMessage"}, *answers],
        "$defs": {"LiveMessage": live_message, **tidy},
    }


def schema_text() -> str:
    """The JSON Schema as it is committed: always the same for the same definitions."""
    return json.dumps(json_schema(), indent=2, sort_keys=True) + "\n"


def _tidy(definition: dict[str, Any]) -> dict[str, Any]:
    """
    A definition with its description unindented, and its `type` as the constant that it is.

    Every field is required, those with a default too: a message always has all of them.
    """
    tidied = dict(definition)
    if "properties" in tidied:
        tidied["required"] = sorted(tidied["properties"])
    if "description" in tidied:
        tidied["description"] = inspect.cleandoc(tidied["description"])
    tag = tidied.get("properties", {}).get("type", {})
    if len(tag.get("enum", ())) == 1:
        tidied["properties"] = {**tidied["properties"], "type": {"const": tag["enum"][0]}}
    return tidied


if __name__ == "__main__":
    sys.stdout.write(schema_text())
