"""A verdict says what was checked: what other people's folders have made it say too much about, each by its name."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.formats.gguf import Field, MetadataType
from magnetar.convert.read.checkpoint_source import AS_IS, open_as_it_is
from magnetar.files import STATE_FOLDER
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.model.bundled import bundled_release
from tests.gguf_files import change_field
from tests.magnetar.conftest import Run
from tests.magnetar.pipeline.proving.conftest import TARGETS

CopyOf = Callable[[str], Path]
RELEASE = "austen-moe"


def write_json(path: Path, **changes: object) -> None:
    path.parent.mkdir(exist_ok=True)
    document = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(document | changes))


def note_conversion(folder: Path, release: str) -> None:
    """Forge the note of a conversion, as ours writes it."""
    noted = {"format": 1, "plan": "", "release": release, "target": "hf", "compared": True, "done": True, "files": {}}
    write_json(folder / STATE_FOLDER / "conversion.json", **noted)


def alter(path: Path, offset: int = -5000, count: int = 4000) -> None:
    """Invert thousands of bytes of what is a tensor."""
    content = bytearray(path.read_bytes())
    begin = len(content) + offset
    content[begin : begin + count] = bytes(byte ^ 0x55 for byte in content[begin : begin + count])
    path.write_bytes(content)


@pytest.mark.parametrize("target", [*TARGETS, "hf-sharded"])
def test_an_untouched_copy_is_the_release_with_nothing_hidden_beside_it(
    magnetar: Run, originals: Path, target: str
) -> None:
    shown = magnetar("verify", originals / target, "--json")
    result = shown.document["result"]
    assert [row for row in result["ledger"] if row["loadable"] and row["state"] != "proven"] == []
    assert (shown.code, result["verdict"], result["release"]) == (0, "the release", RELEASE)
    assert "good: the release" in magnetar("verify", originals / target).out
    assert magnetar("verify", originals / target, "--strict", "-m", RELEASE).code == 0


def test_a_bare_gguf_file_is_the_release_whatever_its_name(magnetar: Run, originals: Path, tmp_path: Path) -> None:
    shutil.copy(originals / "gguf" / "model.gguf", tmp_path / "x.gguf")
    assert magnetar("verify", tmp_path / "x.gguf").code == 0


def test_weights_under_a_name_that_no_runtime_looks_for_are_known_and_named(magnetar: Run, copy_of: CopyOf) -> None:
    copy = copy_of("hf")
    (copy / "model.safetensors").rename(copy / "weights.dat")
    shown = magnetar("verify", copy)
    assert shown.code == 8
    assert "127 of 127 tensors" in shown.out
    assert "weights.dat: no runtime looks for weights" in shown.out


def test_the_same_bytes_copied_without_the_hidden_folder_are_known(
    magnetar: Run, copy_of: CopyOf, tmp_path: Path
) -> None:
    plain = copy_of("hf").rename(tmp_path / "plain")
    assert magnetar("verify", plain).code == 0


@pytest.mark.parametrize("release", ["attack.toml", RELEASE, "grok-1"])
def test_altered_tensors_stay_altered_whatever_a_note_in_the_folder_names(
    magnetar: Run, copy_of: CopyOf, tmp_path: Path, release: str
) -> None:
    evil = copy_of("gguf")
    alter(evil / "model.gguf")
    manifest = tmp_path / "attack.toml"
    made = magnetar(
        "manifest", "create", evil, "--name", "attack", "--publisher", "me", "--licence", "MIT", "-o", manifest
    )
    assert made.code == 0, made.err
    note_conversion(evil, str(manifest) if release.endswith(".toml") else release)
    for flags in ((), ("--strict",)):
        shown = magnetar("verify", evil, *flags)
        assert shown.code == 5
        assert "good" not in shown.out.splitlines()[-1]


def test_a_note_of_a_conversion_does_not_turn_a_release_with_foreign_files_into_a_copy(
    magnetar: Run, release: Path
) -> None:
    (release / "tokenizer.model").write_bytes(os.urandom(14_799))
    (release / "modeling_evil.py").write_text("import os")
    write_json(release / "params.json", norm_eps=1e-3)
    assert magnetar("verify", release).code == 5
    note_conversion(release, RELEASE)
    for flags in ((), ("--strict", "-m", RELEASE), ("-m", RELEASE)):
        shown = magnetar("verify", release, *flags)
        assert shown.code == 5
        assert "modeling_evil.py" in shown.out


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("rope_theta", 1e4, 5),
        ("rope_parameters", {"rope_theta": 1e6, "rope_type": "yarn", "factor": 4.0}, 5),
        ("hidden_act", "gelu", 5),
        ("num_experts_per_tok", 1, 5),
        ("rms_norm_eps", 1e-3, 5),
        ("tie_word_embeddings", True, 5),
        ("sliding_window", 7, 5),
        ("auto_map", {"AutoModelForCausalLM": "evil/repository--modeling_evil.Model"}, 8),
        ("nobody_knows_this_key", 1, 8),
    ],
)
def test_a_configuration_that_is_not_the_releases_is_seen(
    magnetar: Run, copy_of: CopyOf, key: str, value: object, code: int
) -> None:
    copy = copy_of("hf")
    write_json(copy / "config.json", **{key: value})
    shown = magnetar("verify", copy)
    assert shown.code == code
    assert key in shown.out
    assert "127 of 127 tensors" in shown.out


@pytest.mark.parametrize("target", ["hf", "mlx", "mistral"])
def test_other_tokenizer_files_are_wrong_and_none_at_all_is_not_the_whole(
    magnetar: Run, copy_of: CopyOf, target: str
) -> None:
    copy = copy_of(target)
    content = (copy / "tokenizer.model").read_bytes()
    (copy / "tokenizer.model").write_bytes(content[:-200] + os.urandom(200))
    assert magnetar("verify", copy).code == 5
    for path in copy.glob("tokenizer*"):
        path.unlink()
    shown = magnetar("verify", copy)
    assert shown.code == 8
    assert "tokenizer.model" in shown.out


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("llama.rope.freq_base", lambda _old: 10.0),
        ("llama.expert_used_count", lambda _old: 1),
        ("tokenizer.ggml.tokens", lambda old: [*old[:300], *reversed(old[300:])]),
        ("tokenizer.ggml.scores", lambda old: [score - 1 for score in old]),
        ("tokenizer.ggml.bos_token_id", lambda _old: 2),
        ("tokenizer.ggml.add_bos_token", lambda old: not old),
    ],
)
def test_a_gguf_header_that_is_not_the_releases_is_seen(
    magnetar: Run, copy_of: CopyOf, key: str, change: Callable[[object], object]
) -> None:
    copy = copy_of("gguf")
    change_field(copy / "model.gguf", key, change)
    for path in (copy, copy / "model.gguf"):
        assert magnetar("verify", path).code == 5


def test_a_chat_template_runs_code_and_is_named(magnetar: Run, copy_of: CopyOf) -> None:
    copy = copy_of("gguf")
    change_field(copy / "model.gguf", "tokenizer.chat_template", Field("", MetadataType.STRING, "{{ evil }}"))
    shown = magnetar("verify", copy)
    assert shown.code == 8
    assert "chat_template" in shown.out


@pytest.mark.parametrize("second", ["model.safetensors", "pytorch_model.bin", "other.gguf"])
def test_a_second_set_of_weights_is_examined_and_decides_too(
    magnetar: Run, copy_of: CopyOf, originals: Path, second: str
) -> None:
    copy = copy_of("hf-sharded")
    source = originals / "gguf" / "model.gguf" if second == "other.gguf" else originals / "hf" / "model.safetensors"
    shutil.copy(source, copy / second)
    whole = magnetar("verify", copy, "-m", RELEASE)
    assert whole.code in (0, 8)  # a set may want files beside it that are those of another kind
    alter(copy / second)
    shown = magnetar("verify", copy, "-m", RELEASE)
    assert shown.code == 5
    assert second in shown.out


def test_foreign_code_and_unknown_files_beside_a_copy_are_named(magnetar: Run, copy_of: CopyOf) -> None:
    copy = copy_of("hf")
    (copy / "README.md").write_text("hello")
    assert magnetar("verify", copy).code == 0
    for path in ("modeling_evil.py", "sub/pytorch_model.bin", ".git/hooks/post-checkout", ".magnetar/x.py"):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        (copy / path).write_text("import os")
        shown = magnetar("verify", copy)
        assert shown.code == 8
        assert path in shown.out
        assert magnetar("verify", copy, "--strict").code == 5
        (copy / path).unlink()
    assert magnetar("verify", copy).code == 0


def test_same_says_the_same_tensors_and_that_the_configuration_differs(magnetar: Run, copy_of: CopyOf) -> None:
    copy = copy_of("hf")
    assert magnetar("same", bundled_release(), copy).code == 0
    write_json(copy / "config.json", rope_theta=1e4, rope_parameters={"rope_theta": 1e4, "rope_type": "default"})
    shown = magnetar("same", bundled_release(), copy)
    assert shown.code == 5
    assert "the same tensors, and another configuration" in shown.out
    assert "rope_theta is 10000.0" in shown.out


def test_a_release_of_another_family_is_proven_by_tensors_as_they_are_and_by_bytes(
    magnetar: Run, tmp_path: Path
) -> None:
    release = tmp_path / "other"
    release.mkdir()
    generator = torch.Generator().manual_seed(1)
    tensors = {f"h.{number}.c_attn.weight": torch.randn(8, 24, generator=generator) for number in range(40)}
    save_file(tensors, release / "model.safetensors")
    (release / "config.json").write_text('{"model_type": "gpt2"}')
    with open_as_it_is(release) as source:
        listed = format_tensor_digests(tensor_digests(source, layout=AS_IS))
    (tmp_path / "other.tensors.json").write_bytes(listed)
    digest = hashlib.sha256(listed).hexdigest()
    facts = ("--name", "other", "--title", "x", "--publisher", "me", "--licence", "MIT")
    manifest = tmp_path / "other.toml"
    made = magnetar("manifest", "create", release, *facts, "-o", manifest)
    assert made.code == 0, made.err
    table = f'tensors = {{ path = "other.tensors.json", digest = "sha256:{digest}" }}\n'
    manifest.write_text(table + manifest.read_text())
    copy = tmp_path / "copy"
    copy.mkdir()
    save_file(dict(reversed(tensors.items())), copy / "pytorch_model.safetensors", metadata={"format": "pt"})
    shutil.copy(release / "config.json", copy)
    shown = magnetar("verify", copy, "-m", manifest)
    assert shown.code == 0, shown.out
    alter(copy / "pytorch_model.safetensors", offset=-5000, count=10)
    assert magnetar("verify", copy, "-m", manifest).code == 5


def test_a_manifest_without_digests_of_tensors_says_what_cannot_be_proven(
    magnetar: Run, copy_of: CopyOf, tmp_path: Path
) -> None:
    facts = ("--name", "mine", "--title", "x", "--publisher", "me", "--licence", "MIT")
    manifest = tmp_path / "mine.toml"
    assert magnetar("manifest", "create", bundled_release(), *facts, "-o", manifest).code == 0
    shown = magnetar("verify", copy_of("hf"), "-m", manifest)
    assert shown.code == 8
    assert "the manifest has no digests of tensors" in shown.out


def test_what_does_not_apply_to_a_copy_or_to_a_release_is_said(magnetar: Run, originals: Path) -> None:
    assert "a converted copy is read whole" in magnetar("verify", originals / "hf", "--quick").err
    told = magnetar("verify", bundled_release(), "--reference", bundled_release()).err
    assert "these are the release's own files" in told


def test_of_a_single_file_it_is_said_that_nothing_else_was_looked_at(magnetar: Run, originals: Path) -> None:
    shown = magnetar("verify", originals / "hf" / "model.safetensors")
    assert shown.code == 0
    assert "what lies beside it was not checked" in shown.out
