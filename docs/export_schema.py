"""Write the JSON schemas from the shapes that the code runs on: ``.venv/bin/python docs/export_schema.py``.

``docs/manifest.schema.json`` is for manifests, ``docs/json/COMMAND.schema.json`` for what ``--json`` prints, and
``docs/json/progress.schema.json`` for a line of ``--progress json``.
"""

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from magnetar.manifests.schema import Manifest
from magnetar.render.json_shapes import documents, progress

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MANIFEST = Path(__file__).with_name("manifest.schema.json")
COMMANDS = Path(__file__).with_name("json")


def json_schema() -> dict[str, Any]:
    """The manifest as JSON Schema (2020-12). Digests are text there, as they are in TOML."""
    return {**Manifest.model_json_schema(), "$schema": DIALECT, "title": "Magnetar manifest, format 1"}


def command_schema(command: str) -> dict[str, Any]:
    """What ``magnetar COMMAND --json`` prints: an object with a result, or with an error."""
    shapes = documents.Answered | documents.Failed
    schema = TypeAdapter[Any](shapes).json_schema(mode="serialization")
    result = TypeAdapter[Any](documents.result_shape(command)).json_schema(mode="serialization")
    schema["$defs"] |= result.pop("$defs", {})
    answered = schema["$defs"]["Answered"]["properties"]
    answered["command"] = {"const": command}
    answered["result"] = result
    return _titled(schema, f"magnetar {command} --json, format {documents.FORMAT}")


def progress_schema() -> dict[str, Any]:
    """A line of ``--progress json``: one of the events."""
    return _titled(
        TypeAdapter[Any](progress.Line).json_schema(mode="serialization"),
        f"magnetar --progress json, format {documents.FORMAT}",
    )


def file_name(command: str) -> str:
    """``manifest show`` is in ``manifest-show.schema.json``."""
    return f"{command.replace(' ', '-')}.schema.json"


def all_schemas() -> dict[Path, str]:
    """Every document by its path."""
    schemas = {COMMANDS / file_name(command): command_schema(command) for command in documents.COMMANDS}
    schemas |= {COMMANDS / file_name("progress"): progress_schema(), MANIFEST: json_schema()}
    return {path: json.dumps(schema, indent=1, sort_keys=path == MANIFEST) + "\n" for path, schema in schemas.items()}


def _titled(schema: dict[str, Any], title: str) -> dict[str, Any]:
    """The schema under its title, without pydantic's: they repeat the name of the field, or of a class."""
    return {"$schema": DIALECT, "title": title, **_untitled(schema)}


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title" or not isinstance(value, str)}
    return {key: _untitled(value) for key, value in kept.items()}


def main() -> None:
    """Write the documents."""
    COMMANDS.mkdir(exist_ok=True)
    for path, text in all_schemas().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
