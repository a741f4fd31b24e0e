import json
from pathlib import Path

import pytest

from magnetar.errors import ManifestError, WrongBytesError
from magnetar.manifests.catalog import catalog, find_release, side_files_folder
from magnetar.manifests.user_catalog import (
    CATALOG_VARIABLE,
    PINS,
    SignerPin,
    SignerPins,
    broken_entries,
    fold,
    read_pins,
    user_releases,
    write_pins,
)

LAB = SignerPin("My Lab", "key sha256:aa", "https://lab.example/m.toml")
OTHER = SignerPin("Others", "key sha256:bb", "/tmp/o.toml")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CATALOG_VARIABLE, str(tmp_path))
    return tmp_path


def entry(name: str) -> str:
    return f'format = 1\nname = "{name}"\ntitle = "T"\npublisher = "My Lab"\nlicence = "MIT"\n'


def test_an_entry_is_a_release_of_the_catalog(folder: Path) -> None:
    (folder / "mine.toml").write_text(entry("mine"))
    assert find_release("mine").publisher == "My Lab"
    assert side_files_folder("mine") == folder
    assert list(catalog())[-1] == "mine"


def test_an_entry_never_takes_the_place_of_a_bundled_release(folder: Path) -> None:
    (folder / "grok-1.toml").write_text(entry("grok-1"))
    assert "grok-1" in user_releases()
    assert find_release("grok-1").publisher == "xAI"
    assert side_files_folder("grok-1") != folder


def test_a_broken_entry_is_left_out_and_named(folder: Path) -> None:
    (folder / "good.toml").write_text(entry("good"))
    (folder / "broken.toml").write_text("format = ")
    (folder / "renamed.toml").write_text(entry("another"))
    assert list(user_releases()) == ["good"]
    first, second = broken_entries()
    assert "broken.toml" in first
    assert "renamed.toml" in second
    assert "another" in second


def test_a_replaced_entry_is_read_again(folder: Path) -> None:
    (folder / "mine.toml").write_text(entry("mine"))
    assert find_release("mine").title == "T"
    (folder / "new").write_text(entry("mine").replace('"T"', '"New"'))
    (folder / "new").replace(folder / "mine.toml")
    assert find_release("mine").title == "New"


def test_pins_come_back_as_they_were_written() -> None:
    assert read_pins() == SignerPins()
    pins = SignerPins().with_pin("mine", LAB).with_pin("theirs", OTHER)
    write_pins(pins)
    assert read_pins() == pins


def test_the_signer_of_a_publisher_signs_all_its_releases_however_its_name_is_spelled() -> None:
    pins = SignerPins().with_pin("mine", LAB)
    assert pins.signer_of("mine", "whoever") == LAB.signer
    assert pins.signer_of("another", "  my\tLAB ") == LAB.signer
    assert pins.signer_of("another", "\uff2dy Lab") == LAB.signer  # a full-width M
    assert pins.signer_of("another", "My Laboratory") == ""


def test_a_release_of_one_publisher_is_not_replaced_by_another_publisher() -> None:
    pins = SignerPins().with_pin("mine", LAB).with_pin("theirs", OTHER)
    with pytest.raises(WrongBytesError, match="mine"):
        pins.signer_of("mine", OTHER.publisher)


def test_a_publisher_is_forgotten_with_its_last_release() -> None:
    pins = SignerPins().with_pin("one", LAB).with_pin("two", LAB)
    assert pins.without("one") == SignerPins().with_pin("two", LAB)
    assert pins.without("one").signer_of("three", LAB.publisher) == LAB.signer
    assert pins.without("one").without("two") == SignerPins()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"format": 2}', b'{"format": 1, "releases": [], "publishers": {}}'],
)
def test_pins_that_are_not_understood_are_an_error_and_not_an_empty_list(folder: Path, content: bytes) -> None:
    (folder / PINS).write_bytes(content)
    with pytest.raises(ManifestError) as caught:
        read_pins()
    assert caught.value.path == folder / PINS


def test_a_pin_without_its_source_or_with_a_number_for_a_signer_is_an_error(folder: Path) -> None:
    for pin in ({"publisher": "x", "signer": "y"}, {"publisher": "x", "signer": 1, "source": "z"}):
        (folder / PINS).write_text(json.dumps({"format": 1, "releases": {"a": pin}, "publishers": {}}))
        with pytest.raises(ManifestError):
            read_pins()


def test_folding_a_name_twice_changes_nothing_more() -> None:
    assert fold(fold("  STRASSE  Lab")) == fold("straße lab")
