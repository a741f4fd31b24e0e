import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import ManifestError
from magnetar.manifests.hashing.digests import Digest, digest_file
from magnetar.manifests.tensor_digests import (
    MAX_SLICE_NUMBERS,
    MAX_SLICES,
    MAX_TENSOR_LIST_BYTES,
    SliceDigest,
    TensorDigest,
    TensorDigests,
    format_tensor_digests,
    load_tensor_digests,
    parse_tensor_digests,
)
from tests.effort import measured_effort

HEX = "ab" * 32
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,9}(\.[a-zé0-9_\"]{1,9}){0,3}", fullmatch=True)
TENSORS = st.builds(
    TensorDigest,
    dtype=st.sampled_from(["BF16", "F8_E4M3", "Q8_0"]),
    shape=st.lists(st.integers(0, 1 << 40), max_size=8).map(tuple),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
)


def document(**changes: object) -> bytes:
    return json.dumps({"format": 1, "layout": "mistral", "tensors": {"a": ["F32", [2], HEX]}, **changes}).encode()


@given(st.builds(TensorDigests, layout=st.just("mistral"), tensors=st.dictionaries(NAMES, TENSORS, min_size=1)))
def test_what_was_written_is_read_as_it_was(digests: TensorDigests) -> None:
    content = format_tensor_digests(digests)
    assert parse_tensor_digests(content, "x") == digests
    assert list(parse_tensor_digests(content, "x").tensors) == list(digests.tensors)
    assert len(content.splitlines()) == len(digests.tensors) + 2


@given(st.data(), st.dictionaries(NAMES, TENSORS, min_size=1))
def test_slices_are_read_as_they_were_written(data: st.DataObject, tensors: dict[str, TensorDigest]) -> None:
    sliced = {}
    for name, tensor in tensors.items():
        size = math.prod(tensor.shape)
        if size and len(sliced) < MAX_SLICES:
            count = data.draw(st.integers(1, min(size, MAX_SLICE_NUMBERS)))
            sliced[name] = SliceDigest(data.draw(st.integers(0, min(size - count, (1 << 48) - 1))), count, HEX)
    digests = TensorDigests("hf", tensors, sliced)
    assert parse_tensor_digests(format_tensor_digests(digests), "x") == digests


def test_a_list_that_is_not_the_one_that_was_pinned_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tensors.json"
    path.write_bytes(document())
    (pinned,) = digest_file(path, ["sha256"], lambda _count: None)
    assert load_tensor_digests(path, pinned) == load_tensor_digests(path)
    path.write_bytes(document(layout="hf"))
    with pytest.raises(ManifestError, match="is not the list of tensors that the manifest names"):
        load_tensor_digests(path, pinned)
    with pytest.raises(ManifestError, match="cannot be read"):
        load_tensor_digests(tmp_path / "nothing", Digest("sha256", HEX))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is not a list"),
        (b"\xff", "is not a list"),
        (b"[]", "is not one JSON object"),
        (b"[" * 100_000, "is not a list"),
        (b'{"format": ' + b"1" * 10_000 + b"}", "is not a list"),
        (b'{"format": NaN}', "NaN is no number"),
        (b'{"format": 1, "format": 1}', "twice"),
        (document().replace(b'{"a"', b'{"a": 1, "a"'), "twice"),
        (document(format=2), "upgrade|of format 2"),
        (document(format=True), "format is"),
        (document(format=1.0), "format is"),
        (document(extra=1), "look at extra"),
        (document(slices=[]), "slices should be an object"),
        (document(slices={f"t{n}": [0, 1, HEX] for n in range(65)}), "at most 64"),
        (document(slices={"b": [0, 1, HEX]}), "no tensor of this release"),
        (document(slices={"a": [0, 1]}), "first number, their count"),
        (document(slices={"a": {"first": 0}}), "first number, their count"),
        (document(slices={"a": [0, 0, HEX]}), "1 to 65536"),
        (document(slices={"a": [-1, 1, HEX]}), "1 to 65536"),
        (document(slices={"a": [0, True, HEX]}), "1 to 65536"),
        (document(slices={"a": [0.0, 1, HEX]}), "1 to 65536"),
        (document(slices={"a": [0, 3, HEX]}), "beyond its tensor"),
        (document(slices={"a": [2, 1, HEX]}), "beyond its tensor"),
        (document(slices={"a": [0, 1, HEX.upper()]}), "no SHA-256"),
        (document(layout="../x"), "no layout's name"),
        (document(layout=1), "no layout's name"),
        (document(tensors={}), "at least one"),
        (document(tensors=[]), "at least one"),
        (document(tensors={"": ["F32", [2], HEX]}), "plain tensor name"),
        (document(tensors={"../x": ["F32", [2], HEX]}), "plain tensor name"),
        (document(tensors={"a\x1b[2J": ["F32", [2], HEX]}), "plain tensor name"),
        (document(tensors={"a" * 513: ["F32", [2], HEX]}), "plain tensor name"),
        (document(tensors={"a": "F32"}), "should be a list"),
        (document(tensors={"a": ["F32", [2]]}), "should be a list"),
        (document(tensors={"a": [["F32"], [2], HEX]}), "has the dtype"),
        (document(tensors={"a": ["f32\n", [2], HEX]}), "has the dtype"),
        (document(tensors={"a": ["F32", [-1], HEX]}), "impossible shape"),
        (document(tensors={"a": ["F32", [True], HEX]}), "impossible shape"),
        (document(tensors={"a": ["F32", [1 << 48], HEX]}), "impossible shape"),
        (document(tensors={"a": ["F32", [1] * 9, HEX]}), "impossible shape"),
        (document(tensors={"a": ["F32", {}, HEX]}), "impossible shape"),
        (document(tensors={"a": ["F32", [2], HEX.upper()]}), "no SHA-256"),
        (document(tensors={"a": ["F32", [2], HEX + "\n"]}), "no SHA-256"),
        (document(tensors={"a": ["F32", [2], None]}), "no SHA-256"),
        (b" " * (MAX_TENSOR_LIST_BYTES + 1), "is larger than"),
    ],
)
def test_hostile_lists_are_refused_with_the_reason(content: bytes, reason: str) -> None:
    with pytest.raises(ManifestError, match=reason):
        parse_tensor_digests(content, "tensors.json")


def test_the_largest_hostile_list_takes_little_work() -> None:
    for content in (
        b'{"a":' * (MAX_TENSOR_LIST_BYTES // 5),
        b"[0," * (MAX_TENSOR_LIST_BYTES // 3),
        b'{"format": 1, "x": "' + b"a" * (MAX_TENSOR_LIST_BYTES - 99),
    ):
        with measured_effort() as effort, pytest.raises(ManifestError):
            parse_tensor_digests(content, "tensors.json")
        assert effort.units < 3000


def test_the_bundled_release_ships_with_the_digests_of_its_tensors() -> None:
    folder = Path(__file__).parents[2] / "manifests"
    digests = load_tensor_digests(folder / "austen-moe.tensors.json")
    assert (digests.layout, len(digests.tensors)) == ("mistral", 127)
