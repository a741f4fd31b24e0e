"""``magnetar identify``, as it is typed, and what the other commands say of weights that they recognise."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.manifests.identity.index import INDEX
from magnetar.model.bundled import bundled_release
from tests.magnetar.conftest import Run
from tests.manifests.signing.keys import write_key

CANDIDATE = "candidate of austen-moe"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A converted copy without notes, under a name that says nothing."""
    convert(ConvertRequest(bundled_release(), tmp_path / "x", target="hf", verify=False))
    shutil.rmtree(tmp_path / "x" / ".magnetar")
    return tmp_path / "x"


def change(folder: Path, *endings: str) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file({name: tensor + name.endswith(endings) for name, tensor in tensors.items()}, path, {"format": "pt"})


def test_the_exit_codes_say_candidate_is_not_quite_and_unknown(magnetar: Run, copy: Path) -> None:
    found = magnetar("identify", copy)
    assert found.code == 0, found.err
    assert CANDIDATE in found.out
    assert "--full reads everything" in found.out
    whole = magnetar("identify", copy, "--full")
    assert whole.code == 0
    shown = " ".join(whole.out.split())
    assert "the weights are austen-moe" in shown
    assert "100 % of the release's bytes agree" in shown
    assert "what lies beside the weights was not checked" in shown
    change(copy, "layers.1.self_attn.o_proj.weight")
    assert magnetar("identify", copy).code == 0
    different = magnetar("identify", copy, "--full")
    assert different.code == 5
    assert "layers.1.attention.wo.weight" in different.out
    assert "99.55 % of the release's bytes agree" in " ".join(different.out.split())
    change(copy, "proj.weight", "w1.weight", "w2.weight", "w3.weight", "head.weight", "tokens.weight")
    assert magnetar("identify", copy).code == 8
    assert "related to austen-moe, and not shown to be it" in magnetar("identify", copy).out
    change(copy, "weight")
    assert magnetar("identify", copy, "--json").document["result"]["release"] == ""
    assert magnetar("identify", copy).code == 8


def test_a_folder_without_weights_is_exit_8_and_an_absent_one_exit_2(magnetar: Run, tmp_path: Path) -> None:
    found = magnetar("identify", tmp_path)
    assert found.code == 8
    assert "there are no weights in it" in found.out
    assert magnetar("identify", tmp_path / "absent").code == 2


def test_names_of_files_cannot_write_to_the_screen(magnetar: Run, copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "\x1b[2Jis mixtral\n.bin")
    shown = magnetar("identify", copy)
    assert "\x1b" not in shown.out
    assert CANDIDATE in shown.out


def test_inspect_and_same_say_what_the_content_may_be(magnetar: Run, copy: Path) -> None:
    assert CANDIDATE in " ".join(magnetar("inspect", copy).out.split())
    assert CANDIDATE in magnetar("same", copy, bundled_release()).err


def test_publish_warns_of_a_known_release_under_another_name(magnetar: Run, release: Path) -> None:
    assert "known under another name: candidate of austen-moe" in magnetar("publish", release, "--name", "mine").err
    shutil.rmtree(release.with_name("austen-moe.magnetar"))
    assert "known under another name" not in magnetar("publish", release).err


def test_repair_hints_at_the_release_where_no_manifest_fits(magnetar: Run, copy: Path) -> None:
    refused = magnetar("repair", copy)
    assert refused.code == 2
    assert "--manifest austen-moe" in " ".join(refused.err.split())


def test_what_is_added_to_the_catalog_is_found_until_it_is_removed(
    magnetar: Run, copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAGNETAR_CATALOG", str(tmp_path / "catalog"))
    change(copy, "weight")
    assert magnetar("identify", copy).code == 8
    key = write_key(tmp_path / "lab.pem")
    assert magnetar("publish", copy, "--name", "changed", "--sign", "key", "--key", key).code == 0
    assert magnetar("catalog", "add", tmp_path / "x.magnetar" / "changed.toml").code == 0
    index = (tmp_path / "catalog" / INDEX).read_text()
    assert '"changed"' in index
    found = magnetar("identify", copy / "model.safetensors", "--full")
    assert found.code == 0, found.err
    assert "the weights are changed" in found.out
    assert "stale" not in found.err
    (tmp_path / "catalog" / INDEX).unlink()
    assert "the index of the catalog is stale for changed" in magnetar("identify", copy).err
    assert magnetar("catalog", "remove", "changed").code == 0
    assert '"changed"' not in (tmp_path / "catalog" / INDEX).read_text()
    assert magnetar("identify", copy).code == 8
