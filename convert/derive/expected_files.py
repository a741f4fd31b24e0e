"""What this version would write beside the weights of a copy, from the release's files and facts of the copy."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from magnetar.convert.derive.judge_config import Contexts
from magnetar.convert.derive.release_files import ReleaseSmallFiles
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.gguf import Field
from magnetar.convert.layout.architecture import DEFAULT_CONTEXT, Architecture
from magnetar.convert.numbers.dtypes import DTYPES
from magnetar.convert.write.gguf_target import describe_gguf, write_modelfile
from magnetar.convert.write.side_files import (
    APACHE,
    LEGAL_FILES,
    WeightFacts,
    apache_licence,
    publisher_files,
    transformers_files,
)
from magnetar.convert.write.tokenizer_json import Vocabulary, read_vocabulary


def describe_copy(checkpoint: Checkpoint) -> WeightFacts:
    """The facts of a copy's weights that its small files repeat. The checkpoint must hold tensors."""
    totals: dict[str, int] = {}
    for spec in checkpoint.specs.values():
        totals[spec.dtype] = totals.get(spec.dtype, 0) + spec.nbytes
    places = {spec.name: checkpoint.sources[spec.source].name for spec in checkpoint.specs.values()}
    dtype = max(totals, key=lambda each: totals[each])
    return WeightFacts(dtype, places, checkpoint.parameters, checkpoint.nbytes)


def find_contexts(architecture: Architecture, manifest: int | None) -> tuple[Contexts, tuple[Architecture, ...]]:
    """The longest contexts that a conversion can write, and the architecture with each.

    ``manifest`` is the length that the release's manifest states. ``get`` and ``convert`` write it where they know the
    release, and else what the release's own files say, or a default.
    """
    own = architecture.context_length or DEFAULT_CONTEXT
    lengths = [manifest, own] if manifest else [own]
    variants = tuple(replace(architecture, context_length=length) for length in dict.fromkeys(lengths))
    stated = manifest is not None or architecture.context_length is not None
    return Contexts(frozenset(lengths), stated), variants


@dataclass(frozen=True)
class Expected:
    """All that is derived for a copy. ``tokenizer`` is the release's tokenizer.model, None if it has none.

    ``variants`` are architectures that differ in their longest context alone. What is derived raises
    ``ConversionError`` if the tokenizer is damaged, or has more pieces than the model has rows.
    """

    variants: tuple[Architecture, ...]
    contexts: Contexts
    tokenizer: bytes | None
    weights: WeightFacts

    @cached_property
    def vocabulary(self) -> Vocabulary | None:
        """The pieces of the tokenizer."""
        return None if self.tokenizer is None else read_vocabulary(self.tokenizer)

    @cached_property
    def transformers(self) -> list[Mapping[str, bytes]]:
        """The files that transformers reads, for each variant, by name."""
        # Quantised blocks have no name in torch; config.json does not say of which format they are.
        weights = self.weights if self.weights.dtype in DTYPES else replace(self.weights, dtype="F32")
        return [transformers_files(variant, self.tokenizer, weights)[0] for variant in self.variants]

    @cached_property
    def publisher(self) -> Mapping[str, bytes]:
        """The configuration that mistral-inference reads, by name."""
        return publisher_files(self.variants[0])

    def modelfiles(self, first: str) -> list[bytes]:
        """The Modelfile, for each variant."""
        return [write_modelfile(variant, first) for variant in self.variants]

    def gguf(self) -> dict[str, Field]:
        """The metadata of a GGUF file by key, but its name and its division."""
        fields = describe_gguf(self.variants[0], self.tokenizer, "", self.weights.dtype)
        return {field.key: field for field in fields}


def expected_legal_files(small: ReleaseSmallFiles, licence: str) -> dict[str, bytes]:
    """The licence and the notice that a conversion puts beside the weights, as far as the release's are known."""
    found = {name: small.contents[name] for name in LEGAL_FILES if name in small.contents}
    if licence == APACHE and not any(name.startswith("LICENSE") for name in found):
        found["LICENSE"] = apache_licence()
    return found
