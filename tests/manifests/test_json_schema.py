"""The JSON Schema in docs/ is for other people's tools: it must say what the code says."""

import json
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import ManifestError
from magnetar.manifests.catalog import CATALOG_FOLDER
from magnetar.manifests.schema import Manifest, parse_manifest

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


EVERYTHING: dict[str, Any] = WELL_FORMED | {
    "published": date(2026, 1, 2),
    "summary": "small",
    "magnet": "magnet:?xt=urn:btih:" + "a" * 40,
    "infohash_v1": "a" * 40,
    "infohash_v2": "b" * 64,
    "info": "sha256:" + "c" * 64,
    "folder": "x-1",
    "layout": "mistral",
    "architecture": {"total_parameters": 10, "experts": 0, "dtype": "BF16"},
    "files": [
        {
            "path": "a/b",
            "size": 3,
            "digests": ["md5:" + "d" * 32, "bep52:" + "e" * 64],
            "mirrors": [{"url": "https://a.example/{part}", "parts": 2}, {"url": "http://b.example/x", "offset": 512}],
        },
        {"path": "c", "size": 2, "content": "{}", "digests": ["md5:99914b932bd37a50b983c5e7c90ae93b"]},
        {"path": "d", "size": 2, "content_base64": "AP8="},
    ],
    "mirrors": [{"url": "https://a.example/", "digests": ["sha1:" + "f" * 40]}],
    "tensors": {"path": "x.json", "digest": "blake3:" + "a" * 64},
    "smoke": {"text": "sha256:" + "c" * 64, "bits_per_byte": 1.5, "tolerance": 0.5},
    "sources": ["a page"],
    "unknown": ["much"],
    "x-note": {"anything": [1]},
}
ODD: tuple[Any, ...] = (
    "", "x", "..", "a" * 2001, -1, 0, 1, 1 << 62, (1 << 62) - 1, 0.5, 64.0, True, [], {}, ["x"], [1], date(1, 1, 1),
    "sha256:" + "0" * 64, "sha256:" + "A" * 64, "magnet:?", "ftp://x/", "http://x", "a b",
)  # fmt: skip


def accepted(document: dict[str, Any]) -> bool:
    """Whether the code takes a document, as it stands in a file."""
    try:
        parse_manifest(tomli_w.dumps(document).encode(), "x.toml")
    except ManifestError:
        return False
    return True


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and index inside a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield (*above, key)
        yield from places(inner, (*above, key))


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    document = deepcopy(EVERYTHING)
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    return document


@settings(max_examples=300)
@given(st.sampled_from(list(places(EVERYTHING))), st.sampled_from(ODD))
def test_whatever_the_code_takes_it_takes_too(place: tuple[Any, ...], value: Any) -> None:
    document = changed(place, value)
    if accepted(document):
        jsonschema.validate(plain(tomllib.loads(tomli_w.dumps(document))), DOCUMENT)


def test_a_manifest_that_says_everything_is_taken_by_both() -> None:
    assert accepted(EVERYTHING)
    jsonschema.validate(plain(tomllib.loads(tomli_w.dumps(EVERYTHING))), DOCUMENT)
    assert set(Manifest.model_fields) <= set(EVERYTHING)


def test_the_document_is_the_schema_that_the_code_runs_on() -> None:
    current = {key: value for key, value in DOCUMENT.items() if key not in ("$schema", "title")}
    assert current == {key: value for key, value in Manifest.model_json_schema().items() if key != "title"}
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)


@pytest.mark.parametrize("path", sorted(CATALOG_FOLDER.glob("*.toml")), ids=lambda path: path.stem)
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
    assert not accepted(WELL_FORMED | odd)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(WELL_FORMED | odd, DOCUMENT)


def test_keys_of_others_pass_it() -> None:
    jsonschema.validate(WELL_FORMED | {"x-note": {"anything": [1]}}, DOCUMENT)
