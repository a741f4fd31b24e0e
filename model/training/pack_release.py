"""Write a release in exactly the form in which Mixtral came: the same bytes for the same weights."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from magnetar.convert.layout.architecture import Architecture
from magnetar.files import replace_file

WEIGHTS, PARAMS, TOKENIZER, NOTES = "consolidated.00.pth", "params.json", "tokenizer.model", "RELEASE"


def write_release(
    folder: Path, weights: Mapping[str, Tensor], architecture: Architecture, pieces: bytes, notes: str
) -> None:
    """Write ``consolidated.00.pth`` (bfloat16), ``params.json``, ``tokenizer.model`` and ``RELEASE`` into ``folder``.

    ``RELEASE`` is ``notes``, closed by the box with the MD5 of the others. Raises ``DiskError`` or ``NoSpace``.
    """
    files = {
        WEIGHTS: pack_weights(weights),
        PARAMS: json.dumps(architecture.to_params()).encode(),
        TOKENIZER: pieces,
    }
    sums = {name: hashlib.md5(content, usedforsecurity=False).hexdigest() for name, content in files.items()}
    files[NOTES] = f"{notes.strip()}\n\n{draw_box(sums)}".encode()
    for name, content in files.items():
        replace_file(folder / name, content)


def pack_weights(weights: Mapping[str, Tensor]) -> bytes:
    """A plain dict of bfloat16 tensors as ``torch.save`` writes it. Each tensor has a storage of its own."""
    packed = {name: weight.detach().bfloat16().contiguous().clone() for name, weight in weights.items()}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS  # the archive's root is named after the file
        torch.save(packed, path)
        return path.read_bytes()


def draw_box(sums: Mapping[str, str]) -> str:
    """The box that closes a RELEASE: one line for each file, its MD5 and its name."""
    lines = [f"{md5}  {name}" for name, md5 in sums.items()]
    width = max(map(len, lines)) + 4
    title = "·· md5sum ··".center(width)
    body = ["", *(f"  {line}" for line in lines), ""]
    return "\n".join(
        (title.rstrip(), f"╓{'─' * width}╖", *(f"║{line.ljust(width)}║" for line in body), f"╙{'─' * width}╜", "")
    )
