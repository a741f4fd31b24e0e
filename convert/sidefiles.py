"""The small files beside the weights: configuration, tokenizer, licence, and the note of what was changed."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from magnetar import __version__
from magnetar.convert.checkpoint import DTYPES
from magnetar.convert.conversion import WrittenFile
from magnetar.convert.plan import Plan
from magnetar.convert.source import Source
from magnetar.convert.tokenizer import LARGEST_MODEL, Vocabulary, read_vocabulary, tokenizer_json, why_not_exact
from magnetar.errors import ConversionError
from magnetar.ranges import LocalFile

APACHE = "Apache-2.0"
LEGAL_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "NOTICE.txt")
LARGEST_LEGAL_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights come from, as told by the caller: texts may be foreign, and empty if not known."""

    release: str
    licence: str


@dataclass(frozen=True, slots=True)
class SideFiles:
    """Contents by file name, and what is to be said about them."""

    contents: Mapping[str, bytes]
    notes: tuple[str, ...]


def for_transformers(source: Source, plan: Plan, context_length: int, provenance: Provenance) -> SideFiles:
    """The files that make the shards a folder for transformers 4 and 5, vLLM and their like.

    Raises ``ConversionError`` if ``tokenizer.model`` is damaged, ``DiskError``.
    """
    config = source.architecture.to_config(DTYPES[plan.dtype].torch_name)
    generation = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
    contents = _legal_files(source.folder, provenance)
    contents |= _index(plan) if len(plan.shards) > 1 else {}
    tokenizer, notes = tokenizer_files(source.tokenizer, context_length)
    contents |= tokenizer
    if "LICENSE" not in contents:
        notes.append(f"no licence text was written: the source has none ({provenance.licence or 'licence unknown'})")
    contents |= {"generation_config.json": _json(generation), "config.json": _json(config)}
    return SideFiles(contents, tuple(notes))


def conversion_note(
    source: Source, target: str, plan: Plan, provenance: Provenance, written: Mapping[str, WrittenFile]
) -> bytes:
    """``CONVERSION.md``: what was changed, as the Apache licence asks (section 4b), with the digests of the result."""
    rows = [f"| {_plain(name)} | {file.size:,} | `{file.sha256}` |" for name, file in sorted(written.items())]
    lines = [
        "# What was changed",
        "",
        f"These are the weights of {_plain(provenance.release or source.folder.name)}, converted from the layout "
        f"`{source.layout}` to `{target}` by Magnetar {__version__}.",
        "",
        f"- Tensors: {plan.tensors:,}, {plan.payload:,} bytes, {plan.dtype}. No number was rounded, dropped or added.",
        f"- {plan.turned:,} of them have their rows or columns in another order, as the layout wants; the others are "
        "the publisher's bytes under other names.",
        f"- Licence of the weights: {_plain(provenance.licence or 'not known; see the release')}.",
        "- Text that spells a control token, such as `<s>`, is encoded as text, as by the release's own tokenizer. For "
        "chat templates that spell them out, set `split_special_tokens` to false in tokenizer_config.json.",
        "",
        "| file | bytes | SHA-256 |",
        "|---|---|---|",
        *rows,
    ]
    return ("\n".join(lines) + "\n").encode()


def _legal_files(folder: Path, provenance: Provenance) -> dict[str, bytes]:
    """The source's own licence and notice; if it has no licence, the text that its name stands for."""
    found = {}
    for name in LEGAL_FILES:
        path = folder / name
        if path.is_file() and not path.is_symlink():  # a link could bring a file of the user's into the output
            with LocalFile(path) as opened:
                found[name] = opened.read(0, min(opened.size, LARGEST_LEGAL_FILE))
    if provenance.licence == APACHE and not any(name.startswith("LICENSE") for name in found):
        found["LICENSE"] = files("magnetar.convert").joinpath("apache-2.0.txt").read_bytes()
    return found


def _index(plan: Plan) -> dict[str, bytes]:
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
        return {}, ["there is no tokenizer.model beside the weights, so no tokenizer was written"]
    with LocalFile(path) as opened:
        if opened.size > LARGEST_MODEL:
            raise ConversionError(f"{path.name}: {opened.size:,} bytes are too many for a SentencePiece model")
        content = opened.read(0, opened.size)
    vocabulary = read_vocabulary(content)
    reason = why_not_exact(vocabulary)
    if reason:
        return {path.name: content}, [f"no tokenizer.json was written: of {path.name}, {reason}"]
    return {
        path.name: content,
        "tokenizer.json": _json(tokenizer_json(vocabulary)),
        "tokenizer_config.json": _json(_tokenizer_config(vocabulary, context_length)),
    }, []


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


def _plain(text: str) -> str:
    """Foreign text inside Markdown: one line, nothing that could be markup or HTML."""
    line = "".join(character if character.isprintable() else " " for character in text)[:200]
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", line)
