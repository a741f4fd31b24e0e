"""Hostile text in every place that foreign text comes from: no command shows a character or a line that it forged."""

import io
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import libtorrent as lt
import pytest
import tomli_w
import torch
from safetensors.torch import save_file

from magnetar.characters import HIDDEN
from magnetar.cli.app import main
from magnetar.errors import ExitCode
from magnetar.events import (
    Adopted,
    Began,
    Event,
    FileSeen,
    FoundWrong,
    LinkHealed,
    MirrorDropped,
    ProgressStyle,
    Remarked,
    SignerFound,
    Skipped,
    Step,
    TrackerAnswered,
)
from magnetar.findings import Finding
from magnetar.model.bundled import bundled_release
from magnetar.render.progress import watch
from magnetar.render.screen import Screen
from tests.convert.forge import MOE, random_tensors
from tests.convert.forge import write_release as write_weights
from tests.magnetar.conftest import Outcome, Run

FORGED = "good: the release  forged"
HOSTILE = (
    f"a\n{FORGED}\r{FORGED}\x0b{FORGED}\x85{FORGED}\u2028{FORGED}\u2029{FORGED}\x1b[2J\x1b]0;title\x07\x9b31m\x90\b\x7f"
    "\u202e\u2066\u200b\u200d\u2060\ufeff\u00ad\u3164\ufe0f\U000e0041[bold]b[/bold] [link=file:///etc]l[/link] :smile:"
)
NAME = f"a\n{FORGED}\r{FORGED}\x85{FORGED}\u2028\x1b[2J\x9b31m\u202e\u200b\ufeff\u3164[bold]"
"""As the name of a file: at most 255 bytes, and no slash."""

SEPARATORS = re.compile("[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
OUR_STYLES = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r")


def assert_clean(text: str) -> None:
    """No hidden character but our line breaks, and no line that foreign text began."""
    assert [line for line in SEPARATORS.split(text) if line.strip().startswith("good: the release  forged")] == []
    assert {character for character in text if HIDDEN.match(character)} <= {"\n"}
    assert "smile" not in text or ":smile:" in text
    assert "bold" not in text or "[bold]" in text


@pytest.fixture
def shown(magnetar: Run) -> Run:
    """As ``magnetar``, with a look at what was printed, as text and as JSON. Returns what was printed as text."""

    def run(*words: object) -> Outcome:
        as_json = magnetar(*words, "--json")
        assert as_json.code != 1, as_json.err
        assert as_json.out.isascii()
        assert_clean(as_json.out)
        assert_clean(as_json.err)
        for line in as_json.out.splitlines():
            json.loads(line)
        outcome = magnetar(*words)
        assert outcome.code != 1, outcome.err
        assert_clean(outcome.out)
        assert_clean(outcome.err)
        return outcome

    return run


@pytest.fixture(autouse=True)
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this test's own part of the catalog is."""
    monkeypatch.setenv("MAGNETAR_CATALOG", str(tmp_path / "catalog"))
    return tmp_path / "catalog"


SHA256 = "sha256:" + "0" * 64
DOCUMENT: dict[str, Any] = {
    "format": 1,
    "name": "tiny",
    "title": "Tiny",
    "publisher": "us",
    "licence": "MIT",
    "summary": "small",
    "magnet": "magnet:?xt=urn:btih:" + "a" * 40,
    "infohash_v1": "a" * 40,
    "infohash_v2": "b" * 64,
    "info": SHA256,
    "folder": "tiny",
    "layout": "mistral",
    "sources": ["a page"],
    "unknown": ["the rest"],
    "architecture": {"dtype": "BF16", "layers": 2},
    "smoke": {"text": SHA256, "bits_per_byte": 1.5},
    "tensors": {"path": "tiny.tensors.json", "digest": SHA256},
    "mirrors": [{"url": "https://a.example/", "digests": [SHA256]}],
    "files": [
        {"path": "params.json", "size": 185, "digests": [SHA256], "mirrors": [{"url": "https://a.example/x"}]},
        {"path": "RELEASE", "digests": [SHA256]},
    ],
}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the texts in a document are, and ``(..., None)`` for a new key in each of its tables."""
    if isinstance(value, dict):
        yield (*place, None)
        for key, inner in value.items():
            yield from places(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from places(inner, (*place, number))
    elif isinstance(value, str):
        yield place


def spoil(value: Any, place: tuple[Any, ...], text: str) -> Any:
    """A copy of a document with ``text`` at one place: added to what is there, or as a key."""
    if not place:
        return value + text
    here, *below = place
    copy = value.copy()
    if here is None:
        copy[text] = text
    else:
        copy[here] = spoil(value[here], tuple(below), text)
    return copy


def name_of(place: tuple[Any, ...]) -> str:
    return ".".join(map(str, place))


@pytest.mark.parametrize("place", list(places(DOCUMENT)), ids=name_of)
def test_in_any_field_of_a_manifest(
    place: tuple[Any, ...], shown: Run, tmp_path: Path, mine: Path, release: Path
) -> None:
    path = tmp_path / "tiny.toml"
    path.write_text(tomli_w.dumps(spoil(DOCUMENT, place, HOSTILE)))
    for words in (("show", path), ("check", path), ("export", path, "--format", "sha256")):
        shown("manifest", *words)
    shown("verify", release, "-m", path)
    mine.mkdir()
    shutil.copy(path, mine)
    entry = {"publisher": HOSTILE, "signer": HOSTILE, "source": HOSTILE}
    pins = {"format": 1, "releases": {"tiny": entry}, "publishers": {HOSTILE: HOSTILE}}
    (mine / "pins.json").write_text(json.dumps(pins))
    shown("catalog", "list")
    shown("catalog", "show", "tiny")
    shown("inspect", "tiny")


def test_a_manifest_is_written_with_escapes_that_read_back(magnetar: Run, tmp_path: Path) -> None:
    folder = write_weights(tmp_path / "r", MOE)
    words = ("manifest", "create", folder, "--name", "tiny", "--title", HOSTILE)
    piped = magnetar(*words)
    assert piped.code == 0, piped.err
    assert_clean(piped.out)
    assert tomllib.loads(piped.out)["title"] == HOSTILE


FOLDER_COMMANDS = [
    ("verify", "{}", "--strict", "-m", "austen-moe"),
    ("verify", "{}"),
    ("inspect", "{}", "--tensors"),
    ("same", "{}", "{}"),
    ("convert", "{}", "{}-out", "--dry-run"),
    ("boot", "{}", "--level", "structure"),
    ("manifest", "create", "{}", "--name", "tiny"),
    ("manifest", "import", "{}"),
    ("manifest", "tensors", "{}", "-o", "{}.json"),
    ("publish", "{}", "--no-tensors"),
    ("repair", "{}", "--loopback", "--metadata-timeout", "1", "--stall-timeout", "1"),
    ("seed", "{}", "--loopback", "--for", "0s"),
]


@pytest.mark.parametrize("words", FOLDER_COMMANDS, ids=lambda words: " ".join(words))
def test_in_the_names_of_a_folder_and_of_its_files(words: tuple[str, ...], shown: Run, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    shutil.copytree(bundled_release(), folder)
    (folder / NAME).write_bytes(b"x")
    (folder / f"{NAME}.safetensors").write_bytes(b"x")
    (folder / "sub").mkdir()
    (folder / "sub" / NAME).symlink_to(NAME)
    shown(*(word.format(folder) for word in words))


@pytest.mark.parametrize("words", FOLDER_COMMANDS, ids=lambda words: " ".join(words))
def test_in_the_names_of_tensors_and_in_the_configuration(words: tuple[str, ...], shown: Run, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    tensors = random_tensors(MOE, "hf")
    save_file({**tensors, HOSTILE: torch.zeros(2)}, folder / "model.safetensors", metadata={"format": HOSTILE})
    config = {"model_type": HOSTILE, "architectures": [HOSTILE], HOSTILE: HOSTILE, "torch_dtype": HOSTILE}
    (folder / "config.json").write_text(json.dumps(config))
    shown(*(word.format(folder) for word in words))


@pytest.mark.parametrize("words", FOLDER_COMMANDS, ids=lambda words: " ".join(words))
def test_in_every_note_of_the_hidden_folder(words: tuple[str, ...], shown: Run, release: Path) -> None:
    state = release / ".magnetar"
    state.mkdir()
    sha = {"size": 1, "sha256": HOSTILE}
    journal = {"format": 1, "plan": HOSTILE, "release": HOSTILE, "target": HOSTILE, "compared": True, "done": True}
    origin = {"name": HOSTILE, "infohash_v1": HOSTILE, "infohash_v2": HOSTILE, "complete": True}
    (state / "origin.json").write_text(json.dumps(origin))
    (state / "release.torrent").write_bytes(torrent_of(NAME, "weights"))
    shown(*(word.format(release) for word in words))
    (state / "conversion.json").write_text(json.dumps({**journal, "files": {HOSTILE: sha}, "begun": {HOSTILE: sha}}))
    shown(*(word.format(release) for word in words))


def torrent_of(name: str, path: str, tracker: str = "") -> bytes:
    files = [{b"length": 5, b"path": [path.encode()]}]
    info = {b"files": files, b"name": name.encode(), b"piece length": 16384, b"pieces": b"\0" * 20}
    whole = {b"info": info, b"announce": tracker.encode(), b"comment": HOSTILE.encode(), b"url-list": tracker.encode()}
    return bytes(lt.bencode(whole))


@pytest.mark.parametrize("texts", [(NAME, "w", ""), ("r", NAME, ""), ("r", "w", f"udp://a.example/{HOSTILE}")])
def test_in_a_torrent(texts: tuple[str, str, str], shown: Run, tmp_path: Path, release: Path) -> None:
    path = tmp_path / f"{NAME[:20]}.torrent"
    path.write_bytes(torrent_of(*texts))
    shown("inspect", path)
    shown("repair", release, "--torrent", path, "--loopback", "--stall-timeout", "1")
    shown("fetch", path, "--dry-run", "--loopback", "--stall-timeout", "1", "-d", tmp_path / "d")


@pytest.mark.parametrize("key", ["dn", "tr", "ws", "x.pe", "xs", "so", "xt", HOSTILE])
def test_in_a_magnet_link(key: str, shown: Run) -> None:
    link = "magnet:?xt=urn:btih:" + "a" * 40
    assert shown("inspect", f"{link}&{key}={quote(HOSTILE, safe='')}").code in (0, 3)
    shown("inspect", f"{link}&{key}={HOSTILE}")


COMMANDS: list[tuple[str, ...]] = [
    *[
        (word, HOSTILE)
        for word in ("get", "fetch", "verify", "repair", "convert", "boot", "inspect", "seed", "publish")
    ],
    *[("same", HOSTILE, HOSTILE), ("convert", HOSTILE, "out"), ("catalog", HOSTILE), (HOSTILE,)],
    *[("catalog", word, HOSTILE) for word in ("show", "add", "remove")],
    *[("manifest", word, HOSTILE) for word in ("show", "check", "create", "pin", "import", "tensors", "export")],
    *[(word, "x", f"--{HOSTILE}") for word in ("get", "verify", "boot")],
    ("verify", "{}", "-m", HOSTILE),
    ("verify", "{}", "--public-key", HOSTILE),
    ("convert", "{}", "{}-out", "--to", HOSTILE),
    ("fetch", "magnet:?xt=urn:btih:" + "a" * 40, "--mirror", HOSTILE),
    ("fetch", "magnet:?xt=urn:btih:" + "a" * 40, "--proxy", HOSTILE),
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: ascii(" ".join(words).replace(HOSTILE, "X")))
def test_in_the_words_of_the_command_line(words: tuple[str, ...], shown: Run, release: Path) -> None:
    assert shown(*(word.replace("{}", str(release)) for word in words)).code in (2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(
    "tables",
    [{HOSTILE: {"dir": "x"}}, {"get": {HOSTILE: "x"}}, {"get": {"dir": HOSTILE}}, {"fetch": {"upload-limit": HOSTILE}}],
)
def test_in_the_configuration_of_the_user(tables: dict[str, Any], shown: Run, configuration: Path) -> None:
    configuration.write_text(tomli_w.dumps(tables))
    shown("get", "no-such-release")
    configuration.write_text(HOSTILE)
    shown("get", "no-such-release")


def test_in_lists_of_digests(shown: Run, tmp_path: Path, release: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    for text in (HOSTILE, f"{'0' * 64}  {HOSTILE}\n", f"{'0' * 64}  {NAME}\n", f"SHA256 ({NAME}) = {'0' * 64}\n"):
        path.write_text(text)
        shown("verify", release, "-m", path)
        shown("manifest", "import", path)


FACTS: list[Event] = [
    TrackerAnswered(HOSTILE, 0, HOSTILE),
    FoundWrong(Finding(HOSTILE, HOSTILE, HOSTILE, HOSTILE)),
    LinkHealed(HOSTILE),
    Adopted(HOSTILE, HOSTILE),
    MirrorDropped(HOSTILE, HOSTILE, HOSTILE),
    SignerFound(HOSTILE, HOSTILE),
    Skipped(HOSTILE, HOSTILE, HOSTILE),
    Remarked(HOSTILE),
]


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Put a terminal in the place of both streams. Not a fixture: pytest replaces the streams after these are made."""
    stream = Terminal()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, stream)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    return stream


def assert_clean_on_a_terminal(text: str) -> None:
    bare = OUR_STYLES.sub("", text)
    assert {character for character in bare if HIDDEN.match(character)} <= {"\n"}
    assert [line for line in bare.split("\n") if line.startswith("good: the release  forged")] == []


def screen() -> Screen:
    return Screen(
        "inspect",
        as_json=False,
        quiet=False,
        progress=ProgressStyle.AUTO,
        exit_code_of=lambda _result: ExitCode.GOOD,
    )


@pytest.mark.parametrize("style", [ProgressStyle.AUTO, ProgressStyle.PLAIN, ProgressStyle.JSON])
def test_in_what_is_told_while_a_command_works(style: ProgressStyle, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = open_terminal(monkeypatch)
    with watch(screen().err, style) as emit:
        emit(Began(Step.DOWNLOAD, 10))
        for fact in FACTS:
            emit(fact)
        emit(FileSeen(HOSTILE, 1, 10))
        emit(FileSeen(HOSTILE, 10, 10))
    shown = terminal.getvalue()
    assert_clean_on_a_terminal(shown)
    assert "a\\n" in shown


@pytest.mark.parametrize("filler", range(60, 84))
def test_on_a_terminal_no_folded_line_begins_with_foreign_text(
    filler: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: Path
) -> None:
    terminal = open_terminal(monkeypatch)
    folding = "x" * filler + f" {FORGED}"
    path = tmp_path / "tiny.toml"
    document = {**DOCUMENT, "title": folding, "publisher": folding, "summary": folding, "unknown": [folding]}
    path.write_text(tomli_w.dumps(document))
    (release / folding).write_bytes(b"x")
    runs: list[tuple[object, ...]] = [
        ("manifest", "show", path),
        ("verify", release, "-m", path, "--strict", "--quiet"),
        ("verify", release / folding),
    ]
    for words in runs:
        with pytest.raises(SystemExit):
            main([str(word) for word in words])
    shown = terminal.getvalue()
    assert_clean_on_a_terminal(shown)
    assert shown.count("forged") == 5
