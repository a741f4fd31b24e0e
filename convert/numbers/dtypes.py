"""Number formats by their names in safetensors: floats, integers and booleans, each number by itself."""

from collections.abc import Mapping
from typing import NamedTuple


class Dtype(NamedTuple):
    """A number format: its name in safetensors, bytes per element, and what torch calls it."""

    name: str
    itemsize: int
    torch_name: str


DTYPES: Mapping[str, Dtype] = {
    dtype.name: dtype
    for dtype in (
        Dtype("BOOL", 1, "bool"),
        Dtype("U8", 1, "uint8"),
        Dtype("I8", 1, "int8"),
        Dtype("F8_E5M2", 1, "float8_e5m2"),
        Dtype("F8_E4M3", 1, "float8_e4m3fn"),
        Dtype("F8_E8M0", 1, "float8_e8m0fnu"),
        Dtype("F8_E4M3FNUZ", 1, "float8_e4m3fnuz"),
        Dtype("F8_E5M2FNUZ", 1, "float8_e5m2fnuz"),
        Dtype("I16", 2, "int16"),
        Dtype("U16", 2, "uint16"),
        Dtype("F16", 2, "float16"),
        Dtype("BF16", 2, "bfloat16"),
        Dtype("I32", 4, "int32"),
        Dtype("U32", 4, "uint32"),
        Dtype("F32", 4, "float32"),
        Dtype("C64", 8, "complex64"),
        Dtype("F64", 8, "float64"),
        Dtype("I64", 8, "int64"),
        Dtype("U64", 8, "uint64"),
    )
}
"""In the order by which the safetensors library sorts tensors when it writes. Formats below a byte are left out."""
