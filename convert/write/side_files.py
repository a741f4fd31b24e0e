"""The small files beside the weights: configuration, tokenizer, licence."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from magnetar.byte_source import LocalFile
from magnetar.convert.layout.architecture import DEFAULT_CONTEXT
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.convert.read.source import TOKENIZER, Source
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import Provenance
from magnetar.convert.write.tokenizer_json import (
    LARGEST_MODEL,
    Vocabulary,
    read_vocabulary,
    tokenizer_json,
    why_not_exact,
)
from magnetar.errors import ConversionError

APACHE = "Apache-2.0"
LEGAL_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
KEPT = (
    *("params.json", "config.json", "generation_config.json"),
    *("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
)
LARGEST_COPY = 64 << 20
NO_TOKENIZER = "there is no tokenizer.model beside the weights, so no tokenizer was written"


@dataclass(frozen=True, slots=True)
class SideFiles:
    """Contents by file name, and what is to be said about them."""

    contents: Mapping[str, bytes]
    notes: tuple[str, ...]


def for_transformers(source: Source, plan: Plan, provenance: Provenance) -> SideFiles:
    """The files that make the shards a folder for transformers 4 and 5, vLLM, MLX-LM and their like.

    Raises ``ConversionError`` if ``tokenizer.model`` is damaged, ``DiskError``.
    """
    config = source.architecture.to_config(DTYPES[plan.dtype].torch_name)
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    tokenizer, notes = tokenizer_files(source.tokenizer, source.architecture.context_length or DEFAULT_CONTEXT)
    legal, legal_notes = legal_files(source.folder, provenance)
    contents = legal | _index(plan) | tokenizer
    contents |= {"generation_config.json": _json(generation), "config.json": _json(config)}
    return SideFiles(contents, (*notes, *legal_notes))


def for_the_publishers_code(source: Source, plan: Plan, provenance: Provenance) -> SideFiles:
    """What mistral-inference wants beside ``consolidated.safetensors``.

    It takes theta for 1e6 where params.json is silent, and others for 1e4, so it is always stated.
    Raises ``DiskError``.
    """
    legal, notes = legal_files(source.folder, provenance)
    tokenizer = _copies(source.folder, (TOKENIZER,))
    if not tokenizer:
        notes.append(NO_TOKENIZER)
    params = source.architecture.to_params() | {"rope_theta": source.architecture.rope_theta}
    return SideFiles(legal | tokenizer | {"params.json": _json(params)}, tuple(notes))


def for_any_tool(source: Source, plan: Plan, provenance: Provenance) -> SideFiles:
    """Tensors under their own names keep the small files that they came with. Raises ``DiskError``."""
    legal, notes = legal_files(source.folder, provenance)
    return SideFiles(legal | _index(plan) | _copies(source.folder, KEPT), tuple(notes))


def legal_files(folder: Path, provenance: Provenance) -> tuple[dict[str, bytes], list[str]]:
    """The source's own licence and notice; if it has no licence, the text that its name stands for."""
    found = _copies(folder, LEGAL_FILES)
    if any(name.startswith("LICENSE") for name in found):
        return found, []
    if provenance.licence == APACHE:
        return found | {"LICENSE": files("magnetar.convert").joinpath("apache-2.0.txt").read_bytes()}, []
    return found, [f"no licence text was written: the source has none ({provenance.licence or 'licence unknown'})"]


def _copies(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Small files of the source by name, those that are there and small."""
    found = {}
    for name in names:
        path = folder / name
        if path.is_file() and not path.is_symlink():  # a link could bring a file of the user's into the output
            with LocalFile(path) as opened:
                if opened.size <= LARGEST_COPY:
                    found[name] = opened.read(0, opened.size)
    return found


def _index(plan: Plan) -> dict[str, bytes]:
    if len(plan.shards) == 1:
        return {}
    weight_map = {move.name: shard.file for shard in plan.shards for move in shard.moves}
    elements = sum(move.nbytes // DTYPES[move.dtype].itemsize for shard in plan.shards for move in shard.moves)
    metadata = {"total_parameters": elements, "total_size": plan.payload}
    document = {"metadata": metadata, "weight_map": dict(sorted(weight_map.items()))}
    return {"model.safetensors.index.json": _json(document)}


def tokenizer_files(path: Path | None, context_length: int) -> tuple[dict[str, bytes], list[str]]:
    """The tokenizer's files by name, and what is to be said where some could not be made.

    Raises ``ConversionError`` if ``tokenizer.model`` is damaged, ``DiskError``.
    """
    if path is None:
        return {}, [NO_TOKENIZER]
    content, vocabulary = read_tokenizer(path)
    reason = why_not_exact(vocabulary)
    if reason:
        return {path.name: content}, [f"no tokenizer.json was written: of {path.name}, {reason}"]
    return {
        path.name: content,
        "tokenizer.json": _json(tokenizer_json(vocabulary)),
        "tokenizer_config.json": _json(_tokenizer_config(vocabulary, context_length)),
    }, []


def read_tokenizer(path: Path) -> tuple[bytes, Vocabulary]:
    """A ``tokenizer.model``, and what it holds. Raises ``ConversionError`` if it is damaged, ``DiskError``."""
    with LocalFile(path) as opened:
        if opened.size > LARGEST_MODEL:
            raise ConversionError(f"{path.name}: {opened.size:,} bytes are too many for a SentencePiece model")
        content = opened.read(0, opened.size)
    return content, read_vocabulary(content)


def _tokenizer_config(vocabulary: Vocabulary, context_length: int) -> dict[str, Any]:
    names = {"bos_token": vocabulary.bos, "eos_token": vocabulary.eos, "unk_token": vocabulary.unknown}
    tokens = {
        name: vocabulary.pieces[index].text for name, index in names.items() if 0 <= index < len(vocabulary.pieces)
    }
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        **tokens,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context_length,
        "split_special_tokens": True,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
