"""What the pickle of a state dict describes: storages of numbers, and the tensors that lie in them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from magnetar.convert.formats.checkpoint import MAX_DIMENSIONS
from magnetar.convert.formats.pickle_reader import Value, read_pickle, unsafe
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.errors import CheckpointError

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
SIZE = "torch Size"
REBUILD_PARAMETER = "torch._utils _rebuild_parameter"
REBUILD_V3 = "torch._utils _rebuild_tensor_v3"
REBUILD_TENSORS = ("torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2", REBUILD_V3)
ALLOWED = frozenset({ORDERED_DICT, SIZE, REBUILD_PARAMETER, *REBUILD_TENSORS, *STORAGES, *TORCH_DTYPES})
WRAPPERS = ("state_dict", "model")


@dataclass(frozen=True, slots=True)
class Name:
    """A global of the allow-list, as text only: nothing is imported."""

    text: str


@dataclass(frozen=True, slots=True)
class Storage:
    """``nbytes`` of numbers, stored in the container under ``key``."""

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


def read_state_dict(content: bytes, where: str) -> tuple[dict[str, StoredTensor], dict[str, Storage]]:
    """The tensors of a state dict by name, and every storage that its pickle mentions, by key.

    The state dict may also be the entry ``state_dict`` or ``model`` of the dictionary in the pickle.
    Raises ``UnsafePickle`` for what a state dict does not need, ``CheckpointError`` for what is damaged.
    """
    resolver = _StateDictResolver(where)
    root, _ = read_pickle(content, resolver, where)
    return _check_root(root, where), resolver.storages


def read_leading_state_dict(content: bytes, where: str) -> tuple[dict[str, StoredTensor], dict[str, Storage], int]:
    """The same where more bytes follow the pickle, and the pickle's length. Raises as ``read_state_dict``."""
    resolver = _StateDictResolver(where)
    root, length = read_pickle(content, resolver, where, may_go_on=True)
    return _check_root(root, where), resolver.storages, length


def _check_root(root: Value, where: str) -> dict[str, StoredTensor]:
    if type(root) is not dict:
        raise CheckpointError(f"{where}: holds a {type(root).__name__}, not a dictionary of tensors")
    inside: Value = next((root[name] for name in WRAPPERS if type(root.get(name)) is dict), root)
    tensors: dict[str, StoredTensor] = {}
    for key, value in inside.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise CheckpointError(f"{where}: {str(key)[:80]!r} is not a name with a tensor")
        tensors[key] = value
    return tensors


def needed_bytes(content: bytes, where: str) -> int:
    """The least number of bytes in a file from where a state dict's pickle begins: the pickle's and its storages'.

    Raises what ``read_state_dict`` raises.
    """
    resolver = _StateDictResolver(where)
    _, length = read_pickle(content, resolver, where, may_go_on=True)
    return length + sum(storage.nbytes for storage in resolver.storages.values())


class _StateDictResolver:
    """Knows the names of the allow-list, storages, and the four calls that a state dict makes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.storages: dict[str, Storage] = {}

    def find(self, name: str) -> Name:
        if name not in ALLOWED:
            raise unsafe(self.where, f"names {name.replace(' ', '.')[:200]!r}")
        return Name(name)

    def load(self, persistent_id: Value) -> Storage:
        """Read ``("storage", type, key, location, count)``, as ``torch.save`` writes it; before 1.6 a None follows."""
        match persistent_id:
            case ("storage", Name(kind), str(key), str(), int(count), *rest) if (
                kind in STORAGES and count >= 0 and rest in ([], [None])
            ):
                dtype = STORAGES[kind]
                storage = Storage(key, dtype, count * DTYPES[dtype].itemsize)
            case _:
                raise unsafe(self.where, "refers to something outside that is not a storage")
        if self.storages.setdefault(key, storage) != storage:
            raise self.damaged(f"describes the storage {key[:80]!r} in two ways")
        return storage

    def call(self, function: Value, arguments: Value) -> Value:
        if not isinstance(function, Name):
            raise unsafe(self.where, "calls something that is not a name")
        match function.text, arguments:
            case "collections OrderedDict", ():
                return {}
            case "torch Size", (tuple(sizes),):
                return sizes
            case "torch._utils _rebuild_parameter", (StoredTensor() as tensor, *_):
                return tensor
            case text, (Storage() as storage, int(offset), tuple(shape), tuple(strides), *rest) if (
                text in REBUILD_TENSORS
            ):
                dtype = self._stated_dtype(rest) if text == REBUILD_V3 else storage.dtype
                return self._rebuild(storage, dtype, offset, shape, strides)
        raise unsafe(self.where, f"calls {function.text.replace(' ', '.')} with odd arguments")

    def _stated_dtype(self, rest: list[Value]) -> str:
        """The dtype that version 3 states after requires_grad and the hooks. Older versions take the storage's."""
        match rest:
            case [_, _, Name(text), *_] if text in TORCH_DTYPES:
                return TORCH_DTYPES[text]
        raise unsafe(self.where, "rebuilds a tensor of no dtype")

    def _rebuild(
        self, storage: Storage, dtype: str, offset: int, shape: tuple[Value, ...], strides: tuple[Value, ...]
    ) -> StoredTensor:
        """Check that a tensor lies inside its storage. Only contiguous tensors: others could grow without bound."""
        numbers = (offset, *shape, *strides)
        if max(len(shape), len(strides)) > MAX_DIMENSIONS or not all(_is_count(number) for number in numbers):
            raise self.damaged("has a tensor with an impossible shape")
        if len(shape) != len(strides) or not is_contiguous(shape, strides):
            raise self.damaged(f"has a tensor of shape {list(shape[:8])} that is not contiguous")
        itemsize = DTYPES[dtype].itemsize
        nbytes = math.prod(shape) * itemsize
        if offset * itemsize + nbytes > storage.nbytes:
            raise self.damaged(f"has a tensor of shape {list(shape[:8])} that reaches beyond its storage")
        return StoredTensor(storage, dtype, shape, offset * itemsize, nbytes)

    def damaged(self, what: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the pickle {what}", hint="get the file from its publisher again")


def _is_count(number: Value) -> bool:
    return type(number) is int and 0 <= number < 1 << 63


def is_contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Whether elements follow one another row by row. The stride of a dimension of size one does not matter."""
    if 0 in shape:
        return True
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
