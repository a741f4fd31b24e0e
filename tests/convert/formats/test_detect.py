"""The forms that weights are met in besides zips and safetensors: old, cut into parts, split over devices, of numpy."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from magnetar.byte_source import read_bytes
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_path
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.read.part_names import find_split, split_stem
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, ConversionError, UnsafePickle
from tests.convert.forge import MOE, Tensors, random_tensors, raw, write_release


def bytes_of(checkpoint: Checkpoint) -> dict[str, bytes]:
    return {name: bytes(checkpoint.read(name)) for name in checkpoint.specs}


def expected(tensors: Tensors) -> dict[str, bytes]:
    return {name: raw(tensor) for name, tensor in tensors.items()}


# Before torch 1.6


def save_legacy(tensors: object, path: Path) -> bytes:
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def test_a_file_of_torch_before_1_6_is_read(tmp_path: Path) -> None:
    tensors: Tensors = random_tensors(MOE) | {"ids": torch.arange(5), "flags": torch.tensor([True, False])}
    both = torch.randn(6, 4)
    tensors |= {"upper": both[:2], "lower": both[2:], "scalar": torch.tensor(3.0), "empty": torch.zeros(0, 4)}
    save_legacy(tensors, tmp_path / "old.pt")
    with open_path(tmp_path / "old.pt") as checkpoint:
        assert checkpoint.container == "torch, before 1.6"
        assert not checkpoint.sealed
        assert bytes_of(checkpoint) == expected(tensors)


def test_a_file_of_torch_before_1_6_that_is_cut_or_goes_on_is_refused(tmp_path: Path) -> None:
    content = save_legacy({"a": torch.randn(100), "b": torch.randn(50)}, tmp_path / "old.pt")
    for length in range(0, len(content), 7):
        (tmp_path / "cut.pt").write_bytes(content[:length])
        with pytest.raises(ConversionError):
            open_path(tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes(content[:-30])
    with pytest.raises(CheckpointError, match="at least 30 bytes are missing"):
        open_path(tmp_path / "cut.pt")
    (tmp_path / "cut.pt").write_bytes(content + b"more")
    with pytest.raises(CheckpointError, match="goes on for 4 bytes"):
        open_path(tmp_path / "cut.pt")


class Evil:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return open, (f"{self.canary}", "w")  # type: ignore[return-value]


def test_a_call_in_any_of_the_old_pickles_is_refused_and_not_made(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    content = save_legacy({"a": torch.randn(3)}, tmp_path / "old.pt")
    evil = pickle.dumps(Evil(canary), protocol=2)
    ends = [15, 21]  # of the first two pickles
    for end in ends:
        (tmp_path / "x.pt").write_bytes(content[:end] + evil + content[end:])
        with pytest.raises(UnsafePickle, match=r"names '(io|builtins|__builtin__)\.open'"):
            open_path(tmp_path / "x.pt")
    save_legacy({"a": Evil(canary)}, tmp_path / "x.pt")
    with pytest.raises(UnsafePickle):
        open_path(tmp_path / "x.pt")
    assert not canary.exists()


# Cut into parts


def cut(path: Path, names: list[str]) -> None:
    content = path.read_bytes()
    size = -(-len(content) // len(names))
    for number, name in enumerate(names):
        (path.parent / name).write_bytes(content[number * size : (number + 1) * size])
    path.unlink()


STEM = "consolidated.00.pth"


@pytest.mark.parametrize(
    "names",
    [
        [f"{STEM}-split{number}" for number in range(11)],
        [f"{STEM}-split{number:02}.pth" for number in range(3)],
        [f"{STEM}.part{number}of12" for number in range(1, 13)],
        [f"{STEM}.{number:03}" for number in range(4)],
        [f"{STEM}.a{letter}" for letter in "abcd"],
    ],
    ids=lambda names: names[0],
)
def test_parts_are_read_in_the_order_of_their_numbers_and_not_joined(
    names: list[str], release: Path, tmp_path: Path
) -> None:
    cut(release / STEM, names)
    files = sorted(path.name for path in release.iterdir())
    with open_source(release) as source:
        assert list(source.files) == names
        assert bytes_of(source.checkpoint) == expected(random_tensors(MOE))
    with open_source(release / names[1]) as source:
        assert len(source.files) == len(names)
    assert convert(ConvertRequest(release, tmp_path / "out")).verified
    assert sorted(path.name for path in release.iterdir()) == files


def test_a_missing_part_is_named(release: Path) -> None:
    names = [f"{STEM}-split{number}" for number in range(11)]
    cut(release / STEM, names)
    (release / names[7]).unlink()
    with pytest.raises(CheckpointError, match="part 7 is missing; there are 10"):
        open_source(release)


def test_a_missing_last_part_is_found_by_the_count_or_by_the_bytes(release: Path, tmp_path: Path) -> None:
    shutil.copytree(release, tmp_path / "counted")
    cut(release / STEM, [f"{STEM}-split{number}" for number in range(3)])
    (release / f"{STEM}-split2").unlink()
    with pytest.raises(CheckpointError, match="bytes are missing at its end"):
        open_source(release)
    cut(tmp_path / "counted" / STEM, [f"{STEM}.part{number}of3" for number in range(1, 4)])
    (tmp_path / "counted" / f"{STEM}.part3of3").unlink()
    with pytest.raises(CheckpointError, match="part 3 is missing"):
        open_source(tmp_path / "counted")


def test_parts_of_two_files_are_refused() -> None:
    with pytest.raises(CheckpointError, match="several split files"):
        find_split(["a.pth.000", "a.pth.001", "b.pth.000"])
    with pytest.raises(CheckpointError, match="several split files"):
        find_split(["a.pth.000", "a.pth-split0"])


def test_files_beside_the_weights_are_no_parts() -> None:
    names = ["a.pth", "a.pth.md5", "a.pth.sig", "model-00001-of-00002.safetensors", "consolidated.01.pth", "x.zip.001"]
    assert [name for name in names if split_stem(name)] == []


# Several files


def test_shards_of_pickles_are_read_through_their_index(tmp_path: Path) -> None:
    tensors = random_tensors(MOE, "hf")
    names = sorted(tensors)
    files = {f"pytorch_model-{n:05}-of-00003.bin": names[n - 1 :: 3] for n in (1, 2, 3)}
    for file, held in files.items():
        torch.save({name: tensors[name] for name in held}, tmp_path / file)
    weight_map = {name: file for file, held in files.items() for name in held}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps(MOE.to_config("bfloat16")))
    with open_source(tmp_path) as source:
        assert source.layout == "hf"
        assert bytes_of(source.checkpoint) == expected(tensors)
    (tmp_path / "pytorch_model-00002-of-00003.bin").unlink()
    with pytest.raises(CheckpointError, match=r"shard pytorch_model-00002-of-00003\.bin is missing"):
        open_source(tmp_path)


def split_over_ranks(tensors: Tensors, count: int, embedding: int) -> list[Tensors]:
    """As Meta's and Mistral's own scripts split a model for tensor parallelism."""
    ranks: list[Tensors] = [{} for _ in range(count)]
    for name, tensor in tensors.items():
        word = name.split(".")[-2]
        axis = {"wo": 1, "w2": 1, "tok_embeddings": embedding}.get(word, 0)
        whole = "norm" in word or word == "gate"
        for rank, share in zip(ranks, [tensor] * count if whole else tensor.chunk(count, axis), strict=True):
            rank[name] = share.clone()
    return ranks


@pytest.mark.parametrize("embedding", [0, 1])
@pytest.mark.parametrize("count", [2, 4])
def test_ranks_of_a_tensor_parallel_model_are_merged(embedding: int, count: int, tmp_path: Path) -> None:
    tensors = random_tensors(MOE)
    release = write_release(tmp_path / "release", MOE)
    for number, rank in enumerate(split_over_ranks(tensors, count, embedding)):
        torch.save(rank, release / f"consolidated.{number:02}.pth")
    with open_source(release) as source:
        assert source.checkpoint.container == f"torch zip, {count} ranks"
        assert source.checkpoint.sealed
        assert bytes_of(source.checkpoint) == expected(tensors)
        view = view_as(source, "hf")
        with open_source(write_release(tmp_path / "whole", MOE)) as whole:
            other = view_as(whole, "hf")
            assert {name: view.read(name) for name in view.specs} == {name: other.read(name) for name in other.specs}
    assert convert(ConvertRequest(release, tmp_path / "out", target="mistral")).verified


def test_rows_are_merged_right_from_every_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("magnetar.convert.formats.merge_ranks.CHUNK", 100)
    tensors = random_tensors(MOE)
    release = write_release(tmp_path / "release", MOE)
    for number, rank in enumerate(split_over_ranks(tensors, 2, 1)):
        torch.save(rank, release / f"consolidated.{number:02}.pth")
    with open_source(release) as source:
        spec = source.checkpoint.specs["layers.0.attention.wo.weight"]
        whole = raw(tensors[spec.name])
        for offset in range(0, 200, 3):
            for length in (1, 2, 33, 64, 65, 500):
                found = read_bytes(source.checkpoint.sources[spec.source], offset, length)
                assert found == whole[offset : offset + length]


def test_a_replicated_tensor_that_differs_between_ranks_is_named(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", MOE)
    ranks = split_over_ranks(random_tensors(MOE), 2, 1)
    ranks[1]["layers.1.ffn_norm.weight"][3] += 1
    for number, rank in enumerate(ranks):
        torch.save(rank, release / f"consolidated.{number:02}.pth")
    with pytest.raises(CheckpointError, match=r"layers\.1\.ffn_norm\.weight of consolidated\.01\.pth is not"):
        open_source(release)


def test_a_flipped_byte_in_one_rank_is_found(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", MOE)
    for number, rank in enumerate(split_over_ranks(random_tensors(MOE), 2, 1)):
        torch.save(rank, release / f"consolidated.{number:02}.pth")
    path = release / "consolidated.01.pth"
    with open_path(path) as checkpoint:
        offset = checkpoint.specs["layers.0.attention.wo.weight"].offset
    content = bytearray(path.read_bytes())
    content[offset + 5] ^= 2
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"consolidated\.01\.pth: the bytes of layers\.0\.attention\.wo\.weight"):
        convert(ConvertRequest(release, tmp_path / "out"))


def test_ranks_of_names_that_nobody_splits_are_refused(tmp_path: Path) -> None:
    for number in range(2):
        torch.save({"some.thing": torch.ones(4, 4)}, tmp_path / f"consolidated.{number:02}.pth")
    (tmp_path / "params.json").write_text(json.dumps(MOE.to_params()))
    with pytest.raises(CheckpointError, match=r"some\.thing is in all of the 2 files"):
        open_source(tmp_path)


# NumPy


def test_an_archive_of_numpy_is_read(tmp_path: Path) -> None:
    arrays = {
        "layers.0.w": np.random.default_rng(1).random((3, 5), np.float32),
        "half": np.arange(7, dtype=np.float16),
        "ids": np.arange(4),
        "flag": np.array([True, False]),
        "scalar": np.array(2.5),
    }
    np.savez(tmp_path / "x.npz", **arrays)
    with open_path(tmp_path / "x.npz") as checkpoint:
        assert (checkpoint.container, checkpoint.sealed) == ("npz", True)
        assert bytes_of(checkpoint) == {name: array.tobytes() for name, array in arrays.items()}
        assert {name: spec.shape for name, spec in checkpoint.specs.items()} == {n: a.shape for n, a in arrays.items()}
    assert convert(ConvertRequest(tmp_path / "x.npz", tmp_path / "out", target="safetensors")).verified


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.array([{"a": 1}], dtype=object), "plain numbers"),
        (np.zeros(3, "V2"), "plain numbers"),
        (np.zeros(3, ">f4"), "plain numbers"),
        (np.asfortranarray(np.ones((2, 3))), "column by column"),
    ],
)
def test_arrays_that_are_not_plain_numbers_row_by_row_are_refused(array: np.ndarray, what: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=array)
    with pytest.raises(CheckpointError, match=what):
        open_path(tmp_path / "x.npz")


def test_a_compressed_archive_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(100))
    with pytest.raises(CheckpointError, match="compressed"):
        open_path(tmp_path / "x.npz")
    np.savez(tmp_path / "y.npz", a=np.arange(100.0))
    content = bytearray((tmp_path / "y.npz").read_bytes())
    content[400] ^= 1
    (tmp_path / "y.npz").write_bytes(content)
    with open_path(tmp_path / "y.npz") as checkpoint, pytest.raises(CheckpointError, match="damaged"):
        checkpoint.read("a")
