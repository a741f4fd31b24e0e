"""Conversions with what is known of the release: whose digests are compared, and what is recorded of it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import SIDE_FILES_ROOM
from magnetar.errors import ManifestError, UsageError, WrongBytesError
from magnetar.events import Ended, Event, Skipped, Step
from magnetar.fetch.download.fetch import Fetched
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.manifests.catalog import find_release
from magnetar.manifests.hashing.digests import new_hasher
from magnetar.manifests.tensor_digests import format_tensor_digests
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.convert import convert_release, forecast_release
from magnetar.pipeline.get import GetRequest, get
from tests.convert.forge import MOE, write_release
from tests.magnetar.conftest import Run

AUSTEN = find_release("austen-moe")


def note_of(folder: Path) -> str:
    return (folder / "CONVERSION.md").read_text()


def alter(release: Path, name: str = "output.weight") -> None:
    """Change a number of the bundled release, in a container that is whole in itself."""
    tensors = torch.load(release / "consolidated.00.pth")
    tensors[name].view(torch.uint8).view(-1)[0] ^= 1
    torch.save(tensors, release / "consolidated.00.pth")


def fetched(folder: Path, infohash_v1: str) -> Fetched:
    metadata = Metadata(folder.name, infohash_v1, "", 1 << 14, 1, (), (), (), False)
    return Fetched(folder, metadata, 0, 0, 0.0, True, ())


def test_what_the_catalog_knows_goes_into_the_record_as_far_as_it_is_proven(tmp_path: Path) -> None:
    converted = convert_release(ConvertRequest(bundled_release(), tmp_path / "out", verify=False))
    assert (converted.proven, converted.listed) == (127, 127)
    assert converted.listed_in == "the catalog's manifest of austen-moe"
    assert converted.notes == ()  # the licence is known, and its text is there
    note = note_of(tmp_path / "out")
    assert "These are the weights of austen-moe, by the word of the catalog's manifest of austen-moe." in note
    assert "all 127 tensors of the source had the digests that the catalog's manifest of austen-moe lists" in note
    assert "Made from" not in note  # no file was digested


def test_a_forecast_is_of_the_conversion_that_would_be_done(tmp_path: Path) -> None:
    request = ConvertRequest(bundled_release(), tmp_path / "out", target="gguf", verify=False)
    foreseen = forecast_release(request)
    converted = convert_release(request)
    assert {file.path: file.size for file in foreseen.files}.items() <= {
        file.path: file.size for file in converted.files
    }.items()
    assert forecast_release(request).missing == SIDE_FILES_ROOM  # the folder is known again as that conversion


def test_weights_that_are_not_their_release_are_not_converted(magnetar: Run, release: Path, tmp_path: Path) -> None:
    alter(release, "layers.2.attention.wk.weight")
    refused = magnetar("convert", release, tmp_path / "out", "--json")
    assert refused.code == 5
    error = refused.document["error"]
    assert "layers.2.attention.wk.weight: has another SHA-256 than the one in the catalog's" in error["message"]
    assert error["details"]["paths"] == ["consolidated.00.pth"]
    assert not list((tmp_path / "out").glob("*.json"))
    meant = magnetar("convert", release, tmp_path / "meant", "--no-check", "--json").document["result"]
    assert (meant["proven"], meant["listed"], meant["listed_in"]) == (0, 0, "")
    assert "not compared with the digests of any manifest" in note_of(tmp_path / "meant")


def test_the_command_says_how_many_tensors_it_proved_and_by_whose_word(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    words = "127 tensors, 7.2 MB in"
    shown = " ".join(magnetar("convert", release, tmp_path / "out").out.split())
    assert words in shown
    assert "; all have the digests in the catalog's manifest of austen-moe; read back in" in shown
    again = " ".join(magnetar("convert", release, tmp_path / "out", "--no-compare").out.split())
    assert "had been converted before, as its journal says: 127 tensors, 7.2 MB; 0 of 127 have the digests" in again
    assert again.endswith("; not compared")


def test_a_release_that_changes_between_its_verification_and_its_conversion_is_found_out(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digests of the files were right a moment ago; what is converted is what is read now."""
    assert AUSTEN.infohash_v1 is not None
    arrived = fetched(release, AUSTEN.infohash_v1)
    monkeypatch.setattr("magnetar.pipeline.get.fetch_release", lambda *_args, **_options: arrived)
    altered = []

    def alter_after_verifying(event: Event) -> None:
        if event == Ended(Step.VERIFY):
            alter(release)
            altered.append(True)

    request = GetRequest(wanted=None, parent=tmp_path, smoke_test=False)  # type: ignore[arg-type]  # nothing is fetched
    with pytest.raises(WrongBytesError, match=r"output\.weight"):
        get(request, alter_after_verifying)
    assert altered == [True]
    assert not (tmp_path / "austen-moe-hf" / "CONVERSION.md").exists()


def test_a_tensor_that_get_could_not_compare_keeps_it_from_being_good(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AUSTEN.infohash_v1 is not None
    arrived = fetched(release, AUSTEN.infohash_v1)
    monkeypatch.setattr("magnetar.pipeline.get.fetch_release", lambda *_args, **_options: arrived)

    def widen_after_verifying(event: Event) -> None:
        if event == Ended(Step.VERIFY):
            tensors = torch.load(release / "consolidated.00.pth")
            torch.save(tensors | {"norm.weight": tensors["norm.weight"].float()}, release / "consolidated.00.pth")

    request = GetRequest(wanted=None, parent=tmp_path, smoke_test=False)  # type: ignore[arg-type]  # nothing is fetched
    got = get(request, widen_after_verifying)
    assert got.converted is not None
    assert (got.converted.proven, got.converted.listed) == (126, 127)
    assert got.outcome == "unknown"


@pytest.mark.parametrize("check", [True, False])
def test_get_compares_digests_unless_no_manifest_is_to_be_asked(
    check: bool, release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert AUSTEN.infohash_v1 is not None
    arrived = fetched(release, AUSTEN.infohash_v1)
    monkeypatch.setattr("magnetar.pipeline.get.fetch_release", lambda *_args, **_options: arrived)
    request = GetRequest(wanted=None, parent=tmp_path, check=check, smoke_test=False)  # type: ignore[arg-type]  # as above
    got = get(request)
    assert got.converted is not None
    assert (got.converted.proven, got.converted.listed) == ((127, 127) if check else (0, 0))
    assert got.outcome == "good"
    again = get(request)
    assert again.converted is not None
    assert (again.converted.already, again.converted.verified) == (True, True)
    assert again.steps[-1].verdict.startswith("converted before, as its journal says: 127 tensors, ")


def test_a_link_that_the_catalog_does_not_know_is_no_release_of_it_whatever_its_files_are_called(
    release: Path, tmp_path: Path
) -> None:
    alter(release)
    request = ConvertRequest(release, tmp_path / "out")
    with pytest.raises(WrongBytesError):
        convert_release(request)
    converted = convert_release(ConvertRequest(release, tmp_path / "other"), fetched=fetched(release, "0" * 40))
    assert (converted.proven, converted.listed) == (0, 0)
    assert "These are the weights in the folder austen-moe. They" in note_of(tmp_path / "other")


@pytest.fixture
def unknown(tmp_path: Path) -> Path:
    """A release that no catalog knows, with a manifest of its own that claims to be another one's."""
    folder = write_release(tmp_path / "unknown", MOE)
    (folder / "consolidated.00.pth").rename(folder / "pytorch_model.bin")  # a name that no release of the catalog has
    with open_source(folder) as source:
        side = format_tensor_digests(tensor_digests(source))
    (folder / "its.tensors.json").write_bytes(side)
    hasher = new_hasher("sha256")
    hasher.update(memoryview(side))
    (folder / "magnetar.toml").write_text(
        'format = 1\nname = "mixtral-8x7b-v0.1"\ntitle = "x"\npublisher = "x"\nlicence = "Apache-2.0"\n'
        f'[tensors]\npath = "its.tensors.json"\ndigest = "sha256:{hasher.hexdigest()}"\n'
    )
    return folder


def test_a_manifest_that_came_with_the_weights_is_called_that(unknown: Path, tmp_path: Path) -> None:
    converted = convert_release(ConvertRequest(unknown, tmp_path / "out"))
    assert (converted.proven, converted.listed_in) == (35, "the source's own manifest")
    assert "had the digests that the source's own manifest lists" in note_of(tmp_path / "out")
    assert "the weights of mixtral-8x7b-v0.1, by the word of the source's own manifest." in note_of(tmp_path / "out")
    assert "the catalog" not in note_of(tmp_path / "out")
    published = tmp_path / "unknown.magnetar"
    published.mkdir()
    for name in ("magnetar.toml", "its.tensors.json"):
        (unknown / name).rename(published / name)
    again = convert_release(ConvertRequest(unknown, tmp_path / "again"))
    assert (again.proven, again.listed_in) == (35, "the manifest published beside the source")


def test_digests_that_are_not_beside_their_manifest_are_missed_aloud_and_damaged_ones_refused(
    unknown: Path, tmp_path: Path
) -> None:
    side, events = unknown / "its.tensors.json", list[Event]()
    side.write_bytes(side.read_bytes() + b" ")
    with pytest.raises(ManifestError, match="is not the list of tensors"):
        convert_release(ConvertRequest(unknown, tmp_path / "out"))
    side.unlink()
    converted = convert_release(ConvertRequest(unknown, tmp_path / "out"), emit=events.append)
    assert (converted.proven, converted.listed) == (0, 0)
    assert [event.what for event in events if isinstance(event, Skipped)] == ["the digests of tensors"]
    assert "not compared with the digests of any manifest" in note_of(tmp_path / "out")


def test_what_a_note_names_makes_no_difference_to_what_a_source_is_held_against(release: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    convert_release(ConvertRequest(release, copy, target="mistral"))
    converted = convert_release(ConvertRequest(copy, tmp_path / "again", target="hf"))
    assert (converted.proven, converted.listed) == (127, 127)  # the copy has the release's layout
    tensors = load_file(copy / "consolidated.safetensors")
    tensors["norm.weight"][0] += 1
    save_file(tensors, copy / "consolidated.safetensors")
    with pytest.raises(WrongBytesError, match=r"norm\.weight"):
        convert_release(ConvertRequest(copy, tmp_path / "third", target="hf"))
    journal = copy / ".magnetar" / "conversion.json"
    journal.write_text(
        json.dumps(json.loads(journal.read_text()) | {"release": str(shutil.copytree(copy, tmp_path / "x"))})
    )
    with pytest.raises(WrongBytesError, match=r"norm\.weight"):  # its content says which release it is
        convert_release(ConvertRequest(copy, tmp_path / "fourth", target="hf"))


def test_a_format_that_is_not_known_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    request = GetRequest(wanted=None, parent=tmp_path, target="nonsense")  # type: ignore[arg-type]  # nothing is fetched
    with pytest.raises(UsageError, match="'nonsense' is not known"):
        get(request)
    assert not list(tmp_path.iterdir())


def test_a_fine_tune_with_the_names_and_norms_of_a_release_is_converted_and_not_called_it(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    weights = torch.load(release / "consolidated.00.pth")
    tuned = {name: tensor if tensor.ndim == 1 else tensor * 1.01 for name, tensor in weights.items()}
    torch.save(tuned, release / "consolidated.00.pth")
    converted = magnetar("convert", release, tmp_path / "out", "--json")
    assert converted.code == 0, converted.out
    assert converted.document["result"]["listed"] == 0
    assert "austen-moe, by the word of" not in note_of(tmp_path / "out")
