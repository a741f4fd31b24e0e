import io
import os
import pickle
import pickletools
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.formats import pickle_reader
from magnetar.convert.formats.pickle_reader import read_pickle
from magnetar.convert.formats.state_dict import is_contiguous, read_state_dict
from magnetar.convert.read.checkpoint_source import open_checkpoint
from magnetar.errors import CheckpointError, ConversionError, UnsafePickle
from tests.convert.forge import forge_checkpoint

WHERE = "x.pth: data.pkl"


class Call:
    """An object whose pickle calls ``function`` when it is loaded."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> object:
        return self.reduced


def tensor_pickle(
    storage: bytes = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuK\4tQ",
    offset: bytes = b"K\0",
    shape: bytes = b"K\4\x85",
    strides: bytes = b"K\1\x85",
    function: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n",
    key: bytes = b"X\1\0\0\0x",
) -> bytes:
    """{"x": a tensor of four floats}, in protocol 2, part by part."""
    arguments = b"(" + storage + offset + shape + strides + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"\x80\2}" + key + function + arguments + b"Rs."


def test_the_forged_pickle_is_a_tensor() -> None:
    tensors, storages = read_state_dict(tensor_pickle(), WHERE)
    assert tensors["x"].shape == (4,)
    assert storages["0"].nbytes == 16


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("function", [os.system, subprocess.call, eval, exec, open], ids=lambda f: f.__name__)
def test_a_pickle_that_calls_is_refused_and_does_not_run(tmp_path: Path, protocol: int, function: object) -> None:
    canary = tmp_path / "canary"
    arguments = {open: (str(canary), "w")}.get(function, (f"touch {canary}",))  # type: ignore[call-overload]
    content = pickle.dumps({"x": Call(function, *arguments)}, protocol=protocol)
    (tmp_path / "consolidated.00.pth").write_bytes(forge_checkpoint(content, {}))
    with pytest.raises(UnsafePickle, match=r"names '.*(system|call|eval|exec|open)'"):
        open_checkpoint(tmp_path)
    assert not canary.exists()


def test_the_canary_would_have_sung(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {canary}")))
    assert canary.exists()


HOSTILE = {
    "a numpy array": pickle.dumps({"x": __import__("numpy").zeros(3)}, protocol=2),
    "a module": pickle.dumps({"x": torch.nn.Identity()}, protocol=2),
    "a namespace": pickle.dumps({"x": __import__("argparse").Namespace(a=1)}, protocol=2),
    "a set": pickle.dumps({"x": {1, 2}}, protocol=4),
    "an object made by INST": b"(ios\nsystem\n.",
    "an object made by OBJ": b"(cos\nsystem\no.",
    "an object made by NEWOBJ": b"\x80\2ccollections\nOrderedDict\n)\x81.",
    "an entry of the extension registry": b"\x80\2\x82\1.",
    "a persistent id in text": b"Pstorage\n.",
    "a second pickle behind the first": tensor_pickle() + b"cos\nsystem\n(X\2\0\0\0idtR.",
    "zeros behind the end": tensor_pickle() + b"\0\0",
    "a state for a tensor": tensor_pickle()[:-2] + b"}bs.",
    "a call of a storage": b"\x80\2ctorch\nFloatStorage\nK\4\x85R.",
    "a call of a number": b"\x80\2K\1)R.",
    "items set on a tuple": b"\x80\2)K\1K\2s.",
    "items appended to a dictionary": b"\x80\2}K\1a.",
    "a tuple for a key": b"\x80\2})K\1s.",
    "a persistent id of another kind": tensor_pickle(storage=b"(X\6\0\0\0moduleK\1tQ"),
    "a storage of a type that is no storage": tensor_pickle(
        storage=b"(X\7\0\0\0storageccollections\nOrderedDict\nX\1\0\0\0000X\3\0\0\0cpuK\4tQ"
    ),
    "a negative count": tensor_pickle(
        storage=b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0000X\3\0\0\0cpuJ\xff\xff\xff\xfftQ"
    ),
    "a tensor by a function that is not listed": tensor_pickle(function=b"ctorch._utils\n_rebuild_sparse_tensor\n"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_a_state_dict_does_not_need_is_refused(content: bytes) -> None:
    with pytest.raises(UnsafePickle, match="Nothing of it was run"):
        read_state_dict(content, WHERE)


DAMAGED = {
    "nothing": (b"", "not whole"),
    "half a pickle": (tensor_pickle()[:60], "not whole"),
    "a list": (b"\x80\2].", "holds a list"),
    "a number for a key": (tensor_pickle(key=b"K\1"), "'1' is not a name"),
    "a number for a tensor": (b"\x80\2}X\1\0\0\0xK\1s.", "not a name with a tensor"),
    "a key twice": (b"\x80\2}(X\1\0\0\0xK\1X\1\0\0\0xK\1u.", "'x' twice"),
    "a key without a value": (b"\x80\2}(X\1\0\0\0xu.", "key without a value"),
    "values left behind": (b"\x80\2K\1K\2.", "leaves values behind"),
    "an empty stack": (b"\x80\2\x85.", "more values than there are"),
    "no mark": (b"\x80\2K\1t.", "no mark"),
    "a value that was not kept": (b"\x80\2h\7.", "did not keep"),
    "a tensor beyond its storage": (tensor_pickle(shape=b"K\5\x85"), "beyond its storage"),
    "an offset beyond the storage": (tensor_pickle(offset=b"K\1"), "beyond its storage"),
    "a negative offset": (tensor_pickle(offset=b"J\xff\xff\xff\xff"), "impossible shape"),
    "a negative size": (tensor_pickle(shape=b"J\xff\xff\xff\xff\x85"), "impossible shape"),
    "a fraction for a size": (tensor_pickle(shape=b"G@\x10\0\0\0\0\0\0\x85"), "impossible shape"),
    "a stride of zero": (tensor_pickle(shape=b"J\0\0\0\x40\x85", strides=b"K\0\x85"), "not contiguous"),
    "a huge stride": (tensor_pickle(strides=b"J\0\0\0\x40\x85"), "not contiguous"),
    "fewer strides than sizes": (tensor_pickle(strides=b")"), "not contiguous"),
    "a size beyond all memory": (tensor_pickle(shape=b"\x8a\x09\0\0\0\0\0\0\0\0\1\x85"), "impossible shape"),
    "a million dimensions": (tensor_pickle(shape=b"(" + b"K\1" * 100_000 + b"t"), "impossible shape"),
}


@pytest.mark.parametrize(("content", "rule"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_pickle_is_refused_with_the_reason(content: bytes, rule: str) -> None:
    with pytest.raises(CheckpointError, match=rule):
        read_state_dict(content, WHERE)


def test_a_transposed_tensor_is_refused(tmp_path: Path) -> None:
    stream = io.BytesIO()
    torch.save({"x": torch.zeros(3, 4).T}, stream)
    (tmp_path / "x.pth").write_bytes(stream.getvalue())
    with pytest.raises(CheckpointError, match="not contiguous"):
        open_checkpoint(tmp_path / "x.pth")


@pytest.mark.parametrize("step", [b"N", b"\x94"], ids=["pushes", "keeps"])
def test_a_pickle_that_fills_the_memory_is_stopped_as_soon_as_it_holds_too_much(
    step: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_VALUES", 1000)
    done: list[bytes] = []
    instruction = pickle_reader.NAMES[step]
    work = pickle_reader.INSTRUCTIONS[instruction]
    counted = {instruction: lambda machine, argument: (done.append(step), work(machine, argument))}
    monkeypatch.setattr(pickle_reader, "INSTRUCTIONS", {**pickle_reader.INSTRUCTIONS, **counted})
    with pytest.raises(CheckpointError, match="more values"):
        read_state_dict(b"\x80\4N" + step * 5000 + b".", WHERE)
    assert 999 <= len(done) <= 1001


def test_tuples_in_tuples_in_tuples_cost_nothing() -> None:
    doubling = b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(200))
    with pytest.raises(ConversionError):
        read_state_dict(b"\x80\2)" + doubling + b"}K\1s.", WHERE)
    with pytest.raises(ConversionError):
        read_state_dict(b"\x80\2})" + doubling + b"K\1s.", WHERE)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, len(tensor_pickle())))
def test_any_bytes_are_read_or_refused(noise: bytes, keep: int) -> None:
    try:
        read_state_dict(tensor_pickle()[:keep] + noise, WHERE)
    except ConversionError:
        return


@given(st.lists(st.integers(0, 5), max_size=5), st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_contiguity_is_what_torch_says_it_is(shape: list[int], factors: list[int]) -> None:
    strides = [factor * step for factor, step in zip(factors, torch.zeros(shape).stride(), strict=False)]
    tensor = torch.empty_strided(shape, strides, device="meta")
    assert is_contiguous(tuple(shape), tuple(strides)) == tensor.is_contiguous()


def test_no_module_of_a_refused_pickle_is_imported() -> None:
    code = (
        "import sys\n"
        "from magnetar.convert.formats.state_dict import read_state_dict\n"
        "from magnetar.errors import UnsafePickle\n"
        "try: read_state_dict(b'cantigravity\\ngeohash\\n.', 'x')\n"
        "except UnsafePickle: print('antigravity' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_every_instruction_known_is_one_of_the_language() -> None:
    from magnetar.convert.formats.pickle_reader import INSTRUCTIONS

    assert set(INSTRUCTIONS) < {instruction.name for instruction in pickletools.opcodes}
    assert read_pickle(pickle.dumps([1, (2.5, None, True, "a", b"b"), {"c": []}]), _Nothing(), "x")[0] == [
        1,
        (2.5, None, True, "a", b"b"),
        {"c": []},
    ]


class _Nothing:
    """A world in which there is nothing to name."""

    def find(self, name: str) -> object:
        raise UnsafePickle(name)

    def load(self, persistent_id: object) -> object:
        raise UnsafePickle("outside")

    def call(self, function: object, arguments: object) -> object:
        raise UnsafePickle("call")
