"""Whatever state files somebody forges in a folder, beside it or above it: no verdict becomes better by them."""

import json
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from magnetar.cli.exit_codes import exit_code_of
from magnetar.convert.write.journal import Conversion, WrittenFile, record_conversion
from magnetar.errors import ExitCode, MagnetarError
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.files import STATE_FOLDER
from magnetar.manifests.catalog import bundled_releases
from magnetar.manifests.checking.ledger import Verdict
from magnetar.manifests.folder.layout import publication_folder
from magnetar.manifests.folder.origin import Origin, record_origin
from magnetar.manifests.writing.create_manifest import create_manifest, to_toml
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.verify import VerifyRequest, verify
from tests.magnetar.pipeline.proving.conftest import TARGETS

WEIGHTS = "consolidated.00.pth"
ROUNDS_OF_A_RELEASE = 480
ROUNDS_OF_A_COPY = 120
"""In each, one to ten state files are forged: over two thousand files in all."""

GOODNESS = {ExitCode.WRONG_BYTES: 0, ExitCode.OUTSIDE: 1, ExitCode.NOT_ALL_CHECKED: 2, ExitCode.GOOD: 3}


@dataclass(frozen=True)
class Judged:
    """What ``verify`` said; ``code`` is 2 where nothing says which release it should be, and then nothing is judged."""

    code: ExitCode
    verdict: Verdict | None = None

    def is_no_better_than(self, plain: "Judged") -> bool:
        if plain.verdict is None:  # nothing knows the folder, so it has only its own word
            return self.verdict is not Verdict.RELEASE and self.verdict is not Verdict.WEAK
        if self.verdict is None:
            return True
        if GOODNESS[self.code] < GOODNESS[plain.code]:
            return True
        return self == plain or (self.code == plain.code and self.verdict is Verdict.UNDAMAGED)


def judge(path: Path) -> Judged:
    try:
        found = verify(VerifyRequest(folder=ReleaseFolder.read(path)))
    except MagnetarError as error:
        return Judged(error.exit_code)
    return Judged(exit_code_of(found), found.verdict)


@dataclass(frozen=True)
class Forger:
    """Writes state files that parse, about a folder, with what an attacker could know: all of the folder, and ours."""

    folder: Path
    torrents: Sequence[bytes]
    manifests: Sequence[str]

    def forge(self, chance: random.Random) -> None:
        makers: list[Callable[[random.Random], None]] = [
            self.note_origin,
            self.note_conversion,
            self.keep_torrent,
            self.write_own_manifest,
            self.publish_beside,
            self.write_session_state,
        ]
        for make in chance.sample(makers, chance.randint(1, len(makers))):
            make(chance)

    def note_origin(self, chance: random.Random) -> None:
        known = chance.choice([*bundled_releases().values()])
        hashes = chance.choice(
            [(known.infohash_v1 or "", known.infohash_v2 or ""), ("0" * 40, ""), (known.infohash_v1 or "", "f" * 64)]
        )
        record_origin(self.folder, Origin(known.name, *hashes, complete=chance.random() < 0.5))

    def note_conversion(self, chance: random.Random) -> None:
        paths = ["", "../../etc/passwd", str(self.folder / "magnetar.toml"), "magnetar.toml", "\n"]
        release = chance.choice([*bundled_releases(), *paths])
        files = {
            path.name: WrittenFile(path.stat().st_size, "0" * 64) for path in self.folder.iterdir() if path.is_file()
        }
        target = chance.choice(["hf", "gguf", "safetensors", ""])
        record_conversion(self.folder, Conversion("", release, target, files, {}, done=True))

    def keep_torrent(self, chance: random.Random) -> None:
        self._write(STATE_FOLDER, "release.torrent", chance.choice(self.torrents))

    def write_own_manifest(self, chance: random.Random) -> None:
        self._write(".", "magnetar.toml", chance.choice(self.manifests).encode())

    def publish_beside(self, chance: random.Random) -> None:
        beside = publication_folder(self.folder)
        beside.mkdir(exist_ok=True)
        (beside / "x.toml").write_text(chance.choice(self.manifests))
        if chance.random() < 0.5:
            (beside / "x.toml.sig").write_text("{}")

    def write_session_state(self, chance: random.Random) -> None:
        stamps = {path.name: [path.stat().st_size, 0, 0, 1] for path in self.folder.iterdir() if path.is_file()}
        self._write(STATE_FOLDER, "stamps.json", json.dumps(stamps).encode())
        self._write(STATE_FOLDER, "resume", chance.choice([b"", b"de", b"x" * 100]))
        above = self.folder.parent / STATE_FOLDER
        shutil.copytree(self.folder / STATE_FOLDER, above, dirs_exist_ok=True)

    def _write(self, below: str, name: str, content: bytes) -> None:
        (self.folder / below).mkdir(exist_ok=True)
        (self.folder / below / name).write_bytes(content)


def forget(folder: Path) -> None:
    """Remove every state file in a folder, beside it and above it."""
    for state in (folder / STATE_FOLDER, folder.parent / STATE_FOLDER, publication_folder(folder)):
        shutil.rmtree(state, ignore_errors=True)
    (folder / "magnetar.toml").unlink(missing_ok=True)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


DAMAGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _folder: None,
    "a flipped byte": lambda folder: flip(folder / WEIGHTS),
    "a file cut short": lambda folder: cut(folder / WEIGHTS),
    "a missing file": lambda folder: (folder / WEIGHTS).unlink(),
    "another configuration": lambda folder: flip(folder / "params.json"),
    "foreign code": lambda folder: (folder / "modeling.py").write_text("import os"),
    "other names": lambda folder: [path.rename(folder / f"x-{path.name}") for path in list(folder.iterdir())],
    "zeros in the weights": lambda folder: (folder / WEIGHTS).write_bytes(bytes((folder / WEIGHTS).stat().st_size)),
}


@pytest.fixture(scope="module")
def torrent() -> bytes:
    return create_torrent(bundled_release())


def forger_of(folder: Path, torrent: bytes) -> Forger:
    facts = {"title": "x", "publisher": "x", "licence": "MIT"}
    own = [to_toml(create_manifest(folder, {"name": name, **facts}, ["sha256"])) for name in ("mine", "austen-moe")]
    empty = 'format = 1\nname = "mine"\ntitle = "x"\npublisher = "x"\nlicence = "MIT"\n'
    return Forger(folder, [torrent, create_torrent(folder), b"de"], [*own, empty, "format = 1"])


def hold_no_better(folder: Path, torrent: bytes, count: int, seed: str) -> Iterator[str]:
    """What went wrong, for each of ``count`` forgeries that made a verdict better."""
    plain = judge(folder)
    forger = forger_of(folder, torrent)
    for number in range(count):
        forger.forge(random.Random(f"{seed} {number}"))
        forged = judge(folder)
        if not forged.is_no_better_than(plain):
            yield f"{number}: {forged} where it was {plain}"
        forget(folder)


@pytest.mark.parametrize("damage", DAMAGES)
def test_no_forged_state_makes_the_verdict_on_a_release_better(tmp_path: Path, torrent: bytes, damage: str) -> None:
    folder = Path(shutil.copytree(bundled_release(), tmp_path / "above" / "austen-moe"))
    DAMAGES[damage](folder)
    assert list(hold_no_better(folder, torrent, ROUNDS_OF_A_RELEASE // len(DAMAGES), damage)) == []


@pytest.mark.parametrize("damage", ["nothing", "weights", "beside"])
@pytest.mark.parametrize("target", TARGETS)
def test_no_forged_state_makes_the_verdict_on_a_copy_better(
    tmp_path: Path, originals: Path, torrent: bytes, target: str, damage: str
) -> None:
    folder = Path(shutil.copytree(originals / target, tmp_path / "above" / target))
    weights = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    if damage == "weights":
        flip(weights)
    elif damage == "beside":
        (folder / "tokenizer.model").write_bytes(b"x")
    count = ROUNDS_OF_A_COPY // (3 * len(TARGETS)) + 1
    assert list(hold_no_better(folder, torrent, count, f"{target} {damage}")) == []
