"""Check what the files of weights hold beside the tensors: the metadata of GGUF and of safetensors."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from magnetar.byte_source import ByteSource
from magnetar.convert.derive.expected_files import Expected
from magnetar.convert.derive.judge_gguf import judge_bytes, judge_fields, judge_later_file, judge_split
from magnetar.convert.derive.judge_safetensors import RECORD, judge_metadata
from magnetar.convert.derive.judgement import Judgement, file_row, key_rows, unknown, wrong
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.gguf import Field, read_gguf_fields
from magnetar.convert.formats.safetensors import read_safetensors_metadata
from magnetar.errors import CheckpointError, OutsideError
from magnetar.manifests.checking.ledger import Row, RowState
from magnetar.version import __version__


def is_by_this_version(checkpoint: Checkpoint) -> bool:
    """Whether the first file of weights says that this version wrote it. Where it cannot be read, it does not."""
    found: Mapping[str, object] = checkpoint.metadata
    if checkpoint.container == "safetensors":
        try:
            found = read_safetensors_metadata(checkpoint.sources[0])
        except (OutsideError, CheckpointError):
            return False
    return found.get("magnetar.version") == __version__


def check_safetensors(checkpoint: Checkpoint) -> Iterator[Row]:
    """Rows for the texts beside the tensors. Files in other containers have none."""
    if checkpoint.container.startswith("safetensors"):
        by_us = is_by_this_version(checkpoint)
        yield from _check_each(checkpoint, lambda _, source: judge_metadata(read_safetensors_metadata(source), by_us))


def check_gguf(
    checkpoint: Checkpoint, expected: Expected, lost: Sequence[Judgement], knows_tokenizer: bool
) -> Iterator[Row]:
    """Rows for every key of the metadata. ``lost`` are keys of the release that a GGUF file does not carry.

    Only with ``knows_tokenizer`` is the vocabulary of ``expected`` the release's.
    """
    wanted = expected.gguf()
    by_us = is_by_this_version(checkpoint)

    def judge(number: int, source: ByteSource) -> Iterator[Judgement]:
        fields = read_gguf_fields(source)
        if number == 0:
            yield from judge_fields(fields, wanted, expected, knows_tokenizer)
            yield from lost
            if expected.variants[0].sliding_window is not None:
                yield unknown("sliding_window", "the release states it, and its conversion to GGUF does not carry it")
        else:
            yield from judge_later_file(fields)
        keys = [field.key for field in fields if not field.key.startswith("split.")]
        if by_us and knows_tokenizer and keys != ([*wanted, *RECORD] if number == 0 else [*wanted][:1]):
            yield unknown("keys", "are not those that this version writes, in its order")
        yield from _judge_file(checkpoint, number, source, fields)

    yield from _check_each(checkpoint, judge)


def refuse_gguf(checkpoint: Checkpoint, reason: str) -> Iterator[Row]:
    """Rows where the metadata cannot be derived: every key is not checked, but those that divide the model."""

    def judge(number: int, source: ByteSource) -> Iterator[Judgement]:
        fields = read_gguf_fields(source)
        yield from (unknown(field.key, reason) for field in fields if not field.key.startswith("split."))
        yield from _judge_file(checkpoint, number, source, fields)

    yield from _check_each(checkpoint, judge)


def _judge_file(
    checkpoint: Checkpoint, number: int, source: ByteSource, fields: Sequence[Field]
) -> Iterator[Judgement]:
    yield from judge_split(fields, number, len(checkpoint.sources), len(checkpoint.specs))
    specs = [spec for spec in checkpoint.specs.values() if spec.source == number]
    yield from judge_bytes(source, fields, specs)


def _check_each(checkpoint: Checkpoint, judge: Callable[[int, ByteSource], Iterable[Judgement]]) -> Iterator[Row]:
    if "ranks" in checkpoint.container:  # each source is then a share of one tensor, and no file
        yield from key_rows("", [unknown("metadata", f"is in several ranks ({checkpoint.container})")])
        return
    for number, source in enumerate(checkpoint.sources):
        try:
            yield from key_rows(source.name, list(judge(number, source)))
        except OutsideError as error:
            yield file_row(source.name, RowState.UNREADABLE, size=source.size, detail=error.message)
        except CheckpointError as error:
            yield from key_rows(source.name, [wrong("metadata", error.message)])
