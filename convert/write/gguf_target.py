"""The target ``gguf``: one file, or several, for llama.cpp and the programs that are built on it."""

from collections.abc import Iterator, Mapping

from magnetar.convert.formats.gguf import ALIGNMENT, Field, MetadataType, encode_gguf_header
from magnetar.convert.layout.architecture import DEFAULT_CONTEXT, Architecture
from magnetar.convert.layout.mapping import Move
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, FLOATS, QUANTISERS, fits_blocks
from magnetar.convert.read.checkpoint_source import TOKENIZER, CheckpointSource
from magnetar.convert.write.gguf_metadata import FILE_TYPES, NO_VOCABULARY, describe_model, describe_tokenizer
from magnetar.convert.write.plan import Plan, Shard, pack_moves, shard_stem, spec_of
from magnetar.convert.write.provenance import Provenance
from magnetar.convert.write.side_files import NO_TOKENIZER, SideFiles, legal_files, read_tokenizer
from magnetar.convert.write.tokenizer_json import read_vocabulary
from magnetar.errors import UsageError

KNOWN = (*FLOATS, *QUANTISERS)
TERNARY = ("TQ1_0", "TQ2_0")
"""Formats with three values. llama.cpp does not use them for ``TABLES``."""

MODELFILE_TEMPLATE = 'TEMPLATE """{{ .Prompt }}"""'
"""It passes text on unchanged."""

TABLES = ("token_embd.weight", "output.weight")
"""The matrices with a row for each piece of the vocabulary."""


def cast_for_llama(move: Move, dtype: str | None) -> Move:
    """The dtypes of llama.cpp's own converter: vectors and the router in F32, rows that are no whole blocks in F16.

    If no ``dtype`` is asked for, matrices keep theirs. Raises ``UsageError`` for a dtype that cannot be written.
    """
    if dtype is not None and dtype not in KNOWN:
        known = ", ".join(name.lower() for name in KNOWN)
        raise UsageError(f"the dtype {dtype.lower()!r} cannot be written to GGUF", hint=f"known are {known}")
    if len(move.shape) == 1 or "ffn_gate_inp" in move.name:
        return move.to_dtype("F32")
    if dtype is None:
        return move if move.dtype in BLOCK_FORMATS or move.dtype in FILE_TYPES else move.to_dtype("F32")
    if not fits_blocks(dtype, move.shape) or (dtype in TERNARY and move.name in TABLES):
        return move.to_dtype("F16")
    return move.to_dtype(dtype)


def pack_gguf(
    source: CheckpointSource, moves: tuple[Move, ...], shard_size: int | None, record: Mapping[str, str]
) -> tuple[Shard, ...]:
    """One file, or as many as the size demands. Of several, the first has the metadata (llama.cpp's gguf-split)."""
    packs = pack_moves(moves, shard_size)
    described = [*_describe(source, moves), *(Field(key, MetadataType.STRING, value) for key, value in record.items())]
    shards = []
    for number, pack in enumerate(packs):
        fields = described if number == 0 else described[:1]
        split = describe_split(number, len(packs), len(moves)) if len(packs) > 1 else []
        header = encode_gguf_header([*fields, *split], [spec_of(move) for move in pack])
        shards.append(Shard(f"{shard_stem('model', number, len(packs))}.gguf", header, tuple(pack), ALIGNMENT))
    return tuple(shards)


def for_llama_cpp(source: CheckpointSource, plan: Plan, provenance: Provenance) -> SideFiles:
    """A Modelfile for Ollama, whose template passes text on unchanged: a base model has no chat template.

    The GGUF file holds the vocabulary. ``tokenizer.model`` is copied too, because ``magnetar boot`` reads it.
    """
    files, notes = legal_files(source.folder, provenance)
    tokenizer = read_tokenizer(source)
    if tokenizer is not None:
        files[TOKENIZER] = tokenizer
    _, note = _describe_vocabulary(source.architecture, tokenizer)
    if note:
        notes.append(note)
    return SideFiles(files | {"Modelfile": write_modelfile(source.architecture, plan.shards[0].file)}, tuple(notes))


def write_modelfile(architecture: Architecture, file: str) -> bytes:
    """The Modelfile for weights whose first file is ``file``."""
    context = architecture.context_length or DEFAULT_CONTEXT
    lines = [f"FROM ./{file}", MODELFILE_TEMPLATE, f"PARAMETER num_ctx {context}"]
    return ("\n".join(lines) + "\n").encode()


def describe_gguf(architecture: Architecture, tokenizer: bytes | None, name: str, dtype: str) -> Iterator[Field]:
    """All metadata of a model but what says how it is divided, and where it comes from.

    ``dtype`` is that of most bytes. Raises ``ConversionError`` if the tokenizer is damaged, or has too many pieces.
    """
    yield from describe_model(architecture, name, dtype)
    yield from _describe_vocabulary(architecture, tokenizer)[0]


def _describe(source: CheckpointSource, moves: tuple[Move, ...]) -> Iterator[Field]:
    dtype = Plan((Shard("", b"", moves),)).dtype
    return describe_gguf(source.architecture, read_tokenizer(source), _printable(source.folder.name), dtype)


def _describe_vocabulary(architecture: Architecture, content: bytes | None) -> tuple[tuple[Field, ...], str]:
    """The fields; and, if there is no vocabulary among them, the reason in words."""
    if content is None:
        return NO_VOCABULARY, NO_TOKENIZER
    vocabulary = read_vocabulary(content)
    if not vocabulary.is_bpe:
        return NO_VOCABULARY, "no tokenizer was written: tokenizer.model is not of the BPE kind"
    return tuple(describe_tokenizer(vocabulary, architecture.vocab_size)), ""


def describe_split(number: int, count: int, tensors: int) -> list[Field]:
    """The fields of part ``number``, from 0, of ``count``, for llama.cpp. ``tensors`` counts those of all parts."""
    return [
        Field("split.no", MetadataType.UINT16, number),
        Field("split.count", MetadataType.UINT16, count),
        Field("split.tensors.count", MetadataType.INT32, tensors),
    ]


def _printable(name: str) -> str:
    """A folder's name as text for other programs."""
    return "".join(character for character in name if character.isprintable())[:100]
