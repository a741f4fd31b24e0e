"""The small files beside the weights: configuration, tokenizer, licence."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from magnetar.byte_source import SourceFolder, read_file
from magnetar.convert.layout.architecture import DEFAULT_CONTEXT, Architecture
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.convert.read.checkpoint_source import TOKENIZER, CheckpointSource
from magnetar.convert.write.plan import Plan
from magnetar.convert.write.provenance import Provenance
from magnetar.convert.write.tokenizer_json import (
    MAX_MODEL_BYTES,
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
MAX_SIDE_FILE_BYTES = 64 << 20
NO_TOKENIZER = "there is no tokenizer.model beside the weights, so no tokenizer was written"


@dataclass(frozen=True, slots=True)
class SideFiles:
    """Contents by file name, and notes for the user on what is missing."""

    contents: Mapping[str, bytes]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """What small files say of the weights. ``places`` is the file of each tensor, by its name.

    ``dtype`` is that of most bytes. ``elements`` and ``nbytes`` count the numbers and the bytes of all tensors.
    """

    dtype: str
    places: Mapping[str, str]
    elements: int
    nbytes: int


def for_transformers(source: CheckpointSource, plan: Plan, provenance: Provenance) -> SideFiles:
    """The files beside the shards that transformers 4 and 5, vLLM, MLX-LM and others read.

    Raises ``ConversionError`` if ``tokenizer.model`` is damaged, or ``OutsideError``.
    """
    files, notes = transformers_files(source.architecture, read_tokenizer(source), describe_weights(plan))
    legal, legal_notes = legal_files(source.folder, provenance)
    return SideFiles(legal | files, (*notes, *legal_notes))


def transformers_files(
    architecture: Architecture, tokenizer: bytes | None, weights: WeightFacts
) -> tuple[dict[str, bytes], list[str]]:
    """Those files by name, but the licence, made of the ``tokenizer.model``; and notes on what could not be made.

    Raises ``ConversionError`` if the tokenizer is damaged.
    """
    config = architecture.to_config(DTYPES[weights.dtype].torch_name)
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    vocabulary, notes = tokenizer_files(tokenizer, architecture.context_length or DEFAULT_CONTEXT)
    files = index_file(weights) | vocabulary
    return files | {"generation_config.json": _json(generation), "config.json": _json(config)}, notes


def for_the_publishers_code(source: CheckpointSource, plan: Plan, provenance: Provenance) -> SideFiles:
    """The files beside ``consolidated.safetensors`` that mistral-inference reads.

    Where params.json states no theta, mistral-inference takes 1e6 and other programs 1e4, so theta is always stated.
    Raises ``OutsideError``.
    """
    legal, notes = legal_files(source.folder, provenance)
    tokenizer = _copies(source.folder, (TOKENIZER,))
    if not tokenizer:
        notes.append(NO_TOKENIZER)
    return SideFiles(legal | tokenizer | publisher_files(source.architecture), tuple(notes))


def publisher_files(architecture: Architecture) -> dict[str, bytes]:
    """``params.json``, by its name."""
    return {"params.json": _json(architecture.to_params() | {"rope_theta": architecture.rope_theta})}


def for_any_tool(source: CheckpointSource, plan: Plan, provenance: Provenance) -> SideFiles:
    """Where the names of tensors are kept, the small files of the source are too. Raises ``OutsideError``."""
    legal, notes = legal_files(source.folder, provenance)
    return SideFiles(legal | index_file(describe_weights(plan)) | _copies(source.folder, KEPT), tuple(notes))


def legal_files(folder: SourceFolder, provenance: Provenance) -> tuple[dict[str, bytes], list[str]]:
    """The licence and the notice of the source; the text of Apache-2.0 where that is the licence and it has no file."""
    found = _copies(folder, LEGAL_FILES)
    if any(name.startswith("LICENSE") for name in found):
        return found, []
    if provenance.licence == APACHE:
        return found | {"LICENSE": apache_licence()}, []
    return found, [f"no licence text was written: the source has none ({provenance.licence or 'licence unknown'})"]


def apache_licence() -> bytes:
    """The text of Apache-2.0."""
    return files("magnetar.convert").joinpath("apache-2.0.txt").read_bytes()


def _copies(folder: SourceFolder, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the named files that are there and small, by name."""
    return {
        name: read_file(folder, name)
        for name in names
        if folder.sizes.get(name, MAX_SIDE_FILE_BYTES + 1) <= MAX_SIDE_FILE_BYTES
        and not folder.is_link(name)  # a link could bring a file of the user's into the output
    }


def describe_weights(plan: Plan) -> WeightFacts:
    """The facts of weights that will be written."""
    places = {move.name: shard.file for shard in plan.shards for move in shard.moves}
    elements = sum(math.prod(move.shape) for shard in plan.shards for move in shard.moves)
    return WeightFacts(plan.dtype, places, elements, plan.payload)


def index_file(weights: WeightFacts) -> dict[str, bytes]:
    """The index of the shards, by its name; nothing where there is one file."""
    if len(set(weights.places.values())) == 1:
        return {}
    metadata = {"total_parameters": weights.elements, "total_size": weights.nbytes}
    document = {"metadata": metadata, "weight_map": dict(sorted(weights.places.items()))}
    return {"model.safetensors.index.json": _json(document)}


def tokenizer_files(content: bytes | None, context_length: int) -> tuple[dict[str, bytes], list[str]]:
    """The files made of a ``tokenizer.model``, by name, and notes on those that could not be made.

    Raises ``ConversionError`` if the model is damaged.
    """
    if content is None:
        return {}, [NO_TOKENIZER]
    vocabulary = read_vocabulary(content)
    reason = why_not_exact(vocabulary)
    if reason:
        return {TOKENIZER: content}, [f"no tokenizer.json was written: of {TOKENIZER}, {reason}"]
    return {
        TOKENIZER: content,
        "tokenizer.json": _json(tokenizer_json(vocabulary)),
        "tokenizer_config.json": _json(_tokenizer_config(vocabulary, context_length)),
    }, []


def read_tokenizer(source: CheckpointSource) -> bytes | None:
    """The ``tokenizer.model`` beside the weights, if there is one. Raises ``ConversionError`` if it is too large."""
    if not source.has_tokenizer:
        return None
    size = source.folder.sizes[TOKENIZER]
    if size > MAX_MODEL_BYTES:
        what = f"{TOKENIZER}: {size:,} bytes are too many for a SentencePiece model"
        raise ConversionError(what, path=Path(TOKENIZER))
    return source.read_tokenizer()


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
