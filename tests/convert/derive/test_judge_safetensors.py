"""The texts that safetensors files hold beside their tensors."""

import json
from pathlib import Path

import pytest

from magnetar.manifests.checking.ledger import RowState
from tests.convert.derive.conftest import Copy, check, faults

WRONG, UNKNOWN = RowState.WRONG, RowState.NOT_CHECKED


def rewrite(path: Path, metadata: dict[str, str] | None) -> None:
    """Give a safetensors file other texts."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    header = header if metadata is None else {"__metadata__": metadata, **header}
    text = json.dumps(header, ensure_ascii=False).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt"}, {"format": "mlx", "author": "them\n"}], ids=str)
def test_texts_of_others_change_nothing(copy: Copy, metadata: dict[str, str] | None) -> None:
    folder = copy("hf")
    rewrite(folder / "model.safetensors", metadata)
    assert faults(check(folder)) == {}


@pytest.mark.parametrize(
    ("metadata", "name", "state"),
    [
        ({"format": "tf"}, "format", WRONG),
        ({"format": "flax"}, "format", WRONG),
        ({"format": "\x1b"}, "format", UNKNOWN),
        ({"format": "pt", "magnetar.plan": "sha256:0"}, "magnetar.plan", UNKNOWN),
        ({"format": "pt", "magnetar.version": "evil\n"}, "magnetar.version", UNKNOWN),
        ({"format": "pt", "magnetar.novelty": ""}, "magnetar.novelty", UNKNOWN),
        ({"format": "pt", "magnetar.version": "0.1.0"}, "keys", UNKNOWN),
    ],
    ids=str,
)
def test_texts_by_which_tensors_are_read_in_another_way_are_wrong(
    copy: Copy, metadata: dict[str, str], name: str, state: RowState
) -> None:
    folder = copy("hf")
    rewrite(folder / "model.safetensors", metadata)
    assert faults(check(folder)) == {f"model.safetensors: {name}": state}


def test_every_shard_is_looked_at(copy: Copy) -> None:
    folder = copy("hf-sharded")
    rewrite(folder / "model-00003-of-00004.safetensors", {"format": "tf"})
    assert WRONG in faults(check(folder)).values()
