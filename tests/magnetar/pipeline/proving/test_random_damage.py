"""Random damage to converted copies, in tensors and in everything beside them: none ends with exit 0."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from magnetar.cli.exit_codes import exit_code_of
from magnetar.errors import ExitCode, MagnetarError
from magnetar.manifests.folder.loadable import may_be_loaded
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.verify import VerifyRequest, verify
from tests.magnetar.pipeline.proving.conftest import TARGETS, TinyRelease

DAMAGES = 2000
BLOCKS = 20


def flip_bits(chance: random.Random, path: Path) -> bool:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 3, 100])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return _write(path, bytes(content))


def overwrite(chance: random.Random, path: Path) -> bool:
    content = bytearray(path.read_bytes())
    begin = chance.randrange(len(content))
    length = chance.randint(1, 4096)
    content[begin : begin + length] = chance.randbytes(min(length, len(content) - begin))
    return _write(path, bytes(content))


def cut_short(chance: random.Random, path: Path) -> bool:
    content = path.read_bytes()
    return _write(path, content[: chance.randrange(len(content))])


def append(chance: random.Random, path: Path) -> bool:
    return _write(path, path.read_bytes() + chance.choice([b"\0", b"x", b"{}", b"\x80" * 40]))


def remove_bytes(chance: random.Random, path: Path) -> bool:
    content = path.read_bytes()
    begin = chance.randrange(len(content))
    return _write(path, content[:begin] + content[begin + chance.randint(1, 64) :])


def delete(_chance: random.Random, path: Path) -> bool:
    path.unlink()
    return True


def rename(chance: random.Random, path: Path) -> bool:
    path.rename(path.with_name(chance.choice(["x", "old."]) + path.name))
    return True


def change_a_value(chance: random.Random, path: Path) -> bool:
    """Change, add or take away one value of a JSON document, at any depth; of other files a byte."""
    if path.suffix != ".json":
        return overwrite(chance, path)
    document = json.loads(path.read_bytes())
    place: Any = document
    while isinstance(place, dict | list) and place:
        key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        if chance.random() < 0.3:
            del place[key]
        else:
            place[key] = _other(chance, place[key])
        break
    else:
        document["new"] = 1
    return _write(path, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def _other(chance: random.Random, value: Any) -> Any:
    match value:
        case bool():
            return not value
        case int() | float():
            return chance.choice([value + 1, value * 2 + 1, -value - 1, None])
        case str():
            return chance.choice([value + "x", value[::-1] + "y", ""]) or "z"
        case _:
            return chance.choice([{"x": 1}, 17, "other"])


def swap(chance: random.Random, path: Path) -> bool:
    other = chance.choice([found for found in path.parent.iterdir() if found != path and may_be_loaded(found.name)])
    mine, theirs = path.read_bytes(), other.read_bytes()
    other.write_bytes(mine)
    return _write(path, theirs)


def add_a_file(chance: random.Random, path: Path) -> bool:
    name = chance.choice(
        ["modeling_x.py", "sub/adapter_model.safetensors", "pytorch_model.bin", "vocab.json", "x.gguf"]
    )
    (path.parent / name).parent.mkdir(exist_ok=True)
    (path.parent / name).write_bytes(path.read_bytes()[:5000])
    return True


def _write(path: Path, content: bytes) -> bool:
    """Whether the file has become another."""
    before = path.read_bytes()
    path.write_bytes(content)
    return content != before


KINDS: tuple[Callable[[random.Random, Path], bool], ...] = (
    *(flip_bits, flip_bits, overwrite, cut_short, append, remove_bytes, delete, rename, swap, add_a_file),
    *(change_a_value, change_a_value, change_a_value),
)


def judge(path: Path, manifest: Path) -> ExitCode:
    try:
        return exit_code_of(verify(VerifyRequest(folder=ReleaseFolder.read(path), named=str(manifest))))
    except MagnetarError as error:
        return error.exit_code


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_damaged_is_good(tiny: TinyRelease, target: str) -> None:
    assert judge(tiny.copies / target, tiny.manifest) is ExitCode.GOOD


@pytest.mark.parametrize("block", range(BLOCKS // len(TARGETS)))
@pytest.mark.parametrize("target", TARGETS)
def test_no_random_damage_to_a_copy_ends_as_good(tmp_path: Path, tiny: TinyRelease, target: str, block: int) -> None:
    unseen = []
    for number in range(DAMAGES // BLOCKS):
        chance = random.Random(f"{target} {block} {number}")
        folder = Path(shutil.copytree(tiny.copies / target, tmp_path / "copy"))
        damage = chance.choice(KINDS)
        path = folder / chance.choice([name.name for name in sorted(folder.iterdir()) if may_be_loaded(name.name)])
        if damage(chance, path) and judge(folder, tiny.manifest) is ExitCode.GOOD:
            unseen.append(f"{number}: {damage.__name__} of {path.name}")
        shutil.rmtree(folder)
    assert unseen == []
