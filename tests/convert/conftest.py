"""Small real checkpoints: written by torch, with a tokenizer trained by SentencePiece as Mistral's was."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from magnetar.convert.architecture import Architecture
from magnetar.convert.layouts import LAYOUTS

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


@pytest.fixture(scope="session")
def tokenizer_model() -> bytes:
    return train_tokenizer(TEXT, 420)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release", MOE)


@pytest.fixture
def make_release(tmp_path: Path) -> Callable[[Architecture, Tensors | None], Path]:
    def make(architecture: Architecture, tensors: Tensors | None = None) -> Path:
        return write_release(tmp_path / "release", architecture, tensors)

    return make
