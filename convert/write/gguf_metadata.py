"""The metadata of a GGUF file for a model of the Mistral family: its sizes and its tokenizer."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from magnetar.convert.formats.gguf import Field, MetadataType
from magnetar.convert.layout.architecture import DEFAULT_CONTEXT, Architecture
from magnetar.convert.layout.gguf_architecture import ARCHITECTURE
from magnetar.convert.write.tokenizer_json import PieceType, Vocabulary
from magnetar.errors import ConversionError

PADDING_SCORE = -10000.0
"""The score of the pieces that fill up the vocabulary."""

FILE_TYPES: Mapping[str, int] = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "BF16": 32,
    "TQ1_0": 36,
    "TQ2_0": 37,
    "MXFP4": 38,
}
"""``llama_ftype`` of llama.h, by the dtype of most bytes. llama.cpp only shows it."""


def describe_model(architecture: Architecture, name: str, dtype: str) -> Iterator[Field]:
    """The fields ``general.*`` and ``llama.*`` (gguf.md, standardized key-value pairs)."""
    yield Field("general.architecture", MetadataType.STRING, ARCHITECTURE)
    yield Field("general.type", MetadataType.STRING, "model")
    yield Field("general.name", MetadataType.STRING, name)
    if dtype in FILE_TYPES:
        yield Field("general.file_type", MetadataType.UINT32, FILE_TYPES[dtype])
    yield Field("general.quantization_version", MetadataType.UINT32, 2)
    counts = {
        "block_count": architecture.n_layers,
        "context_length": architecture.context_length or DEFAULT_CONTEXT,
        "embedding_length": architecture.dim,
        "feed_forward_length": architecture.hidden_dim,
        "attention.head_count": architecture.n_heads,
        "attention.head_count_kv": architecture.n_kv_heads,
        "attention.key_length": architecture.head_dim,
        "attention.value_length": architecture.head_dim,
        "rope.dimension_count": architecture.head_dim,
        "vocab_size": architecture.vocab_size,
    }
    if architecture.n_experts:
        counts |= {"expert_count": architecture.n_experts, "expert_used_count": architecture.experts_per_token}
    for key, count in counts.items():
        yield Field(f"{ARCHITECTURE}.{key}", MetadataType.UINT32, count)
    yield Field(f"{ARCHITECTURE}.rope.freq_base", MetadataType.FLOAT32, architecture.rope_theta)
    yield Field(f"{ARCHITECTURE}.attention.layer_norm_rms_epsilon", MetadataType.FLOAT32, architecture.norm_eps)


def describe_tokenizer(vocabulary: Vocabulary, vocab_size: int) -> Iterator[Field]:
    """The fields ``tokenizer.*`` for a SentencePiece model of the BPE kind. Ids without a piece become unused ones.

    Raises ``ConversionError`` if there are more pieces than the model has rows.
    """
    missing = vocab_size - len(vocabulary.pieces)
    if missing < 0:
        raise ConversionError(
            f"tokenizer.model has {len(vocabulary.pieces)} pieces, the model has rows for {vocab_size}",
            hint="put the tokenizer of this release beside the weights",
            path=Path("tokenizer.model"),
        )
    padding = range(len(vocabulary.pieces), vocab_size)
    texts = [piece.text for piece in vocabulary.pieces] + [f"[PAD{index}]" for index in padding]
    scores = [piece.score for piece in vocabulary.pieces] + [PADDING_SCORE] * missing
    kinds = [int(piece.kind) for piece in vocabulary.pieces] + [int(PieceType.UNUSED)] * missing
    yield Field("tokenizer.ggml.model", MetadataType.STRING, "llama")
    yield Field("tokenizer.ggml.pre", MetadataType.STRING, "default")
    yield Field("tokenizer.ggml.tokens", MetadataType.STRING, texts)
    yield Field("tokenizer.ggml.scores", MetadataType.FLOAT32, scores)
    yield Field("tokenizer.ggml.token_type", MetadataType.INT32, kinds)
    ids = {"bos": vocabulary.bos, "eos": vocabulary.eos, "unknown": vocabulary.unknown}
    for key, index in ids.items():
        if index >= 0:
            yield Field(f"tokenizer.ggml.{key}_token_id", MetadataType.UINT32, index)
    yield Field("tokenizer.ggml.add_bos_token", MetadataType.BOOL, vocabulary.bos >= 0)
    yield Field("tokenizer.ggml.add_eos_token", MetadataType.BOOL, False)
    yield Field("tokenizer.ggml.add_space_prefix", MetadataType.BOOL, vocabulary.adds_prefix)


NO_VOCABULARY = (Field("tokenizer.ggml.model", MetadataType.STRING, "no_vocab"),)
"""For weights without a tokenizer. llama.cpp can then only be given ids of pieces, not text."""
