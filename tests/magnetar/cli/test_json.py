"""What ``--json`` prints for each command, compared with files in ``golden/``; what differs between runs is replaced.

``WRITE_GOLDEN=1 pytest tests/magnetar/cli/test_json.py`` writes the files anew. A change that renames or removes a
field is a new format (``magnetar.render.json_shapes.base.FORMAT``); one that adds a field is not.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from magnetar.model.bundled import bundled_release
from magnetar.render.json_shapes.documents import COMMANDS
from magnetar.version import __version__
from tests.fetch.world import flip_byte, publish, serve, write_release
from tests.magnetar.conftest import Outcome, Run
from tests.manifests.signing.keys import write_key

GOLDEN = Path(__file__).with_name("golden")
MIXTRAL = "magnet:?xt=urn:btih:5546272da9065eddeb6fcd7ffddeef5b75be79a7&amp;dn=mixtral-8x7b-32kseqlen"
WEIGHTS = "consolidated.00.pth"
LOOPBACK = ("--loopback", "--stall-timeout", "20")

MEASURED = {
    *("seconds", "comparing", "tokens_per_second", "peak_memory", "memory", "free"),
    *("port", "peers", "seeds", "seen", "uploaded", "downloaded"),
}
"""Fields whose numbers are those of the machine and the hour."""
PROSE = {"sources", "unknown"}
"""Sentences of the catalog's manifests."""
SIZES_OF_NAMES = {"size", "missing"}
"""Fields that depend on the length of a path or of the version, which stand in converted files."""
COMPUTED_WORDS = {"remark", "reasons", "detail", "verdict", "name", "advice", "assumptions", "tried"}
"""Sentences with numbers that a model computed."""
WRITTEN_BY_A_MODEL = {"sample", "text", "pieces", "chosen"}
MAX_ITEMS = 2
"""Items that are kept of a list: the others are like them."""


@dataclass(frozen=True)
class Normaliser:
    """Replaces what differs between machines and runs.

    ``places`` are folders and the version, by what stands for them. ``measured`` fields are replaced as a whole.
    ``computed`` says that a model computed the numbers, so that their last digits are the machine's.
    """

    places: dict[str, str]
    measured: frozenset[str]
    computed: bool

    def normalise(self, value: Any, field: str = "") -> Any:
        if value is not None and (field in self.measured or (self.computed and field in WRITTEN_BY_A_MODEL)):
            return f"<{field}>"
        if isinstance(value, dict):
            return {key: self.normalise(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            kept = [self.normalise(inner, field) for inner in value[:MAX_ITEMS]]
            return kept + [f"<and {len(value) - MAX_ITEMS} more>"] * (len(value) > MAX_ITEMS)
        if isinstance(value, float) and self.computed:
            return "<number>"
        return self._normalise_text(value, field) if isinstance(value, str) else value

    def _normalise_text(self, text: str, field: str) -> str:
        for place, name in self.places.items():
            text = text.replace(place, name)
        text = re.sub(r"\b[0-9a-f]{64}\b", "<64 hex digits>", text)
        if self.computed and field in COMPUTED_WORDS:
            text = re.sub(r"(?<![\w.])\d[\d,]*(\.\d+)?(e[+-]?\d+)?\b", "<n>", text)
        return text


Compare = Callable[..., None]


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """Compare what a command printed with ``golden/NAME.json``."""
    places = {str(tmp_path): "<tmp>", str(bundled_release()): "<bundled>", __version__: "<version>"}

    def compare_with(name: str, shown: Outcome, *, measured: Set[str] = frozenset(), computed: bool = False) -> None:
        normaliser = Normaliser(places, frozenset(MEASURED | PROSE | measured), computed)
        text = json.dumps(normaliser.normalise(shown.document), indent=1, ensure_ascii=False) + "\n"
        path = GOLDEN / f"{name}.json"
        if os.environ.get("WRITE_GOLDEN"):
            path.write_text(text)
        assert path.read_text() == text

    return compare_with


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small folder that is no model, with its torrent, as a fetch leaves it."""
    folder = write_release(tmp_path / "tiny", {"weights": 70_000, "params.json": 120})
    publish(folder, version=0)
    return folder


def test_inspect(magnetar: Run, compare: Compare, tiny: Path) -> None:
    compare("inspect-magnet", magnetar("inspect", MIXTRAL, "--json"))
    shutil.copy(tiny / ".magnetar" / "release.torrent", tiny.parent / "tiny.torrent")
    compare("inspect-torrent", magnetar("inspect", tiny.parent / "tiny.torrent", "--json"))
    compare("inspect-weights", magnetar("inspect", bundled_release(), "--tensors", "--json"))


def test_an_error(magnetar: Run, compare: Compare, tmp_path: Path) -> None:
    compare("error", magnetar("verify", tmp_path / "absent", "--json"))


def test_verify(magnetar: Run, compare: Compare, release: Path, tiny: Path, tmp_path: Path) -> None:
    compare("verify-files", magnetar("verify", release, "--json"))
    manifest = tmp_path / "tiny.toml"
    magnetar("manifest", "create", tiny, "-o", manifest)
    flip_byte(tiny / "weights", 20_000)
    (tiny / "new").write_text("new")
    compare("verify-damage", magnetar("verify", tiny, "--manifest", manifest, "--json"))


def test_verify_and_same_of_a_copy(magnetar: Run, compare: Compare, release: Path, tmp_path: Path) -> None:
    words = ("convert", release, tmp_path / "hf", "--json")
    compare("convert-dry-run", magnetar(*words, "--dry-run"), measured=SIZES_OF_NAMES | {"steps"})
    compare("convert", magnetar(*words), measured=SIZES_OF_NAMES)
    compare("verify-tensors", magnetar("verify", tmp_path / "hf", "--json"))
    compare("identify", magnetar("identify", tmp_path / "hf", "--json"), measured={"read"})
    flip_byte(tmp_path / "hf" / "model.safetensors", 7_000_000)
    compare("identify-full", magnetar("identify", tmp_path / "hf", "--full", "--json"), measured={"read"})
    compare("same", magnetar("same", release, tmp_path / "hf", "--json"))


def test_boot(magnetar: Run, compare: Compare, tmp_path: Path) -> None:
    words = ("boot", bundled_release(), "--json")
    compare("boot", magnetar(*words, "--against", bundled_release()), computed=True)
    compare("boot-routings", magnetar(*words, "--routing", "all"), computed=True)
    compare("boot-prompt", magnetar(*words, "--prompt", "It is", "--max-tokens", 3), computed=True)
    compare("boot-fingerprint", magnetar(*words, "--make-golden", tmp_path / "golden"), computed=True)


def test_a_boot_that_says_what_is_wrong(magnetar: Run, compare: Compare, release: Path) -> None:
    params = json.loads((release / "params.json").read_text())
    (release / "params.json").write_text(json.dumps({**params, "rope_theta": 123.0}))
    compare("boot-unhealthy", magnetar("boot", release, "--json"), computed=True)


def test_manifest(magnetar: Run, compare: Compare, tiny: Path, tmp_path: Path, release: Path) -> None:
    manifest = tmp_path / "tiny.toml"
    compare("manifest-create", magnetar("manifest", "create", tiny, "-o", manifest, "--json"))
    compare("manifest-show", magnetar("manifest", "show", "austen-moe", "--json"))
    compare("manifest-check", magnetar("manifest", "check", manifest, "--json"))
    compare("manifest-pin", magnetar("manifest", "pin", tiny, "-m", manifest, "-a", "sha256", "--json"))
    exported = magnetar("manifest", "export", manifest, "--json")
    compare("manifest-export", exported)
    (tmp_path / "SUMS").write_text(exported.document["result"]["text"])
    compare("manifest-import", magnetar("manifest", "import", tmp_path / "SUMS", "--json"))
    compare("manifest-tensors", magnetar("manifest", "tensors", release, "-o", tmp_path / "t.json", "--json"))


def test_publish_and_catalog(magnetar: Run, compare: Compare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAGNETAR_CATALOG", str(tmp_path / "catalog"))
    folder, key = write_release(tmp_path / "tiny", {"weights": 70_000}), write_key(tmp_path / "lab.pem")
    words = ("--publisher", "My Lab", "--published", "2026-01-02", "--sign", "key", "--key", key)
    compare("publish", magnetar("publish", folder, *words, "--json"))
    compare("catalog-add", magnetar("catalog", "add", tmp_path / "tiny.magnetar" / "tiny.toml", "--json"))
    compare("catalog-show", magnetar("catalog", "show", "tiny", "--json"))
    compare("catalog-remove", magnetar("catalog", "remove", "tiny", "--json"))


def test_catalog(magnetar: Run, compare: Compare) -> None:
    compare("catalog", magnetar("catalog", "--json"))


def test_fetch_and_get(magnetar: Run, compare: Compare, tiny: Path, tmp_path: Path) -> None:
    torrent = tiny / ".magnetar" / "release.torrent"
    with serve(tiny) as seeding:
        words = (torrent, *LOOPBACK, "--peer", f"127.0.0.1:{seeding.port}", "--json", "--dir")
        compare("fetch-dry-run", magnetar("fetch", *words, tmp_path / "new", "--dry-run"))
        compare("fetch", magnetar("fetch", *words, tmp_path / "new"))
        compare("get", magnetar("get", *words, tmp_path / "got", "--no-verify", "--no-convert", "--no-boot"))


def test_repair(magnetar: Run, compare: Compare, tiny: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny, tmp_path / "copy"))
    manifest = tmp_path / "tiny.toml"
    magnetar("manifest", "create", tiny, "-o", manifest)
    words = ("repair", tiny, "--adopt", copy, *LOOPBACK, "--json")
    flip_byte(tiny / "weights", 20_000)
    compare("repair-pieces", magnetar(*words, "--torrent", tiny / ".magnetar" / "release.torrent"))
    shutil.rmtree(tiny / ".magnetar")
    flip_byte(tiny / "weights", 20_000)
    compare("repair-files", magnetar(*words, "--manifest", manifest))


def test_seed(compare: Compare, tiny: Path) -> None:
    command = [sys.executable, "-m", "magnetar", "seed", str(tiny), "--loopback", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as seeder:
        assert seeder.stdout is not None
        line = seeder.stdout.readline()
        seeder.terminate()
    line = re.sub(r"(&x\.pe=127\.0\.0\.1:)\d+", r"\1<port>", line)
    compare("seed", Outcome(0, line, ""))


def test_demo(compare: Compare, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "magnetar", "demo", "--dir", str(tmp_path / "demo"), "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    magnet = re.sub(r"(&x\.pe=127\.0\.0\.1:)\d+", r"\1<port>", done.stdout)
    shown = Outcome(done.returncode, magnet, done.stderr)
    compare("demo", shown, measured=SIZES_OF_NAMES, computed=True)


def test_there_is_a_file_for_every_command() -> None:
    recorded = {json.loads(path.read_text())["command"] for path in GOLDEN.glob("*.json")}
    assert recorded == set(COMMANDS)
