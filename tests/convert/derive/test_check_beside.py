"""Everything beside the tensors of a copy, held against what the release's own small files become."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from magnetar.byte_source import LocalFolder
from magnetar.convert.derive.check_beside import check_beside
from magnetar.convert.derive.judge_config import Contexts
from magnetar.convert.derive.judge_modelfile import judge_modelfile
from magnetar.convert.derive.release_files import ReleaseSmallFiles, architecture_of
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import DiskError, LayoutError
from magnetar.manifests.checking.ledger import Means, Row, RowState
from magnetar.manifests.hashing.digests import Digest, digest_bytes
from tests.convert.derive.conftest import LICENCE, MADE, SMALL, Copy, check, faults
from tests.convert.forge import DENSE, MOE, TEXT, train_tokenizer, write_release

MANY = json.dumps(dict.fromkeys(map(str, range(20_000)))).encode()
WRONG, UNKNOWN = RowState.WRONG, RowState.NOT_CHECKED
WEIGHTS = {"CONVERSION.md", "model.safetensors"}


def edit(path: Path, **keys: Any) -> None:
    """Change or add keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def rows_of(rows: tuple[Row, ...], file: str) -> list[Row]:
    return [row for row in rows if row.file == file]


@pytest.mark.parametrize("name", MADE)
def test_an_untouched_copy_of_our_own_is_proven_whole(made: Copy, name: str) -> None:
    rows = check(made(name))
    assert faults(rows) == {}
    named = {row.file for row in rows} | WEIGHTS
    assert {path.name for path in made(name).iterdir() if path.is_file()} <= named


def test_a_file_that_is_derived_byte_for_byte_is_one_row(made: Copy) -> None:
    rows = check(made("hf"))
    assert [(row.name, row.means) for row in rows_of(rows, "config.json")] == [("config.json", Means.DERIVED)]
    assert [(row.name, row.means) for row in rows_of(rows, "tokenizer.model")] == [
        ("tokenizer.model", Means.FILE_DIGEST)
    ]
    rows = check(made("safetensors"))
    assert [row.means for row in rows_of(rows, "params.json")] == [Means.FILE_DIGEST]


def test_the_licence_is_derived_and_no_runtime_loads_it(copy: Copy) -> None:
    folder = copy("hf")
    assert [(row.state, row.loadable) for row in rows_of(check(folder), "LICENSE")] == [(RowState.PROVEN, False)]
    (folder / "LICENSE").write_text("all rights reserved")
    assert [(row.state, row.loadable) for row in rows_of(check(folder), "LICENSE")] == [(UNKNOWN, False)]
    assert faults(check(folder)) == {}


@pytest.mark.parametrize(
    ("name", "file", "state"),
    [
        ("hf", "config.json", WRONG),
        ("hf", "generation_config.json", UNKNOWN),
        ("hf", "tokenizer.model", UNKNOWN),
        ("hf", "tokenizer.json", UNKNOWN),
        ("hf", "tokenizer_config.json", UNKNOWN),
        ("mistral", "params.json", WRONG),
        ("mistral", "tokenizer.model", UNKNOWN),
        ("gguf", "tokenizer.model", UNKNOWN),
        ("gguf", "Modelfile", UNKNOWN),
    ],
)
def test_a_file_that_the_conversion_writes_and_that_is_gone_has_a_row(
    copy: Copy, name: str, file: str, state: RowState
) -> None:
    folder = copy(name)
    with open_source(folder) as source:
        (folder / file).unlink()
        rows = check_beside(
            source.folder, source.files, source.checkpoint, source.layout, SMALL, licence=LICENCE, context_length=512
        )
    assert faults(rows) == {f"{file}: {file}": state}


def test_the_index_of_shards_may_not_be_missing(copy: Copy) -> None:
    folder = copy("hf-sharded")
    with open_source(folder) as source:
        (folder / "model.safetensors.index.json").unlink()
        rows = check_beside(
            source.folder, source.files, source.checkpoint, source.layout, SMALL, licence=LICENCE, context_length=512
        )
    assert faults(rows) == {"model.safetensors.index.json: model.safetensors.index.json": WRONG}


def test_a_bare_gguf_file_needs_nothing_beside_it(made: Copy, tmp_path: Path) -> None:
    shutil.copy(made("gguf") / "model.gguf", tmp_path)
    assert faults(check(tmp_path)) == {}


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"a": 1, "a": 1}', b'{"a": NaN}', b"\xff{}", b"\xef\xbb\xbf{}", b"[" * 100_000, MANY],
    ids=lambda value: ascii(value)[:20],
)
def test_what_two_readers_could_understand_in_two_ways_is_wrong(copy: Copy, name: str, content: bytes) -> None:
    folder = copy("hf")
    with open_source(folder) as source:
        (folder / name).write_bytes(content)
        rows = check_beside(source.folder, source.files, source.checkpoint, source.layout, SMALL, licence=LICENCE)
    assert faults(rows_of(rows, name)) == {f"{name}: {name}": WRONG}


@pytest.mark.parametrize(
    ("name", "file"),
    [("hf", "config.json"), ("hf", "tokenizer.model"), ("gguf", "Modelfile"), ("hf", "tokenizer.json")],
)
def test_a_file_that_is_far_too_large_is_wrong_and_not_read(copy: Copy, name: str, file: str) -> None:
    folder = copy(name)
    with open_source(folder) as source:
        os.truncate(folder / file, 1 << 40)
        rows = check_beside(
            source.folder, source.files, source.checkpoint, source.layout, SMALL, licence=LICENCE, context_length=512
        )
    assert faults(rows_of(rows, file)) == {f"{file}: {file}": WRONG}


class Failing(LocalFolder):
    """A folder on a disk that gives the bytes of one file no more."""

    broken = ""

    def open(self, name: str) -> Any:
        if name == self.broken:
            raise DiskError(f"{name}: Input/output error")
        return super().open(name)


@pytest.mark.parametrize("file", ["config.json", "tokenizer.model", "tokenizer.json", "LICENSE"])
def test_what_the_disk_does_not_give_is_unreadable_and_the_rest_is_still_judged(made: Copy, file: str) -> None:
    folder = Failing(made("hf"))
    folder.broken = file
    with open_source(made("hf")) as source:
        rows = check_beside(
            folder, source.files, source.checkpoint, source.layout, SMALL, licence=LICENCE, context_length=512
        )
    assert [row.state for row in rows_of(rows, file)] == [RowState.UNREADABLE]
    others = [row for row in rows if row.file != file]
    assert len(others) > 5
    assert faults(others) == {}


def test_a_context_that_the_release_states_is_the_only_one_and_another_is_not_known_otherwise(copy: Copy) -> None:
    folder = copy("safetensors")
    stated = architecture_of(SMALL)
    assert stated is not None
    (folder / "config.json").write_text(json.dumps(stated.to_config("bfloat16") | {"max_position_embeddings": 4096}))
    name = "config.json: max_position_embeddings"
    assert faults(check(folder))[name] is WRONG
    assert faults(check(folder, context_length=None))[name] is UNKNOWN
    for right in (512, 32768):
        edit(folder / "config.json", max_position_embeddings=right)
        assert faults(check(folder)) == {}


def test_what_says_that_this_version_wrote_it_must_be_its_bytes(copy: Copy) -> None:
    folder = copy("hf")
    edit(folder / "config.json")
    assert faults(check(folder)) == {"config.json: config.json": UNKNOWN, "config.json: bytes": UNKNOWN}
    plain = copy("safetensors")
    shutil.copy(folder / "config.json", plain)
    assert faults(check(plain)) == {}


def test_every_key_of_a_foreign_configuration_has_a_row_of_its_own(copy: Copy) -> None:
    folder = copy("hf")
    edit(folder / "config.json", rope_theta=1e4, auto_map={"AutoModel": "evil.Model"}, novelty=[1])
    rows = {row.name: row for row in rows_of(check(folder), "config.json")}
    document = json.loads((folder / "config.json").read_text())
    assert set(document) <= set(rows)
    assert (rows["rope_theta"].state, rows["auto_map"].state, rows["novelty"].state) == (WRONG, UNKNOWN, UNKNOWN)
    assert rows["auto_map"].detail == "a runtime can run code by it"
    assert rows["config.json"].state is WRONG
    assert rows["config.json"].detail == "wrong: rope_theta"


def test_another_tokenizer_is_wrong_everywhere(copy: Copy, tmp_path: Path) -> None:
    other = train_tokenizer(TEXT, 420)
    hf = copy("hf")
    (hf / "tokenizer.model").write_bytes(other)
    rows = rows_of(check(hf), "tokenizer.model")
    assert [row.state for row in rows] == [WRONG]
    assert "has 420 pieces, not 1,024" in rows[0].detail
    release = write_release(tmp_path / "other", replace(MOE, vocab_size=420))
    (release / "tokenizer.model").write_bytes(other)
    convert(ConvertRequest(release, tmp_path / "theirs", verify=False))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "theirs" / name, hf)
    assert faults(check(hf))["tokenizer.json: vocabulary"] is WRONG
    assert faults(check(hf))["tokenizer.json: merges"] is WRONG


@pytest.mark.parametrize("missing", ["params.json", "tokenizer.model"])
@pytest.mark.parametrize("name", ["hf", "gguf", "mistral"])
def test_what_the_manifest_does_not_hold_is_not_checked_with_the_reason(made: Copy, name: str, missing: str) -> None:
    small = ReleaseSmallFiles({key: value for key, value in SMALL.contents.items() if key != missing})
    rows = check(made(name), small)
    assert set(faults(rows).values()) == {UNKNOWN}
    details = {row.detail for row in rows if row.state is UNKNOWN and row.loadable}
    assert any(f"does not hold the release's {missing}" in detail for detail in details)
    if missing == "tokenizer.model":
        assert all("tokenizer" in name for name in faults(rows))


def digests_of(*names: str, algorithm: str = "sha256") -> dict[str, tuple[Digest, ...]]:
    return {name: (digest_bytes(algorithm, SMALL.contents[name]),) for name in names}


def test_a_tokenizer_too_large_for_a_manifest_is_taken_from_the_copy_where_its_digest_is_right(copy: Copy) -> None:
    params = {"params.json": SMALL.contents["params.json"]}
    small = ReleaseSmallFiles(params, digests_of("params.json", "tokenizer.model"))
    for name in ("hf", "gguf", "mistral"):
        assert faults(check(copy(name), small)) == {}
    folder = copy("mlx")
    content = bytearray((folder / "tokenizer.model").read_bytes())
    content[5000] ^= 1
    (folder / "tokenizer.model").write_bytes(content)
    assert faults(check(folder, small))["tokenizer.model: tokenizer.model"] is WRONG
    assert faults(check(folder, small))["tokenizer.json: contents"] is UNKNOWN


def test_what_is_derived_from_a_weakly_proven_tokenizer_is_weak(made: Copy) -> None:
    params = {"params.json": SMALL.contents["params.json"]}
    small = ReleaseSmallFiles(params, digests_of("params.json", "tokenizer.model", algorithm="md5"))
    assert {row.file for row in check(made("hf"), small) if row.weak} == {
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert any(row.weak for row in check(made("gguf"), small) if row.name == "tokenizer.ggml.tokens")
    assert not any(row.weak for row in check(made("hf")))


def test_a_copy_of_a_release_without_a_tokenizer_is_proven_without_one(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", MOE)
    params = (release / "params.json").read_bytes()
    small = ReleaseSmallFiles({"params.json": params}, {"params.json": ()})
    for target in ("hf", "gguf", "mistral"):
        convert(ConvertRequest(release, tmp_path / target, target=target, licence=LICENCE, verify=False))
        assert faults(check(tmp_path / target, small, None)) == {}


@pytest.mark.parametrize("window", [None, 8])
@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
def test_copies_of_other_models_are_proven_whole(architecture: Any, window: int | None, tmp_path: Path) -> None:
    architecture = replace(architecture, sliding_window=window, rope_theta=5e5, norm_eps=1e-6, vocab_size=420)
    release = write_release(tmp_path / "release", architecture)
    (release / "tokenizer.model").write_bytes(train_tokenizer(TEXT, 400))
    small = ReleaseSmallFiles({name: (release / name).read_bytes() for name in ("params.json", "tokenizer.model")})
    for target in ("hf", "mlx", "gguf", "mistral", "safetensors"):
        convert(ConvertRequest(release, tmp_path / target, target=target, licence=LICENCE, verify=False))
        found = faults(check(tmp_path / target, small, None))
        lost = {"model.gguf: sliding_window"} if window and target == "gguf" else set()
        assert set(found) == lost


def test_a_release_in_the_form_of_transformers_is_derived_from_its_own_configuration(
    made: Copy, tmp_path: Path
) -> None:
    names = ("config.json", "generation_config.json", "tokenizer.model", "tokenizer.json", "tokenizer_config.json")
    small = ReleaseSmallFiles({name: (made("hf") / name).read_bytes() for name in names})
    for target in ("hf", "mlx", "gguf", "mistral"):
        convert(ConvertRequest(made("hf"), tmp_path / target, target=target, licence=LICENCE, verify=False))
        assert faults(check(tmp_path / target, small, None)) == {}


@pytest.mark.parametrize(
    "keys",
    [
        {"hidden_act": "gelu"},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"eos_token_id": [7, 9]},
        {"tie_word_embeddings": True},
        {"novelty": 1},
        {"auto_map": {"AutoConfig": "x.Y"}},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["hf", "gguf", "mistral"])
def test_what_the_release_states_and_the_conversion_does_not_carry_is_named(
    copy: Copy, tmp_path: Path, keys: dict[str, Any], target: str
) -> None:
    release = copy("hf")
    edit(release / "config.json", **keys)
    small = ReleaseSmallFiles({name: (release / name).read_bytes() for name in ("config.json", "tokenizer.model")})
    convert(ConvertRequest(release, tmp_path / "out", target=target, licence=LICENCE, verify=False))
    (name,) = keys
    assert any(fault.endswith(f": {name}") for fault in faults(check(tmp_path / "out", small, None)))
    if target == "hf" and name != "auto_map":  # the release's own bytes carry all of it
        shutil.copy(release / "config.json", tmp_path / "out")
        assert faults(check(tmp_path / "out", small, None)) == {}


@pytest.mark.parametrize("key", ["yarn", "vision_encoder", "_sliding_window", "novelty"])
def test_keys_of_the_releases_params_that_no_conversion_carries_are_named(made: Copy, key: str) -> None:
    params = json.loads(SMALL.contents["params.json"]) | {key: {"a": 1}}
    small = ReleaseSmallFiles({**SMALL.contents, "params.json": json.dumps(params).encode()})
    for name in ("hf", "gguf", "mistral"):
        assert any(fault.endswith(f": {key}") for fault in faults(check(made(name), small)))


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"dim": 0}', b'{"dim": 4, "sliding_window": [1]}', b"{" * 5000, b'{"a": 1, "a": 2}']
)
def test_a_release_whose_own_configuration_is_not_understood_proves_nothing(made: Copy, content: bytes) -> None:
    small = ReleaseSmallFiles({**SMALL.contents, "params.json": content})
    with pytest.raises(LayoutError):
        architecture_of(small)
    for name in ("hf", "gguf"):
        found = faults(check(made(name), small))
        assert found
        assert set(found.values()) == {UNKNOWN}


def test_a_release_whose_two_configurations_disagree_proves_nothing(made: Copy) -> None:
    config = (made("hf") / "config.json").read_bytes().replace(b'"num_hidden_layers": 4', b'"num_hidden_layers": 5')
    with pytest.raises(LayoutError, match="different models"):
        architecture_of(ReleaseSmallFiles({**SMALL.contents, "config.json": config}))


def test_the_architecture_of_a_release_is_known_without_any_copy() -> None:
    architecture = architecture_of(SMALL)
    assert architecture is not None
    assert (architecture.n_experts, architecture.vocab_size, architecture.context_length) == (8, 1024, None)
    assert architecture_of(ReleaseSmallFiles()) is None


def test_a_window_that_the_publisher_quotes_and_keys_that_are_null_are_carried(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", DENSE)
    edit(release / "params.json", sliding_window="4096", moe=None, novelty=None)
    small = ReleaseSmallFiles({"params.json": (release / "params.json").read_bytes()}, {})
    for target in ("hf", "mistral"):
        convert(ConvertRequest(release, tmp_path / target, target=target, licence=LICENCE, verify=False))
        assert faults(check(tmp_path / target, small, None)) == {}


def test_the_releases_own_index_does_not_prove_a_copy_that_is_divided_in_another_way(copy: Copy) -> None:
    index = "model.safetensors.index.json"
    content = (copy("hf-sharded") / index).read_bytes()
    small = ReleaseSmallFiles({**SMALL.contents, index: content})
    folder = copy("hf")
    with open_source(folder) as source:
        (folder / index).write_bytes(content)
        rows = check_beside(source.folder, source.files, source.checkpoint, source.layout, small, licence=LICENCE)
    assert faults(rows)[f"{index}: weight_map"] is WRONG


def test_files_with_other_names_have_no_rows(copy: Copy) -> None:
    folder = copy("hf")
    for name in ("modeling_evil.py", "README.md", "chat_template.jinja", "Config.json"):
        (folder / name).write_text("x")
    assert {row.file for row in check(folder)}.isdisjoint({"modeling_evil.py", "README.md", "chat_template.jinja"})


FROM, TEMPLATE, SIZE = "FROM ./model.gguf", 'TEMPLATE """{{ .Prompt }}"""', "PARAMETER num_ctx 512"


@pytest.mark.parametrize(
    ("lines", "name", "state"),
    [
        (["FROM ./other.gguf", TEMPLATE, SIZE], "FROM", WRONG),
        ([TEMPLATE, SIZE], "FROM", WRONG),
        ([FROM, 'TEMPLATE """{{ .System }}"""', SIZE], "line 2", UNKNOWN),
        ([FROM, 'TEMPLATE """', "{{ .Prompt }}", '"""', SIZE], "line 2", UNKNOWN),
        ([FROM, SIZE], "TEMPLATE", UNKNOWN),
        ([FROM, TEMPLATE], "num_ctx", UNKNOWN),
        ([FROM, TEMPLATE, "PARAMETER num_ctx 7"], "num_ctx", WRONG),
        ([FROM, TEMPLATE, "PARAMETER num_ctx \u0663"], "num_ctx", WRONG),
        ([FROM, TEMPLATE, SIZE, "PARAMETER temperature 2"], "line 4", UNKNOWN),
        ([FROM, TEMPLATE, SIZE, "SYSTEM you are evil"], "line 4", UNKNOWN),
        ([FROM, TEMPLATE, SIZE, "ADAPTER ./x.gguf"], "line 4", UNKNOWN),
        ([FROM, TEMPLATE, SIZE, FROM], "line 4", UNKNOWN),
        ([FROM, TEMPLATE, SIZE, *["#"] * 2000], "Modelfile", UNKNOWN),
        (["\udcff"], "Modelfile", WRONG),
    ],
)
def test_a_modelfile_is_judged_line_by_line(lines: list[str], name: str, state: RowState) -> None:
    content = "\n".join(lines).encode("utf-8", "surrogateescape")
    found = {each.name: each.state for each in judge_modelfile(content, "model.gguf", Contexts(frozenset({512}), True))}
    assert found[name] is state


def test_a_modelfile_that_says_the_same_in_other_words_is_right() -> None:
    content = f"# theirs\n\nfrom model.gguf\n{SIZE}\n{TEMPLATE}".encode()
    judged = judge_modelfile(content, "model.gguf", Contexts(frozenset({512}), True))
    assert {each.state for each in judged} == {RowState.PROVEN}
