import os
import pickle
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.convert.compare.damaged_tensors import (
    ByteRange,
    DamagedHeader,
    DamagedTensor,
    LocatedDamage,
    Unreadable,
    locate_damage,
    merge_ranges,
)
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from tests.convert.forge import MOE, Tensors

W2 = "layers.1.feed_forward.experts.2.w2.weight"
FILE = "consolidated.00.pth"
RANGES = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 40)), max_size=20)


def place(folder: Path, name: str) -> tuple[int, int]:
    with open_source(folder) as source:
        spec = source.checkpoint.specs[name]
        return spec.offset, spec.nbytes


@given(RANGES)
def test_merged_ranges_hold_the_same_bytes_once_and_in_order(ranges: list[ByteRange]) -> None:
    merged = merge_ranges(ranges)
    flat = [byte for offset, length in merged for byte in range(offset, offset + length)]
    assert flat == sorted({byte for offset, length in ranges for byte in range(offset, offset + length)})
    assert all(one[0] + one[1] < other[0] for one, other in pairwise(merged))


def test_damaged_bytes_are_counted_by_tensor(release: Path) -> None:
    offset, nbytes = place(release, W2)
    damage = locate_damage(release, {FILE: [(offset + 10, 20), (offset + 20, 20), (offset, 1)]})
    assert damage == LocatedDamage((DamagedTensor(FILE, W2, 31, nbytes),), (), ())


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("after", [0, 1])
def test_a_byte_before_or_after_a_tensor_is_not_its_own(before: int, after: int, release: Path) -> None:
    offset, nbytes = place(release, W2)
    damage = locate_damage(release, {FILE: [(offset - before, before + nbytes + after)]})
    assert damage.tensors == (DamagedTensor(FILE, W2, nbytes, nbytes),)
    beside = before + after  # in a zip, what lies between two tensors belongs to neither
    assert damage.headers == ((DamagedHeader(FILE, beside),) if beside else ())


def test_every_byte_of_a_file_is_a_tensors_or_the_headers(release: Path, tmp_path: Path) -> None:
    convert(ConvertRequest(release, tmp_path / "out", target="hf", shard_size=5000))
    for path in sorted((tmp_path / "out").glob("*.safetensors")):
        damage = locate_damage(tmp_path / "out", {path.name: [(0, path.stat().st_size)]})
        assert all(tensor.damaged == tensor.nbytes for tensor in damage.tensors)
        header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
        assert damage.headers == (DamagedHeader(path.name, header),)
        assert sum(tensor.nbytes for tensor in damage.tensors) + header == path.stat().st_size


def test_a_file_that_was_split_names_what_each_part_has_of_a_tensor(release: Path) -> None:
    offset, nbytes = place(release, W2)
    whole = (release / FILE).read_bytes()
    (release / FILE).unlink()
    cut = offset + 100
    names = [f"{FILE}-split0", f"{FILE}-split1"]
    (release / names[0]).write_bytes(whole[:cut])
    (release / names[1]).write_bytes(whole[cut:])
    damage = locate_damage(release, {names[0]: [(cut - 7, 7)], names[1]: [(0, nbytes)]})
    assert damage.tensors[:2] == (
        DamagedTensor(names[0], W2, 7, 100),
        DamagedTensor(names[1], W2, nbytes - 100, nbytes - 100),
    )


@pytest.mark.parametrize("target", ["hf", "gguf"])
def test_tensors_that_a_file_was_cut_short_by_are_named(target: str, release: Path, tmp_path: Path) -> None:
    convert(ConvertRequest(release, tmp_path / "out", target=target))
    (path,) = (tmp_path / "out").glob("model.*")
    size = path.stat().st_size
    with open_source(tmp_path / "out") as source:
        *_, before, last = sorted(source.checkpoint.specs.values(), key=lambda spec: spec.offset)
    cut = last.offset - 10
    with path.open("r+b") as stream:
        stream.truncate(cut)
    damage = locate_damage(tmp_path / "out", {path.name: [(cut, size - cut)]})
    lost = before.offset + before.nbytes - cut
    expected = [DamagedTensor(path.name, before.name, lost, before.nbytes)] if lost > 0 else []
    assert list(damage.tensors) == [*expected, DamagedTensor(path.name, last.name, last.nbytes, last.nbytes)]
    assert not damage.unreadable


def test_a_file_that_was_cut_inside_of_its_header_is_said_to_be(release: Path, tmp_path: Path) -> None:
    convert(ConvertRequest(release, tmp_path / "out", target="hf"))
    path = tmp_path / "out/model.safetensors"
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.truncate(100)
    damage = locate_damage(tmp_path / "out", {path.name: [(100, size - 100)]})
    assert (damage.tensors, len(damage.unreadable)) == ((), 1)


def test_a_file_of_grok_is_named_by_its_place(tmp_path: Path) -> None:
    dim, hidden, experts, keys = 8, 16, 2, 4
    wide, square = (experts, dim, hidden), (dim, dim)
    matrices = [wide, (experts, hidden, dim), wide, (dim, keys), square, square, (dim, keys)]
    arrays: list[object] = [np.ones((12, dim), np.float32), np.ones(dim, np.float32)]
    for shape in matrices:
        scales = np.ones((*shape[:-2], 1, shape[-1]), np.int16).view("V2")
        arrays.append({"weight": np.ones(shape, np.int8), "scales": scales})
    arrays += [np.ones(dim, np.float32)] * 4 + [np.ones((dim, experts), np.float32)]
    for number, array in enumerate(arrays):
        (tmp_path / f"tensor{number:05}_000").write_bytes(pickle.dumps(array, protocol=4))
    size = (tmp_path / "tensor00003_000").stat().st_size
    damage = locate_damage(tmp_path, {"tensor00003_000": [(200, 9)], "tensor00099_000": [(0, 1)]})
    assert damage.tensors == (DamagedTensor("tensor00003_000", "layers.0.moe.linear_1.weight", 9, size),)
    assert [found.file for found in damage.unreadable] == ["tensor00099_000"]


def test_a_damaged_header_is_said_to_be_one(release: Path, tmp_path: Path) -> None:
    convert(ConvertRequest(release, tmp_path / "out", target="mistral"))
    file = "consolidated.safetensors"
    content = bytearray((tmp_path / "out" / file).read_bytes())
    content[9] ^= 0xFF
    (tmp_path / "out" / file).write_bytes(content)
    damage = locate_damage(tmp_path / "out", {file: [(8, 8)]})
    assert damage.tensors == ()
    (found,) = damage.unreadable
    assert found.file == file
    assert "malformed header" in found.reason or "not one JSON object" in found.reason


def test_files_without_weights_and_files_that_are_not_there_are_told_apart_from_good_ones(release: Path) -> None:
    (release / "tokenizer.model").write_bytes(b"\n\x0b\n\x05<unk>" * 9)
    damage = locate_damage(release, {"tokenizer.model": [(0, 5)], "gone.pth": [(0, 5)], FILE: []})
    assert damage == LocatedDamage(
        (),
        (),
        (
            Unreadable("tokenizer.model", "tokenizer.model: is not a checkpoint of any known kind"),
            Unreadable("gone.pth", f"{release / 'gone.pth'}: there is no such file"),
        ),
    )


def test_damage_of_a_zeroed_payload_is_still_located(
    make_release: Callable[[Architecture, Tensors | None], Path],
) -> None:
    release = make_release(MOE, None)
    offset, nbytes = place(release, W2)
    with (release / FILE).open("r+b") as stream:
        stream.seek(offset)
        stream.write(bytes(nbytes))
    assert locate_damage(release, {FILE: [(offset, nbytes)]}).tensors == (DamagedTensor(FILE, W2, nbytes, nbytes),)


def test_headers_between_tensors_that_went_with_them_do_not_hide_their_names(release: Path) -> None:
    (begin, _), (last, nbytes) = place(release, W2), place(release, W2.replace("w2", "w3"))
    if begin > last:
        (begin, _), (last, nbytes) = place(release, W2.replace("w2", "w3")), place(release, W2)
    damaged = (begin, last + nbytes - begin)
    before = locate_damage(release, {FILE: [damaged]})
    with (release / FILE).open("r+b") as stream:
        stream.seek(begin)
        stream.write(os.urandom(damaged[1]))
    assert locate_damage(release, {FILE: [damaged]}) == before
    assert {W2, W2.replace("w2", "w3")} <= {tensor.name for tensor in before.tensors}
    assert before.headers


@pytest.mark.parametrize("at", [1, 100, -30], ids=["first header", "pickle", "end"])
def test_a_file_of_torch_without_its_pickle_or_directory_is_said_to_be_one(release: Path, at: int) -> None:
    content = bytearray((release / FILE).read_bytes())
    content[at] ^= 0xFF
    (release / FILE).write_bytes(content)
    damage = locate_damage(release, {FILE: [(at % len(content), 1)]})
    assert damage.tensors == ()
    assert [one.file for one in damage.unreadable] == [FILE]
