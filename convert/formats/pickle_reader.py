"""Read a pickle without running it: an interpreter of the few instructions that plain data needs.

Nothing is ever imported or called. What a name, a persistent id or a call stands for is asked of a :class:`Resolver`,
which knows a few of each and refuses all others. How instructions are encoded is described in the standard library's
pickletools.py.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from magnetar.errors import CheckpointError, UnsafePickle

MAX_PICKLE_BYTES = 64 << 20
"""A state dict takes about 200 bytes for each tensor, so this is room for three hundred thousand tensors."""

MAX_VALUES = 4_000_000
"""On the stack and in the memo together: a small pickle could fill memory with them."""

Value = Any
"""None, bool, int, float, str, bytes, tuple, list, dict, or what a resolver returned."""


class Resolver(Protocol):
    """Decides what a pickle may refer to. Each method raises ``UnsafePickle`` for what it does not know."""

    def find(self, name: str) -> Value:
        """The value in the place of a global, which is named as "module attribute"."""
        ...

    def load(self, persistent_id: Value) -> Value:
        """The value in the place of something outside of the pickle."""
        ...

    def call(self, function: Value, arguments: Value) -> Value:
        """The value in the place of the result of a call."""
        ...


def read_pickle(content: bytes, resolver: Resolver, where: str, *, may_go_on: bool = False) -> tuple[Value, int]:
    """The value that a pickle describes, and the pickle's length in bytes.

    The value is made of plain values and of what ``resolver`` returns. ``where`` names the file in messages. Raises
    ``UnsafePickle`` for an instruction that data does not need, and for bytes after the pickle's end unless it
    ``may_go_on``; ``CheckpointError`` for a pickle that is damaged or too large.
    """
    if len(content) > MAX_PICKLE_BYTES:
        raise CheckpointError(f"{where}: a pickle of {len(content)} bytes is no checkpoint's")
    machine = _Machine(resolver, where)
    stream = io.BytesIO(content)
    value = machine.run(stream)
    rest = len(content) - stream.tell()
    if rest and not may_go_on:
        raise unsafe(where, f"goes on for {rest} bytes after its end")
    return value, stream.tell()


def unsafe(where: str, what: str) -> UnsafePickle:
    """The error for a pickle that does more than hold data."""
    return UnsafePickle(
        f"{where}: the pickle {what}, which no checkpoint needs. Nothing of it was run",
        hint="do not open this file with other tools; get the release from its publisher",
    )


class _Mark:
    """Lies on the stack where a run of values begins."""


MARK = _Mark()


class _Machine:
    """The interpreter, with the stack and the memo of one pickle."""

    def __init__(self, resolver: Resolver, where: str) -> None:
        self.resolver = resolver
        self.where = where
        self.stack: list[Value] = []
        self.memo: dict[int, Value] = {}

    def run(self, stream: io.BytesIO) -> Value:
        """Read up to the first STOP."""
        while self._step(stream) != "STOP":
            if len(self.stack) + len(self.memo) > MAX_VALUES:
                raise self.damaged("holds more values than a checkpoint can")
        value = self.pop()
        if self.stack:
            raise self.damaged("leaves values behind")
        return value

    def _step(self, stream: io.BytesIO) -> str:
        """Carry out one instruction; return its name. One that is not known is refused before its argument is read."""
        name = NAMES.get(stream.read(1), "")
        if not name:
            raise self.damaged("is not whole, or no pickle")
        if name != "STOP":
            step = INSTRUCTIONS.get(name)
            if step is None:
                raise unsafe(self.where, f"uses the instruction {name}")
            try:
                argument = ARGUMENTS[name](stream) if name in ARGUMENTS else None
            except (struct.error, UnicodeDecodeError, EOFError) as error:
                raise self.damaged(f"is not whole: {name} lacks its argument") from error
            step(self, argument)
        return name

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the pickle {what}", hint="fetch the file again")

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
        if not self.stack or type(self.stack[-1]) is not kind:
            raise unsafe(self.where, f"sets items of something that is not a {kind.__name__}")
        return self.stack[-1]

    def put(self, index: int) -> None:
        self.memo[index] = self.pop()
        self.push(self.memo[index])

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise self.damaged(f"refers to a value {index} that it did not keep")
        self.push(self.memo[index])

    def find_from_stack(self) -> None:
        attribute, module = self.pop(), self.pop()
        if not isinstance(attribute, str) or not isinstance(module, str):
            raise self.damaged("names something by what is no text")
        self.push(self.resolver.find(f"{module} {attribute}"))

    def set_items(self, run: list[Value]) -> None:
        target = self.top(dict)
        if len(run) % 2:
            raise self.damaged("sets a key without a value")
        for key, value in zip(run[::2], run[1::2], strict=True):
            if not isinstance(key, str) and not _is_small(key):
                # A nested tuple can be made that takes for ever to hash, and large numbers can be made to collide.
                raise unsafe(self.where, f"has a {type(key).__name__} for a key")
            if key in target:
                raise self.damaged(f"has the key {str(key)[:80]!r} twice")
            target[key] = value

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def append(self, run: list[Value]) -> None:
        self.top(list).extend(run)

    def build(self) -> None:
        """Ignore the state of a dictionary: ``state_dict()`` attaches ``_metadata``. Nothing else may have a state."""
        state = self.pop()
        self.top(dict)
        if type(state) is not dict:
            raise unsafe(self.where, "gives a dictionary a state")

    def call(self) -> None:
        arguments, function = self.pop(), self.pop()
        self.push(self.resolver.call(function, arguments))

    def push_tuple(self, count: int) -> None:
        values = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(values)))

    def push_dict(self, run: list[Value]) -> None:
        self.push({})
        self.set_items(run)


def _is_small(key: Value) -> bool:
    return isinstance(key, int) and 0 <= key < 1 << 31


NAMES: Mapping[bytes, str] = {opcode.code.encode("latin-1"): opcode.name for opcode in pickletools.opcodes}


def _read(stream: io.BytesIO, length: int) -> bytes:
    content = stream.read(length)
    if len(content) != length:
        raise EOFError
    return content


def _number(form: str) -> Callable[[io.BytesIO], Any]:
    size = struct.calcsize(form)
    return lambda stream: struct.unpack(form, _read(stream, size))[0]


def _counted(form: str) -> Callable[[io.BytesIO], bytes]:
    """Reads a count, and then so many bytes."""
    count = _number(form)
    return lambda stream: _read(stream, count(stream))


def _text(form: str) -> Callable[[io.BytesIO], str]:
    counted = _counted(form)
    return lambda stream: counted(stream).decode("utf-8", "surrogatepass")


def _lines(stream: io.BytesIO) -> str:
    """Two lines, joined by a space."""
    lines = [stream.readline(), stream.readline()]
    if not all(line.endswith(b"\n") for line in lines):
        raise EOFError
    return " ".join(line[:-1].decode() for line in lines)


ARGUMENTS: Mapping[str, Callable[[io.BytesIO], Value]] = {
    **dict.fromkeys(("PROTO", "BININT1", "BINPUT", "BINGET"), _number("<B")),
    **dict.fromkeys(("LONG_BINPUT", "LONG_BINGET"), _number("<I")),
    "BININT": _number("<i"),
    "BININT2": _number("<H"),
    "FRAME": _number("<Q"),
    "BINFLOAT": _number(">d"),
    "LONG1": lambda stream: int.from_bytes(_counted("<B")(stream), "little", signed=True),
    "BINUNICODE": _text("<I"),
    "SHORT_BINUNICODE": _text("<B"),
    "SHORT_BINBYTES": _counted("<B"),
    "GLOBAL": _lines,
}

INSTRUCTIONS: Mapping[str, Callable[[_Machine, Value], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"), lambda machine, argument: machine.push(argument)
    ),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "SHORT_BINBYTES"),
        lambda machine, argument: machine.push(argument),
    ),
    "NONE": lambda machine, argument: machine.push(None),
    "NEWTRUE": lambda machine, argument: machine.push(True),
    "NEWFALSE": lambda machine, argument: machine.push(False),
    "MARK": lambda machine, argument: machine.push(MARK),
    "EMPTY_DICT": lambda machine, argument: machine.push({}),
    "EMPTY_LIST": lambda machine, argument: machine.push([]),
    "EMPTY_TUPLE": lambda machine, argument: machine.push(()),
    "TUPLE1": lambda machine, argument: machine.push_tuple(1),
    "TUPLE2": lambda machine, argument: machine.push_tuple(2),
    "TUPLE3": lambda machine, argument: machine.push_tuple(3),
    "TUPLE": lambda machine, argument: machine.push(tuple(machine.pop_run())),
    "LIST": lambda machine, argument: machine.push(machine.pop_run()),
    "DICT": lambda machine, argument: machine.push_dict(machine.pop_run()),
    "SETITEM": lambda machine, argument: machine.set_item(),
    "SETITEMS": lambda machine, argument: machine.set_items(machine.pop_run()),
    "APPEND": lambda machine, argument: machine.append([machine.pop()]),
    "APPENDS": lambda machine, argument: machine.append(machine.pop_run()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda machine, argument: machine.put(argument)),
    "MEMOIZE": lambda machine, argument: machine.put(len(machine.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, argument: machine.get(argument)),
    "GLOBAL": lambda machine, argument: machine.push(machine.resolver.find(argument)),
    "STACK_GLOBAL": lambda machine, argument: machine.find_from_stack(),
    "BINPERSID": lambda machine, argument: machine.push(machine.resolver.load(machine.pop())),
    "REDUCE": lambda machine, argument: machine.call(),
    "BUILD": lambda machine, argument: machine.build(),
}
"""Every instruction that a checkpoint needs. INST, OBJ, NEWOBJ and the extension registry are left out on purpose."""
