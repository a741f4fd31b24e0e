"""Bills of materials: valid by CycloneDX's published schema, and with all that the manifest says."""

import json
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import UsageError
from magnetar.manifests.catalog import bundled_releases, find_release
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.outward.bill_of_materials import to_cyclonedx
from magnetar.manifests.schema import Manifest, Mirror, ReleaseFile

VALIDATOR = JsonStrictValidator(SchemaVersion.V1_6)


def written(manifest: Manifest) -> dict[str, Any]:
    text = to_cyclonedx(manifest)
    error = VALIDATOR.validate_str(text)
    assert error is None, error
    document: dict[str, Any] = json.loads(text)
    return document


def manifest(**facts: Any) -> Manifest:
    words: dict[str, Any] = {"format": 1, "name": "tiny", "title": "Tiny", "publisher": "My Lab", "licence": "MIT"}
    return Manifest(**words | facts)


def properties(component: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for entry in component.get("properties", ()):
        found.setdefault(entry["name"], []).append(entry["value"])
    return found


def test_the_schema_is_the_published_one_and_refuses_what_is_none() -> None:
    good = json.loads(to_cyclonedx(manifest()))
    for spoiled in (
        {**good, "more": 1},
        {**good, "bomFormat": "x"},
        {**good, "metadata": {"component": {"type": "odd", "name": "x"}}},
        {**good, "metadata": {"component": {**good["metadata"]["component"], "modelCard": {"odd": 1}}}},
    ):
        assert VALIDATOR.validate_str(json.dumps(spoiled)) is not None


@pytest.mark.parametrize("name", sorted(bundled_releases()))
def test_every_release_of_the_catalog_has_a_valid_bill(name: str) -> None:
    known = find_release(name)
    document = written(known)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    model = document["metadata"]["component"]
    assert (model["type"], model["name"], model["publisher"]) == ("machine-learning-model", name, known.publisher)
    assert model["licenses"] == [{"license": {"id": "Apache-2.0", "acknowledgement": "declared"}}]
    assert {entry["name"] for entry in model.get("components", ())} == {file.path for file in known.files or ()}
    assert sorted(properties(model).get("magnetar:unknown", [])) == sorted(known.unknown)


def test_every_digest_of_a_file_is_there() -> None:
    hexes = {"md5": "1" * 32, "sha1": "2" * 40, "sha256": "3" * 64, "blake3": "4" * 64, "bep52": "5" * 64}
    digests = tuple(Digest(algorithm, text) for algorithm, text in hexes.items())
    document = written(manifest(files=(ReleaseFile(path="sub/weights", size=7, digests=digests),)))
    (file,) = document["metadata"]["component"]["components"]
    assert (file["type"], file["name"]) == ("file", "sub/weights")
    assert {entry["alg"]: entry["content"] for entry in file["hashes"]} == {
        "MD5": "1" * 32, "SHA-1": "2" * 40, "SHA-256": "3" * 64, "BLAKE3": "4" * 64,
    }  # fmt: skip
    assert properties(file) == {"magnetar:size": ["7"], "magnetar:bep52": ["5" * 64]}


def test_what_is_not_known_is_left_out_and_not_guessed() -> None:
    document = written(manifest(publisher="unknown", licence="unknown"))
    model = document["metadata"]["component"]
    assert model.keys() == {"type", "name", "bom-ref", "purl", "description", "properties"}
    assert document["compositions"][0]["aggregate"] == "unknown"
    assert written(manifest(files=()))["compositions"][0]["aggregate"] == "complete"


def test_what_is_known_of_the_model_is_in_its_card() -> None:
    card = written(find_release("austen-moe"))["metadata"]["component"]["modelCard"]
    assert properties(card)["magnetar:experts"] == ["8"]
    (metric,) = card["quantitativeAnalysis"]["performanceMetrics"]
    assert metric["type"] == "bits per byte"
    assert "sha256:" in metric["slice"]


@pytest.mark.parametrize(
    ("licence", "kind"),
    [("MIT", "id"), ("Apache-2.0 OR MIT", "expression"), ("Llama 3.1 Community License", "name"), ("(", "name")],
)
def test_a_licence_is_an_identifier_an_expression_or_a_name(licence: str, kind: str) -> None:
    (found,) = written(manifest(licence=licence))["metadata"]["component"]["licenses"]
    assert found.get("license", found)[kind] == licence


def test_the_link_and_the_mirrors_say_where_it_is() -> None:
    mirrors = (Mirror(url="https://example.org/a b".replace(" ", "{x}")),)
    document = written(manifest(magnet="magnet:?xt=urn:btih:1234&dn=a b", mirrors=mirrors))
    urls = [entry["url"] for entry in document["metadata"]["component"]["externalReferences"]]
    assert sorted(urls) == ["https://example.org/a%7Bx%7Db", "magnet:?xt=urn:btih:1234&dn=a%20b"]


@pytest.mark.parametrize(
    ("link", "uri"),
    [
        ("magnet:?dn=a%2fb&tr=udp%3A%2F%2Ft", "magnet:?dn=a%2Fb&tr=udp%3A%2F%2Ft"),
        ("magnet:?dn=100%", "magnet:?dn=100%25"),
        ("magnet:?a#b#c", "magnet:?a#b%23c"),
        ("magnet:?dn=<\x01\u00e9>", "magnet:?dn=%3C%01%C3%A9%3E"),
        ("magnet:?x.1=[y]", "magnet:?x.1=%5By%5D"),
    ],
)
def test_a_link_is_written_as_a_uri(link: str, uri: str) -> None:
    (found,) = written(manifest(magnet=link))["metadata"]["component"]["externalReferences"]
    assert found["url"] == uri


def test_the_same_manifest_gives_the_same_bytes_and_another_another_number() -> None:
    first, again, other = (to_cyclonedx(manifest(title=title)) for title in ("One", "One", "Two"))
    assert first == again
    numbers = {json.loads(text)["serialNumber"] for text in (first, other)}
    assert len(numbers) == 2
    assert "timestamp" not in json.loads(first)["metadata"]


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyclonedx", None)
    with pytest.raises(UsageError, match="needs it") as caught:
        to_cyclonedx(manifest())
    assert "magnetar[bom]" in caught.value.hint


lines = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
paths = st.lists(
    st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\\/:"), min_size=1, max_size=20),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(lines, lines, lines, st.lists(lines, max_size=2), lines, paths)
def test_whatever_a_manifest_says_the_bill_is_valid(
    title: str, publisher: str, licence: str, unknown: list[str], link: str, parts: list[str]
) -> None:
    try:
        files = (ReleaseFile(path="/".join(parts), digests=(Digest("sha256", "0" * 64),)),)
        made = manifest(
            title=title,
            publisher=publisher,
            licence=licence,
            unknown=tuple(unknown),
            magnet=f"magnet:?{link}",
            files=files,
        )
    except ValueError:  # it is no manifest
        return
    assert written(made)["metadata"]["component"]["components"][0]["name"] == files[0].path
