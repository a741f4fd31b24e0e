import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.layout.mapping import Move, Segment, Turn, keep_tensors, map_tensors
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.stream import RECODING_BYTES
from magnetar.convert.write.convert import convert, forecast
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.plan import BUFFERS, INTERPRETER, Plan, Shard, pack_moves, plan_shards, shard_stem
from magnetar.errors import LayoutError, UsageError
from tests.convert.forge import DENSE, MOE, Tensors, write_release

METADATA = {"format": "pt"}


def specs_of(layout: str, architecture: object) -> dict:
    from magnetar.convert.formats.checkpoint import TensorSpec, tensor_bytes

    specs, position = {}, 100
    for tensor in LAYOUTS[layout].tensors(architecture).values():  # type: ignore[arg-type]
        nbytes = tensor_bytes("BF16", tensor.shape, "x", tensor.name)
        specs[tensor.name] = TensorSpec(tensor.name, "BF16", tensor.shape, 0, position, nbytes)
        position += nbytes + 64
    return specs


@given(
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from(sorted(LAYOUTS)),
    st.sampled_from([MOE, DENSE]),
    st.integers(1, 9000),
)
def test_every_byte_of_every_tensor_lands_exactly_once(
    source: str, target: str, architecture: object, shard_size: int
) -> None:
    if architecture is DENSE and "mistral-fused" in (source, target):
        return
    specs = specs_of(source, architecture)
    moves = map_tensors(specs, LAYOUTS[source], LAYOUTS[target], architecture)  # type: ignore[arg-type]
    shards = plan_shards(moves, stem="model", shard_size=shard_size, metadata=METADATA)
    ranges: dict[str, list[tuple[int, int]]] = {}
    for shard in shards:
        assert shard.payload <= shard_size or len(shard.moves) == 1
        for move in shard.moves:
            for segment in move.segments:
                ranges.setdefault(segment.tensor, []).append((segment.offset, segment.offset + segment.nbytes))
                assert segment.turn is Turn.COPY or segment.nbytes % segment.block == 0
    assert ranges.keys() == specs.keys()
    for name, found in ranges.items():
        edge = 0
        for begin, end in sorted(found):
            assert begin == edge
            edge = end
        assert edge == specs[name].nbytes


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 100))
def test_shards_are_full_but_never_over_full_and_keep_the_order(sizes: list[int], limit: int) -> None:
    moves = [Move(f"t{n:03}", "U8", (size,), (Segment(f"t{n:03}", 0, size),)) for n, size in enumerate(sizes)]
    shards = plan_shards(moves, stem="m", shard_size=limit, metadata={})
    assert [move for shard in shards for move in shard.moves] == moves
    for shard, following in pairwise(shards):
        assert shard.payload + following.moves[0].nbytes > limit
    names = [shard.file for shard in shards]
    count = len(shards)
    expected = [f"m-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    assert names == (["m.safetensors"] if count == 1 else expected)


def test_the_header_says_where_the_pieces_will_lie() -> None:
    specs = specs_of("mistral", MOE)
    moves = map_tensors(specs, LAYOUTS["mistral"], LAYOUTS["hf"], MOE)
    for shard in plan_shards(moves, stem="model", shard_size=4000, metadata=METADATA):
        header = json.loads(shard.header[8:])
        assert header.pop("__metadata__") == METADATA
        position = 0
        for move in shard.moves:
            assert header[move.name]["data_offsets"] == [position, position + move.nbytes]
            position += move.nbytes
        assert shard.nbytes == len(shard.header) + position
        assert len(shard.header) % 8 == 0


def copied(name: str, size: int, dtype: str = "U8") -> Move:
    """A tensor of ``size`` bytes that is copied from one of the same name."""
    itemsize = {"U8": 1, "BF16": 2, "F32": 4}[dtype]
    return Move(name, dtype, (size // itemsize,), (Segment(name, 0, size),))


@pytest.mark.parametrize(
    ("size", "alignment", "zeros"),
    [(1, 32, 31), (31, 32, 1), (32, 32, 0), (33, 32, 31), (64, 32, 0), (5, 1, 0), (0, 32, 0), (6, 4, 2)],
)
def test_a_tensor_is_padded_to_the_next_multiple_and_no_further(size: int, alignment: int, zeros: int) -> None:
    shard = Shard("f", b"head", (copied("a", size), copied("b", 7)), alignment)
    assert shard.padding(shard.moves[0]) == zeros
    assert (size + zeros) % alignment == 0
    assert shard.nbytes == 4 + size + zeros + 7 + -7 % alignment
    assert shard.payload == size + 7


@given(st.lists(st.integers(1, 50), min_size=1, max_size=9), st.sampled_from([1, 8, 32]), st.binary(max_size=40))
def test_a_file_can_be_continued_at_the_end_of_each_padded_tensor_and_nowhere_else(
    sizes: list[int], alignment: int, header: bytes
) -> None:
    moves = tuple(copied(f"t{number}", size) for number, size in enumerate(sizes))
    shard = Shard("f", header, moves, alignment)
    ends = {len(header): moves}
    position = len(header)
    for number, size in enumerate(sizes, start=1):
        position += -(-size // alignment) * alignment
        ends[position] = moves[number:]
    assert position == shard.nbytes
    for size in range(shard.nbytes + 2):
        assert shard.moves_after(size) == ends.get(size)


@pytest.mark.parametrize(
    ("limit", "packs"),
    [
        (9, [["a"], ["b"], ["c"]]),
        (10, [["a"], ["b"], ["c"]]),
        (19, [["a"], ["b"], ["c"]]),
        (20, [["a", "b"], ["c"]]),
        (29, [["a", "b"], ["c"]]),
        (30, [["a", "b", "c"]]),
        (31, [["a", "b", "c"]]),
        (1, [["a"], ["b"], ["c"]]),
        (None, [["a", "b", "c"]]),
    ],
)
def test_a_pack_may_have_exactly_the_bytes_of_the_limit(limit: int | None, packs: list[list[str]]) -> None:
    found = pack_moves([copied(name, 10) for name in "abc"], limit)
    assert [[move.name for move in pack] for pack in found] == packs


def test_without_an_alignment_nothing_is_padded() -> None:
    shard = Shard("f", b"", (copied("a", 3), copied("b", 7)))
    assert [shard.padding(move) for move in shard.moves] == [0, 0]
    assert shard.nbytes == 10


def test_no_tensors_are_no_packs() -> None:
    assert pack_moves([], 10) == []


@pytest.mark.parametrize("limit", [0, -1])
def test_a_pack_of_less_than_one_byte_is_refused(limit: int) -> None:
    with pytest.raises(UsageError, match="holds nothing"):
        pack_moves([copied("a", 10)], limit)


def test_shards_are_numbered_from_one_of_how_many() -> None:
    assert shard_stem("model", 0, 1) == "model"
    assert [shard_stem("model", number, 2) for number in range(2)] == ["model-00001-of-00002", "model-00002-of-00002"]


def test_a_plan_adds_up_its_files() -> None:
    wide, narrow = copied("wide", 40, "F32"), copied("narrow", 20, "BF16").to_dtype("F32")
    turned = Move("turned", "BF16", (4, 2), (Segment("turned", 0, 16, Turn.TRANSPOSE, 4, 2, 16),))
    plan = Plan((Shard("a", b"12345", (wide,), 32), Shard("b", b"", (narrow, turned))))
    assert plan.nbytes == (5 + 40 + 24) + (40 + 16)
    assert plan.payload == 40 + 40 + 16
    assert (plan.tensors, plan.turned) == (3, 1)
    assert plan.dtype == "F32"  # 80 bytes of it, and 16 of BF16
    assert plan.casts == {("BF16", "F32"): 1}


def test_the_memory_of_a_plan_is_that_of_its_largest_block_and_of_recoding() -> None:
    def peak(*moves: Move) -> int:
        return Plan((Shard("a", b"", moves),)).peak_memory

    small = Move("s", "BF16", (4, 2), (Segment("s", 0, 16, Turn.TRANSPOSE, 4, 2, 16),))
    large = Move("l", "BF16", (8, 2), (Segment("l", 0, 32, Turn.TRANSPOSE, 8, 2, 32),))
    nothing = peak(copied("a", 10))
    assert nothing == INTERPRETER + BUFFERS
    assert peak(copied("a", 10), small, large) == nothing + 32
    assert peak(copied("a", 10, "BF16").to_dtype("F32")) == nothing + RECODING_BYTES


def test_kept_tensors_are_copies() -> None:
    specs = specs_of("hf", DENSE)
    moves = keep_tensors(specs)
    assert {move.name: move.shape for move in moves} == {spec.name: spec.shape for spec in specs.values()}
    assert all(segment.turn is Turn.COPY for move in moves for segment in move.segments)


def test_a_plan_can_be_printed_before_anything_is_written(release: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    plan = forecast(ConvertRequest(release, tmp_path / "out", shard_size=5000))
    assert plan.steps[0].startswith("model-00001-of-00005.safetensors: ")
    assert any("q_proj.weight BF16 [32, 16] = split halves layers.0.attention.wq.weight" in line for line in plan.steps)
    assert (len(plan.files), plan.tensors, plan.turned) == (5, 35, 4)
    assert plan.missing > sum(file.size for file in plan.files) > 2 * MOE.total_parameters
    assert plan.free > 0
    assert 0 < plan.memory < 100 << 20
    assert sorted(tmp_path.rglob("*")) == before
    convert(ConvertRequest(release, tmp_path / "out", shard_size=5000))
    assert {file.path: file.size for file in plan.files}.items() <= {
        path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()
    }.items()


def test_a_plan_for_a_folder_that_is_not_ours_is_refused(release: Path) -> None:
    with pytest.raises(UsageError, match="lies in the source"):
        forecast(ConvertRequest(release, release / "out"))


def test_a_plans_digest_tells_sources_and_shards_apart(tmp_path: Path) -> None:
    digests = set()
    from tests.convert.forge import random_tensors

    tensors = random_tensors(MOE)
    for number, factor in enumerate((1, 1, 2)):
        folder = write_release(tmp_path / str(number), MOE, {name: t * factor for name, t in tensors.items()})
        with open_source(folder) as source:
            for size in (4000, 5000):
                moves = map_tensors(source.checkpoint.specs, LAYOUTS["mistral"], LAYOUTS["hf"], MOE)
                plan = Plan(plan_shards(moves, stem="model", shard_size=size, metadata=METADATA))
                digests.add(plan.digest(source.checkpoint.specs, "hf"))
    assert len(digests) == 4  # two sources that differ, two sizes; the copy of the first is the same source


def test_a_shard_must_hold_something(release: Path) -> None:
    with pytest.raises(UsageError, match="holds nothing"):
        forecast(ConvertRequest(release, release.parent / "out", shard_size=0))


def test_an_unknown_target_is_a_wrong_request(release: Path) -> None:
    with pytest.raises(UsageError, match="'onnx' is not known"):
        forecast(ConvertRequest(release, release.parent / "out", target="onnx"))


@settings(max_examples=5)
@given(st.sampled_from(["norm.weight", "output.weight"]))
def test_a_missing_tensor_is_found_before_a_byte_is_written(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    from tests.convert.forge import random_tensors

    folder = tmp_path_factory.mktemp("short")
    tensors: Tensors = random_tensors(MOE)
    del tensors[name]
    write_release(folder / "r", MOE, tensors)
    with pytest.raises(LayoutError, match=f"{name} is missing"):
        convert(ConvertRequest(folder / "r", folder / "out"))
    assert not (folder / "out").exists()
