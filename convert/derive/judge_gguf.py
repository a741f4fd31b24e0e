"""Judge the metadata of the files of a GGUF copy: every key, the vocabulary, and the bytes between the tensors."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from magnetar.byte_source import ByteSource, read_bytes
from magnetar.convert.derive.expected_files import Expected
from magnetar.convert.derive.judge_config import NOT_STATED, RUNS, Contexts
from magnetar.convert.derive.judge_safetensors import judge_record
from magnetar.convert.derive.judge_tokenizer import NAMED, vocabulary
from magnetar.convert.derive.judgement import Judgement, differs, harmless, right, same, show, unknown, wrong
from magnetar.convert.derive.known_keys import GGUF_ALLOWED, GGUF_DEFAULTS, GGUF_SHOWN, GGUF_TEXTS, RUNS_CODE, is_text
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.gguf import FORMS, Field, MetadataType, encode_gguf_header
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.gguf_architecture import ARCHITECTURE
from magnetar.convert.write.gguf_target import describe_split
from magnetar.convert.write.tokenizer_json import Vocabulary, list_merges

CONTEXT = f"{ARCHITECTURE}.context_length"
TOKENS = "tokenizer.ggml.tokens"
VOCABULARY = frozenset({TOKENS, "tokenizer.ggml.scores", "tokenizer.ggml.token_type"})
MERGES = "tokenizer.ggml.merges"
NO_TOKENIZER = "the manifest does not hold the release's tokenizer.model"


def judge_fields(
    found: Sequence[Field], expected: Mapping[str, Field], derived: Expected, knows_tokenizer: bool
) -> Iterator[Judgement]:
    """The metadata of the first file, held against the fields that a conversion writes, by their keys.

    Only with ``knows_tokenizer`` do they say what the tokenizer should be.
    """
    architecture, contexts, pieces = derived.variants[0], derived.contexts, derived.vocabulary
    for field in found:
        if field.key.startswith("split."):
            continue
        if field.key.startswith("tokenizer.") and not knows_tokenizer and not RUNS_CODE.fullmatch(field.key):
            yield unknown(field.key, NO_TOKENIZER)
        elif field.key == CONTEXT:
            yield _check_kind(field, expected[CONTEXT]) or contexts.judge(CONTEXT, field.value)
        elif field.key == MERGES and pieces is not None:
            yield _judge_merges(field, pieces)
        elif field.key in expected and field.key != "general.name":
            yield _compare(field, expected[field.key])
        else:
            yield _judge_foreign(field)
    present = {field.key: field for field in found}
    tokens = present[TOKENS].value if TOKENS in present else ()
    for key, field in expected.items():
        if key in present or (key.startswith("general.") and key != "general.architecture"):
            continue
        if key.startswith("tokenizer.") and not knows_tokenizer:
            continue
        yield _judge_absent(field, _default_sizes(architecture, len(tokens)), contexts)


def judge_split(found: Sequence[Field], number: int, count: int, tensors: int) -> Iterator[Judgement]:
    """The keys of file ``number``, from 0, of ``count`` that divide a model."""
    expected = {field.key: field for field in describe_split(number, count, tensors)}
    present = {field.key: field for field in found if field.key.startswith("split.")}
    if count == 1 and not present:
        return
    for key, field in present.items():
        yield _compare(field, expected[key]) if key in expected else _judge_foreign(field)
    yield from (
        wrong(key, f"is missing; it should be {field.value}") for key, field in expected.items() if key not in present
    )


def judge_later_file(found: Sequence[Field]) -> Iterator[Judgement]:
    """What else the second file or a later one says. llama.cpp takes the model's metadata from the first alone."""
    for field in found:
        if field.key == "general.architecture":
            yield (
                right(field.key)
                if field.value == ARCHITECTURE
                else wrong(field.key, differs(field.value, ARCHITECTURE))
            )
        elif not field.key.startswith("split."):
            yield _judge_foreign(field)


def judge_bytes(source: ByteSource, fields: Sequence[Field], specs: Sequence[TensorSpec]) -> Iterator[Judgement]:
    """The bytes of a file that are neither metadata nor tensors, which are zero, and the form of its header.

    ``specs`` are the file's own tensors. Raises ``OutsideError``.
    """
    placed = sorted(specs, key=lambda spec: spec.offset)
    header = encode_gguf_header(fields, placed)
    begin = placed[0].offset if placed else source.size
    if begin == len(header) and read_bytes(source, 0, begin) == header:
        yield right("header")
    else:
        yield unknown("header", "is in another form than that of version 3: its version, its padding, or a truth value")
    ends = [spec.offset + spec.nbytes for spec in placed]
    starts = [*(spec.offset for spec in placed[1:]), source.size]
    gaps = [(end, start - end) for end, start in zip(ends, starts, strict=True) if start > end]
    if any(read_bytes(source, offset, min(length, 1 << 16)).strip(b"\0") for offset, length in gaps):
        yield unknown("padding", "the bytes between the tensors are not zero")
    elif gaps:
        yield right("padding")


def _compare(found: Field, expected: Field) -> Judgement:
    fault = _check_kind(found, expected)
    if fault:
        return fault
    equal = _pack(found) == _pack(expected)
    if found.key not in VOCABULARY:
        if found.key in GGUF_SHOWN and not equal:
            return unknown(found.key, f"{differs(found.value, expected.value)}; llama.cpp only shows it")
        return right(found.key) if equal else wrong(found.key, differs(found.value, expected.value))
    return vocabulary("" if equal else _describe_pieces(found.value, expected.value), found.key)


def _check_kind(found: Field, expected: Field) -> Judgement | None:
    if found.kind is expected.kind and isinstance(found.value, list) is isinstance(expected.value, list):
        return None
    return unknown(found.key, f"is of the type {found.kind.name}, not {expected.kind.name}")


def _pack(field: Field) -> Any:
    """A value as the file holds it: 32-bit floats are equal where their bytes are."""
    if field.kind is MetadataType.STRING:
        return field.value
    values = field.value if isinstance(field.value, list) else [field.value]
    return struct.pack(f"<{len(values)}{FORMS[field.kind]}", *values)


def _describe_pieces(found: Sequence[Any], expected: Sequence[Any]) -> str:
    if len(found) != len(expected):
        return f"has {len(found):,} pieces, not {len(expected):,}"
    pairs = enumerate(zip(found, expected, strict=True))
    different = [(index, here, there) for index, (here, there) in pairs if not same(here, there)]
    named = ", ".join(f"{index} {differs(here, there)}" for index, here, there in different[:NAMED])
    return f"{len(different):,} pieces differ: {named}"


def _judge_merges(found: Field, pieces: Vocabulary) -> Judgement:
    """A SentencePiece vocabulary needs no merges in GGUF. Where they are, they must be those of its scores."""
    expected = [" ".join(pair) for pair in list_merges(pieces.pieces)]
    return vocabulary("" if found.value == expected else "are not those of the release's scores", MERGES)


def _judge_foreign(field: Field) -> Judgement:
    key, value = field.key, field.value
    if RUNS_CODE.fullmatch(key):
        return unknown(key, RUNS)
    record = judge_record(key, value)
    if record is not None:
        return record
    if GGUF_TEXTS.fullmatch(key) or key in GGUF_SHOWN:
        texts = value if isinstance(value, list) else [value]
        if all(is_text(text) or type(text) is int for text in texts):
            return harmless(key, "it describes the file to people")
    rule = GGUF_ALLOWED.get(key)
    if rule is not None and rule.fits(value):
        return right(key, rule.why)
    return unknown(key, f"is not known; it is {show(value)}")


def _default_sizes(architecture: Architecture, tokens: int) -> dict[str, Any]:
    head = architecture.dim // architecture.n_heads
    return {
        **GGUF_DEFAULTS,
        f"{ARCHITECTURE}.attention.head_count_kv": architecture.n_heads,
        f"{ARCHITECTURE}.attention.key_length": head,
        f"{ARCHITECTURE}.attention.value_length": head,
        f"{ARCHITECTURE}.rope.dimension_count": architecture.head_dim,
        f"{ARCHITECTURE}.vocab_size": tokens,
    }


def _judge_absent(field: Field, defaults: Mapping[str, Any], contexts: Contexts) -> Judgement:
    missing = f"is missing; it should be {show(field.value)}"
    if field.key == CONTEXT and not contexts.stated:
        return unknown(CONTEXT, NOT_STATED)
    if field.key in VOCABULARY:
        return vocabulary("is missing", field.key)
    if field.key in defaults and same(defaults[field.key], field.value):
        return right(field.key, "is left out, and llama.cpp takes the same")
    return wrong(field.key, missing)
