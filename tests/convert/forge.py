"""Small real checkpoints, written by torch, and the means to make hostile ones."""

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import LAYOUTS

Tensors = dict[str, torch.Tensor]

MOE = Architecture(
    dim=16,
    n_layers=2,
    head_dim=8,
    hidden_dim=24,
    n_heads=4,
    n_kv_heads=2,
    norm_eps=1e-5,
    vocab_size=40,
    rope_theta=1e6,
    n_experts=3,
    experts_per_token=2,
)
DENSE = Architecture(
    dim=16, n_layers=3, head_dim=4, hidden_dim=20, n_heads=6, n_kv_heads=3, norm_eps=1e-5, vocab_size=9, rope_theta=1e4
)


def random_tensors(architecture: Architecture, layout: str = "mistral", dtype: torch.dtype = torch.bfloat16) -> Tensors:
    generator = torch.Generator().manual_seed(7)
    return {
        name: torch.randn(tensor.shape, generator=generator).to(dtype)
        for name, tensor in LAYOUTS[layout].tensors(architecture).items()
    }


def write_release(folder: Path, architecture: Architecture, tensors: Tensors | None = None) -> Path:
    """A release in the publisher's form."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(random_tensors(architecture) if tensors is None else tensors, folder / "consolidated.00.pth")
    (folder / "params.json").write_text(json.dumps(architecture.to_params()))
    return folder


def raw(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor, row by row."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def train_tokenizer(text: str, size: int) -> bytes:
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(text.splitlines()),
        model_writer=model,
        model_type="bpe",
        vocab_size=size,
        byte_fallback=True,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        minloglevel=2,
        num_threads=1,
    )
    return model.getvalue()


TEXT = "\n".join(
    f"It is a truth universally acknowledged, number {number}, that banana bananas  and aaaa{'a' * (number % 7)} "
    f"abababa{'ba' * (number % 5)} must be in want of   a wife; she'd sat on the sand, thinking: {number * 37}."
    for number in range(300)
)


@dataclass
class Entry:
    """An entry of a zip that we write ourselves, with room for every lie."""

    name: str
    content: bytes
    local_name: str | None = None
    flags: int = 0x808
    local_flags: int | None = None
    method: int = 0
    crc: int | None = None
    size: int | None = None
    header: int | None = None
    gap: bytes = b""
    descriptor: bool = True


def forge_zip(
    entries: list[Entry],
    *,
    prefix: bytes = b"",
    suffix: bytes = b"",
    count: int | None = None,
    directory_size: int | None = None,
    comment: bytes = b"",
) -> bytes:
    """A zip in the form of torch.save's, or whatever the arguments make of it."""
    out = bytearray(prefix)
    directory = bytearray()
    for entry in entries:
        out += entry.gap
        header = len(out) if entry.header is None else entry.header
        crc = zlib.crc32(entry.content) if entry.crc is None else entry.crc
        size = len(entry.content) if entry.size is None else entry.size
        local = (entry.local_name if entry.local_name is not None else entry.name).encode()
        flags = entry.flags if entry.local_flags is None else entry.local_flags
        stated = (0, 0, 0) if flags & 8 else (crc, size, size)
        out += struct.pack("<4s5H3I2H", b"PK\3\4", 0, flags, entry.method, 0, 0, *stated, len(local), 0) + local
        out += entry.content
        if flags & 8 and entry.descriptor:
            out += struct.pack("<4s3I", b"PK\7\x08", crc, size, size)
        name = entry.name.encode()
        fields = (0, 0, entry.flags, entry.method, 0, 0, crc, size, size, len(name), 0, 0, 0, 0, 0, header)
        directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + name
    start = len(out)
    total = len(entries) if count is None else count
    length = len(directory) if directory_size is None else directory_size
    out += directory
    out += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, total, total, length, start, len(comment)) + comment
    return bytes(out + suffix)


def forge_checkpoint(pickle: bytes, storages: dict[str, bytes], **lies: Any) -> bytes:
    """A torch.save file around a pickle of our making."""
    entries = [Entry("a/data.pkl", pickle), Entry("a/byteorder", b"little")]
    entries += [Entry(f"a/data/{key}", content) for key, content in storages.items()]
    return forge_zip([*entries, Entry("a/version", b"3\n")], **lies)
