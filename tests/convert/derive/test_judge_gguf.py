"""Every key of a GGUF file's metadata, its vocabulary, and the bytes between its tensors."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from magnetar.byte_source import LocalFile
from magnetar.convert.derive.release_files import ReleaseSmallFiles
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.gguf import Field, MetadataType, encode_gguf_header, read_gguf, read_gguf_fields
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError
from magnetar.manifests.checking.ledger import RowState, Subject
from tests.convert.derive.conftest import Copy, check, faults
from tests.convert.forge import MOE, write_release

PROVEN, WRONG, UNKNOWN = RowState.PROVEN, RowState.WRONG, RowState.NOT_CHECKED
EPSILON = "llama.attention.layer_norm_rms_epsilon"
TOKENS, SCORES = "tokenizer.ggml.tokens", "tokenizer.ggml.scores"
Fields = list[Field]
Change = Callable[[Fields], Fields]


def rewrite(path: Path, change: Change) -> None:
    """Give a GGUF file other metadata."""
    with LocalFile(path) as source:
        fields, checkpoint = list(read_gguf_fields(source)), read_gguf(source)
        specs = sorted(checkpoint.specs.values(), key=lambda spec: spec.offset)
        tensors = path.read_bytes()[specs[0].offset :]
    path.write_bytes(encode_gguf_header(change(fields), specs) + tensors)


def without(*keys: str) -> Change:
    return lambda fields: [field for field in fields if field.key not in keys]


def by_others(fields: Fields) -> Fields:
    """Without the record that this version wrote it."""
    return [field for field in fields if not field.key.startswith("magnetar.")]


def put(key: str, kind: MetadataType, value: Any) -> Change:
    return lambda fields: [*without(key)(fields), Field(key, kind, value)]


def put_same_type(key: str, value: Any) -> Change:
    return lambda fields: [field._replace(value=value) if field.key == key else field for field in fields]


def exchange(key: str) -> Change:
    def change(fields: Fields) -> Fields:
        values = next(list(field.value) for field in fields if field.key == key)
        values[300], values[301] = values[301], values[300]
        return put_same_type(key, values)(fields)

    return change


@pytest.mark.parametrize(
    "change",
    [
        by_others,
        lambda fields: by_others(list(reversed(fields))),
        lambda fields: put("general.name", MetadataType.STRING, "theirs")(by_others(fields)),
        lambda fields: put("general.size_label", MetadataType.STRING, "8x857K")(by_others(fields)),
        lambda fields: put("general.tags", MetadataType.STRING, ["a", "b"])(by_others(fields)),
        lambda fields: put("tokenizer.ggml.add_sep_token", MetadataType.BOOL, False)(by_others(fields)),
        lambda fields: without("llama.attention.key_length", "llama.vocab_size")(by_others(fields)),
        lambda fields: without("general.type", "general.file_type", "tokenizer.ggml.add_space_prefix")(
            by_others(fields)
        ),
    ],
)
def test_forms_that_other_programs_write_are_right(copy: Copy, change: Change) -> None:
    folder = copy("gguf")
    rewrite(folder / "model.gguf", change)
    assert faults(check(folder)) == {}


FLOAT, UINT, INT, TEXT, BOOL = (
    MetadataType.FLOAT32,
    MetadataType.UINT32,
    MetadataType.INT32,
    MetadataType.STRING,
    MetadataType.BOOL,
)


@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        (put_same_type("llama.rope.freq_base", 10.0), "llama.rope.freq_base", WRONG),
        (put_same_type(EPSILON, 1e-6), EPSILON, WRONG),
        (put_same_type("llama.expert_used_count", 1), "llama.expert_used_count", WRONG),
        (put_same_type("llama.context_length", 7), "llama.context_length", WRONG),
        (put("llama.context_length", INT, 512), "llama.context_length", UNKNOWN),
        (put("llama.rope.freq_base", MetadataType.FLOAT64, 1e6), "llama.rope.freq_base", UNKNOWN),
        (without("llama.rope.freq_base"), "llama.rope.freq_base", WRONG),
        (put("llama.rope.scaling.factor", FLOAT, 2.0), "llama.rope.scaling.factor", UNKNOWN),
        (put("llama.rope.scale_linear", FLOAT, 2.0), "llama.rope.scale_linear", UNKNOWN),
        (put("llama.attention.sliding_window", UINT, 8), "llama.attention.sliding_window", UNKNOWN),
        (put("llama.logit_scale", FLOAT, 2.0), "llama.logit_scale", UNKNOWN),
        (put("general.sampling.temp", FLOAT, 2.0), "general.sampling.temp", UNKNOWN),
        (put("general.name", UINT, [1, 2]), "general.name", PROVEN),
        (put("general.novelty", TEXT, "x"), "general.novelty", UNKNOWN),
        (put("adapter.type", TEXT, "lora"), "adapter.type", UNKNOWN),
        (put("general.file_type", UINT, 1), "general.file_type", UNKNOWN),
        (put("tokenizer.chat_template", TEXT, "{{ evil }}"), "tokenizer.chat_template", UNKNOWN),
        (put("tokenizer.chat_template.tool_use", TEXT, "{{ evil }}"), "tokenizer.chat_template.tool_use", UNKNOWN),
        (put("tokenizer.ggml.merges", TEXT, ["a b"]), "tokenizer.ggml.merges", WRONG),
        (put_same_type("tokenizer.ggml.model", "gpt2"), "tokenizer.ggml.model", WRONG),
        (put_same_type("tokenizer.ggml.pre", "qwen2"), "tokenizer.ggml.pre", WRONG),
        (put_same_type("tokenizer.ggml.bos_token_id", 2), "tokenizer.ggml.bos_token_id", WRONG),
        (put_same_type("tokenizer.ggml.add_bos_token", False), "tokenizer.ggml.add_bos_token", WRONG),
        (put("tokenizer.ggml.padding_token_id", UINT, 0), "tokenizer.ggml.padding_token_id", UNKNOWN),
        (put_same_type(TOKENS, ["a"]), TOKENS, WRONG),
        (exchange(TOKENS), TOKENS, WRONG),
        (exchange(SCORES), SCORES, WRONG),
        (without(TOKENS), TOKENS, WRONG),
        (without(SCORES), SCORES, WRONG),
        (put_same_type("tokenizer.ggml.token_type", [1] * 1024), "tokenizer.ggml.token_type", WRONG),
        (put("magnetar.novelty", TEXT, "x"), "magnetar.novelty", UNKNOWN),
        (put("magnetar.plan", TEXT, "x"), "magnetar.plan", UNKNOWN),
    ],
)  # fmt: skip
def test_a_key_that_changes_the_model_is_wrong_and_one_that_is_not_known_is_named(
    copy: Copy, change: Change, name: str, state: RowState
) -> None:
    folder = copy("gguf")
    rewrite(folder / "model.gguf", lambda fields: change(by_others(fields)))
    found = faults(check(folder))
    assert found == ({} if state is PROVEN else {f"model.gguf: {name}": state})


@pytest.mark.parametrize("change", [without("llama.vocab_size"), without("general.type"), lambda fields: fields[::-1]])
def test_what_says_that_this_version_wrote_it_has_its_keys_in_its_order(copy: Copy, change: Change) -> None:
    folder = copy("gguf")
    rewrite(folder / "model.gguf", change)
    assert faults(check(folder)) == {"model.gguf: keys": UNKNOWN}


def test_the_vocabulary_is_of_its_own_kind_and_names_the_first_pieces_that_differ(copy: Copy) -> None:
    folder = copy("gguf")
    rewrite(folder / "model.gguf", exchange(TOKENS))
    (row,) = [row for row in check(folder) if row.name == TOKENS]
    assert row.subject is Subject.VOCABULARY
    assert row.detail.startswith("2 pieces differ: 300 is ")


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize(
    ("change", "name", "state"),
    [
        (put("split.no", MetadataType.UINT16, 0), "split.no", WRONG),
        (put("split.tensors.count", INT, 1), "split.tensors.count", WRONG),
        (without("split.count"), "split.count", WRONG),
        (put("llama.rope.freq_base", FLOAT, 1e6), "llama.rope.freq_base", UNKNOWN),
        (put("general.architecture", TEXT, "qwen2"), "general.architecture", WRONG),
    ],
)
def test_later_files_of_a_divided_model_say_nothing_else(
    copy: Copy, number: int, change: Change, name: str, state: RowState
) -> None:
    folder = copy("gguf-sharded")
    file = f"model-{number + 1:05}-of-00004.gguf"
    rewrite(folder / file, change)
    assert faults(check(folder)) == {f"{file}: {name}": state} | added_key(file, change)


def added_key(file: str, change: Change) -> dict[str, RowState]:
    """What is also said of a file of this version that has a key more."""
    keys = {field.key for field in change([]) if not field.key.startswith("split.")}
    return {f"{file}: keys": UNKNOWN} if keys - {"general.architecture"} else {}


def test_later_files_of_this_version_name_the_architecture(copy: Copy) -> None:
    folder = copy("gguf-sharded")
    rewrite(folder / "model-00002-of-00004.gguf", without("general.architecture"))
    assert faults(check(folder)) == {"model-00002-of-00004.gguf: keys": UNKNOWN}
    rewrite(folder / "model-00001-of-00004.gguf", by_others)
    assert faults(check(folder)) == {}


def flip(path: Path, place: int, by: int = 1) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= by
    path.write_bytes(content)


def placed(path: Path) -> list[TensorSpec]:
    with LocalFile(path) as source:
        return sorted(read_gguf(source).specs.values(), key=lambda spec: spec.offset)


def test_the_bytes_after_the_metadata_are_zero_and_the_version_is_the_one_that_is_written(copy: Copy) -> None:
    path = copy("gguf") / "model.gguf"
    for place in (placed(path)[0].offset - 1, 4):
        flip(path, place)
        assert faults(check(path.parent)) == {"model.gguf: header": UNKNOWN}
        flip(path, place)
    assert faults(check(path.parent)) == {}


def test_the_bytes_between_tensors_are_zero(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", replace(MOE, dim=12, n_heads=2, n_kv_heads=1, head_dim=6))
    small = ReleaseSmallFiles({"params.json": (release / "params.json").read_bytes()}, {})
    convert(ConvertRequest(release, tmp_path / "gguf", target="gguf", licence="Apache-2.0", verify=False))
    path = tmp_path / "gguf" / "model.gguf"
    assert faults(check(path.parent, small, None)) == {}
    gaps = [one.offset + one.nbytes for one, two in pairwise(placed(path)) if one.offset + one.nbytes < two.offset]
    for place in (gaps[0], gaps[-1] + 3):
        flip(path, place)
        assert faults(check(path.parent, small, None)) == {"model.gguf: padding": UNKNOWN}
        flip(path, place)


def test_a_truth_value_that_is_neither_0_nor_1_is_seen(copy: Copy) -> None:
    folder = copy("gguf")
    path = folder / "model.gguf"
    key = b"tokenizer.ggml.add_bos_token"
    flip(path, path.read_bytes().index(key) + len(key) + 4, by=2)
    assert faults(check(folder)) == {"model.gguf: header": UNKNOWN}


def test_a_file_that_ends_inside_of_its_metadata_is_refused(copy: Copy) -> None:
    folder = copy("gguf")
    path = folder / "model.gguf"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CheckpointError):
        check(folder)
