"""Reading the pickle of a state dict without running it: a small machine that knows the few instructions it needs.

The standard library's disassembler splits the stream; nothing is ever imported or called. A name outside
the lists below, or an instruction that a state dict does not need, ends the reading with that name in the message.
"""

import math
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from magnetar.convert.checkpoint import DTYPES
from magnetar.errors import CheckpointError, UnsafePickle

LARGEST_PICKLE = 64 << 20
"""A state dict takes about 200 bytes for each tensor; this is room for three hundred thousand."""

MOST_VALUES = 4_000_000
"""Bounds what a pickle that only pushes and memoises can make us hold."""

STORAGES: Mapping[str, str] = {
    "torch FloatStorage": "F32",
    "torch HalfStorage": "F16",
    "torch BFloat16Storage": "BF16",
    "torch DoubleStorage": "F64",
    "torch LongStorage": "I64",
    "torch IntStorage": "I32",
    "torch ShortStorage": "I16",
    "torch CharStorage": "I8",
    "torch ByteStorage": "U8",
    "torch BoolStorage": "BOOL",
    "torch ComplexFloatStorage": "C64",
    "torch.storage UntypedStorage": "U8",
}
TORCH_DTYPES: Mapping[str, str] = {f"torch {dtype.torch_name}": dtype.name for dtype in DTYPES.values()}

ORDERED_DICT = "collections OrderedDict"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
REBUILD_TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3")
SIZE = "torch Size"
ALLOWED = frozenset({ORDERED_DICT, REBUILD_PARAMETER, SIZE, *REBUILD_TENSORS, *STORAGES, *TORCH_DTYPES})

Value = Any
"""What a pickle can hold here: None, bool, int, float, str, bytes, tuple, list, dict, and the classes below."""


@dataclass(frozen=True, slots=True)
class Name:
    """A name of the allow-list, as a word: it is never resolved."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage by its key in the container, holding ``nbytes``."""

    key: str
    dtype: str
    nbytes: int


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A contiguous tensor: ``offset`` and ``nbytes`` are bytes inside its storage."""

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int


class _Mark:
    """Where a run of values on the stack begins."""


MARK = _Mark()


def read_state_dict(content: bytes, where: str) -> tuple[dict[str, StoredTensor], dict[str, Storage]]:
    """The tensors that a state dict's pickle names, and every storage that it mentions, by key.

    A dictionary that holds the state dict under ``state_dict`` or ``model`` is opened once.
    Raises ``UnsafePickle`` for what a state dict does not need, ``CheckpointError`` for what is damaged.
    """
    machine = _Machine(where)
    root = machine.run(content)
    if not isinstance(root, dict):
        raise CheckpointError(f"{where}: holds a {type(root).__name__}, not a dictionary of tensors")
    for wrapper in ("state_dict", "model"):
        if isinstance(root.get(wrapper), dict):
            root = root[wrapper]
            break
    for key, value in root.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise CheckpointError(f"{where}: {str(key)[:80]!r} is not a name with a tensor")
    return root, machine.storages


class _Machine:
    """The stack, the memo and the storages met, while one pickle is read."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.stack: list[Value] = []
        self.memo: dict[int, Value] = {}
        self.storages: dict[str, Storage] = {}

    def run(self, content: bytes) -> Value:
        """Read the whole stream; it must end with its first STOP."""
        if len(content) > LARGEST_PICKLE:
            raise CheckpointError(f"{self.where}: a pickle of {len(content)} bytes is no state dict's")
        end = 0
        for name, argument, position in self._instructions(content):
            if name == "STOP":
                end = position + 1
                break
            step = INSTRUCTIONS.get(name)
            if step is None:
                raise self.unsafe(f"uses the instruction {name}")
            step(self, argument)
            if len(self.stack) + len(self.memo) > MOST_VALUES:
                raise CheckpointError(f"{self.where}: holds more values than a state dict can")
        if end != len(content):
            raise self.unsafe(f"goes on for {len(content) - end} bytes after its end")
        value = self.pop()
        if self.stack:
            raise self.damaged("leaves values behind")
        return value

    def _instructions(self, content: bytes) -> Iterator[tuple[str, Value, int]]:
        try:
            for instruction, argument, position in pickletools.genops(content):
                yield instruction.name, argument, position or 0
        except (ValueError, UnicodeError, EOFError, OverflowError) as error:
            raise CheckpointError(f"{self.where}: is not a whole pickle: {error}") from error

    def unsafe(self, what: str) -> UnsafePickle:
        return UnsafePickle(
            f"{self.where}: the pickle {what}, which a state dict does not need. Nothing of it was run",
            hint="do not open this file with torch.load; get the release from its publisher",
        )

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the pickle {what}")

    def push(self, value: Value) -> None:
        self.stack.append(value)

    def pop(self) -> Value:
        if not self.stack or self.stack[-1] is MARK:
            raise self.damaged("takes more values than there are")
        return self.stack.pop()

    def pop_run(self) -> list[Value]:
        """The values above the last mark, which goes too."""
        for index in range(len(self.stack) - 1, -1, -1):
            if self.stack[index] is MARK:
                run = self.stack[index + 1 :]
                del self.stack[index:]
                return run
        raise self.damaged("has no mark where it needs one")

    def top(self, kind: type) -> Value:
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise self.unsafe(f"sets items of something that is not a {kind.__name__}")
        return self.stack[-1]

    def put(self, index: int) -> None:
        self.memo[index] = self.pop()
        self.push(self.memo[index])

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.damaged(f"refers to a value {index} that it did not keep")
        self.push(self.memo[index])

    def name(self, text: str) -> None:
        if text not in ALLOWED:
            raise self.unsafe(f"names {text.replace(' ', '.')[:200]!r}")
        self.push(Name(text))

    def name_from_stack(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise self.damaged("names something by what is no text")
        self.name(f"{module} {attribute}")

    def set_items(self, run: list[Value]) -> None:
        target = self.top(dict)
        if len(run) % 2:
            raise self.damaged("sets a key without a value")
        for key, value in zip(run[::2], run[1::2], strict=True):
            self.check_key(key)
            if key in target:
                raise self.damaged(f"has the key {str(key)[:80]!r} twice")
            target[key] = value

    def check_key(self, key: Value) -> None:
        """Only text and whole numbers: hashing a nested tuple can be made to take for ever."""
        if not isinstance(key, str | int):
            raise self.unsafe(f"has a {type(key).__name__} for a key")

    def build(self) -> None:
        """``state_dict()`` hangs ``_metadata`` on its dictionary; nothing else may be given a state."""
        state = self.pop()
        self.top(dict)
        if not isinstance(state, dict):
            raise self.unsafe("gives a dictionary a state")

    def load_storage(self) -> None:
        """A persistent id: ``("storage", type, key, location, count)``, as ``torch.save`` writes it."""
        match self.pop():
            case ("storage", Name(kind), str(key), str(), int(count)) if kind in STORAGES and count >= 0:
                dtype = STORAGES[kind]
                storage = Storage(key, dtype, count * DTYPES[dtype].itemsize)
            case _:
                raise self.unsafe("refers to something outside that is not a storage")
        if self.storages.setdefault(key, storage) != storage:
            raise self.damaged(f"describes the storage {key[:80]!r} in two ways")
        self.push(storage)

    def reduce(self) -> None:
        """A call, of which four kinds are known; each only makes one of our own values."""
        arguments, function = self.pop(), self.pop()
        match function, arguments:
            case Name(text), () if text == ORDERED_DICT:
                self.push({})
            case Name(text), (list(pairs),) if text == ORDERED_DICT:
                self.push({})
                self.set_items([half for pair in pairs for half in self.as_pair(pair)])
            case Name(text), (tuple(sizes),) if text == SIZE:
                self.push(sizes)
            case Name(text), (StoredTensor() as tensor, *_) if text == REBUILD_PARAMETER:
                self.push(tensor)
            case Name(text), (Storage() as storage, int(offset), tuple(shape), tuple(strides), *rest) if (
                text in REBUILD_TENSORS
            ):
                self.push(self.rebuild(storage, self.dtype_of(storage, text, rest), offset, shape, strides))
            case Name(text), _:
                raise self.unsafe(f"calls {text.replace(' ', '.')} with odd arguments")
            case _:
                raise self.unsafe("calls something that is not a name")

    def as_pair(self, pair: Value) -> tuple[Value, Value]:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise self.damaged("makes a dictionary of what are not pairs")
        return pair[0], pair[1]

    def dtype_of(self, storage: Storage, function: str, rest: list[Value]) -> str:
        """Version 3 states the dtype, after requires_grad and the hooks; before, it is the storage's."""
        if function != REBUILD_TENSORS[2]:
            return storage.dtype
        match rest:
            case [_, _, Name(text), *_] if text in TORCH_DTYPES:
                return TORCH_DTYPES[text]
        raise self.unsafe("rebuilds a tensor of no dtype")

    def rebuild(
        self, storage: Storage, dtype: str, offset: int, shape: tuple[Value, ...], strides: tuple[Value, ...]
    ) -> StoredTensor:
        """Hold a tensor's place against its storage. Only contiguous tensors: others could grow without bound."""
        if not all(type(number) is int and number >= 0 for number in (offset, *shape, *strides)):
            raise self.damaged("has a tensor with an impossible shape")
        if len(shape) != len(strides) or not is_contiguous(shape, strides):
            raise self.damaged(f"has a tensor of shape {list(shape[:8])} that is not contiguous")
        itemsize = DTYPES[dtype].itemsize
        nbytes = math.prod(shape) * itemsize
        if offset * itemsize + nbytes > storage.nbytes:
            raise self.damaged(f"has a tensor of shape {list(shape[:8])} that reaches beyond its storage")
        return StoredTensor(storage, dtype, shape, offset * itemsize, nbytes)


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements follow one another row by row. The stride of a dimension of one says nothing."""
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


Instruction = Callable[[_Machine, Value], None]


def _push_argument(machine: _Machine, argument: Value) -> None:
    machine.push(argument)


def _push_tuple(count: int) -> Instruction:
    def push(machine: _Machine, _argument: Value) -> None:
        values = [machine.pop() for _ in range(count)]
        machine.push(tuple(reversed(values)))

    return push


def _pairs(machine: _Machine, values: list[Value]) -> None:
    machine.push({})
    machine.set_items(values)


def _set_item(machine: _Machine, _argument: Value) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _append(machine: _Machine, values: list[Value]) -> None:
    machine.top(list).extend(values)


INSTRUCTIONS: Mapping[str, Instruction] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG1", "BINFLOAT"), _push_argument),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINSTRING", "SHORT_BINBYTES"), _push_argument),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "MARK": lambda machine, argument: machine.push(MARK),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_TUPLE": _push_tuple(0),
    "TUPLE1": _push_tuple(1),
    "TUPLE2": _push_tuple(2),
    "TUPLE3": _push_tuple(3),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.pop_run())),
    "LIST": lambda machine, argument: machine.push(machine.pop_run()),
    "DICT": lambda machine, argument: _pairs(machine, machine.pop_run()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, argument: machine.set_items(machine.pop_run()),
    "APPEND": lambda machine, argument: _append(machine, [machine.pop()]),
    "APPENDS": lambda machine, argument: _append(machine, machine.pop_run()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.put(argument)),
    "MEMOIZE": lambda machine, argument: machine.put(len(machine.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.get(argument)),
    "GLOBAL": lambda machine, argument: machine.name(argument),
    "STACK_GLOBAL": lambda machine, argument: machine.name_from_stack(),
    "BINPERSID": lambda machine, argument: machine.load_storage(),
    "REDUCE": lambda machine, argument: machine.reduce(),
    "BUILD": lambda machine, argument: machine.build(),
}
"""Every instruction that a state dict needs. INST, OBJ, NEWOBJ and the extension registry are not among them."""
