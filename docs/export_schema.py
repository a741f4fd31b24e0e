"""Write docs/manifest.schema.json from the schema that the code runs on: ``.venv/bin/python docs/export_schema.py``."""

import json
from pathlib import Path
from typing import Any

from magnetar.manifests.schema import Manifest

DOCUMENT = Path(__file__).with_name("manifest.schema.json")


def json_schema() -> dict[str, Any]:
    """The manifest as JSON Schema (2020-12). Digests are text there, as they are in TOML."""
    schema = Manifest.model_json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Magnetar manifest, format 1"
    return schema


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(json.dumps(json_schema(), indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
