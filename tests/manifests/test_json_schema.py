"""The JSON Schema in docs/ is for other people's tools: it must say what the code says."""

import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from magnetar.manifests.catalog import FOLDER
from magnetar.manifests.schema import Manifest

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs" / "manifest.schema.json").read_text())
WELL_FORMED = {"format": 1, "name": "x", "title": "X", "publisher": "us", "licence": "MIT"}


def plain(value: Any) -> Any:
    """TOML's dates are text in JSON."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool) else str(value)


def test_the_document_is_the_schema_that_the_code_runs_on() -> None:
    current = {key: value for key, value in DOCUMENT.items() if key not in ("$schema", "title")}
    assert current == {key: value for key, value in Manifest.model_json_schema().items() if key != "title"}
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_manifest_of_the_catalog_passes_it(path: Path) -> None:
    jsonschema.validate(plain(tomllib.loads(path.read_text())), DOCUMENT)


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "../x"},
        {"novelty": 1},
        {"files": [{"path": "a", "digests": ["sha256:00"]}]},
        {"files": [{"path": "a", "size": -1}]},
        {"infohash_v1": "xyz"},
    ],
    ids=str,
)
def test_what_the_code_refuses_it_refuses_too(odd: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(WELL_FORMED | odd, DOCUMENT)


def test_keys_of_others_pass_it() -> None:
    jsonschema.validate(WELL_FORMED | {"x-note": {"anything": [1]}}, DOCUMENT)
