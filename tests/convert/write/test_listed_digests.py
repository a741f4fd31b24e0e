"""The digests that a manifest lists are compared in the pass that converts, and only what it proved is recorded."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from magnetar.byte_source import LocalFile
from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import AS_IS, open_as_it_is, open_source
from magnetar.convert.write import engine
from magnetar.convert.write.convert import Converted, convert, forecast
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.journal import Conversion, read_conversion, record_conversion
from magnetar.errors import UsageError, WrongBytesError
from magnetar.events import Emit, Event, Moved, ignore
from magnetar.files import STATE_FOLDER
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, write_release

TARGETS = ("hf", "mistral", "gguf", "mlx", "safetensors")
LAYOUTS = ("mistral", "mistral-fused", "hf", "hf-fused", "mlx", "gguf")
SHARD = 5000
PAYLOAD = 2 * MOE.total_parameters


def list_digests(path: Path) -> TensorDigests:
    """What a manifest lists of a release: its own tensors, as they lie in its own layout."""
    with open_source(path) as source:
        return tensor_digests(source, layout=source.layout)


def write_plain(folder: Path, architecture: Architecture = MOE, tensors: Tensors | None = None) -> Path:
    """A release in a container without checksums, so that nothing but a digest shows a change."""
    folder.mkdir(exist_ok=True)
    (folder / "params.json").write_text(json.dumps(architecture.to_params()))
    save_file(random_tensors(architecture) if tensors is None else tensors, folder / "consolidated.safetensors")
    return folder


def run(source: Path, out: Path, listed: TensorDigests | None, *, emit: Emit = ignore, **options: Any) -> Converted:
    return convert(ConvertRequest(source, out, tensors=listed, listed_in="the manifest of x", **options), emit)


def change(path: Path, name: str, byte: int = 3) -> None:
    """Change one bit of a tensor where it lies."""
    with open_source(path) as source:
        offset, file = source.checkpoint.specs[name].offset + byte, source.paths[0]
    with file.open("r+b") as stream:
        stream.seek(offset)
        (old,) = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([old ^ 1]))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def note_of(out: Path) -> str:
    return (out / "CONVERSION.md").read_text()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], int]:
    """How many bytes were read of a file through its byte source."""
    counts: dict[str, int] = {}
    read_into = LocalFile.read_into

    def count(file: LocalFile, offset: int, buffer: memoryview) -> None:
        counts[str(file.path)] = counts.get(str(file.path), 0) + len(buffer)
        read_into(file, offset, buffer)

    monkeypatch.setattr(LocalFile, "read_into", count)
    return lambda path: counts.get(str(path), 0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("target", TARGETS)
def test_each_tensor_of_any_layout_is_proven_as_it_is_converted(
    layout: str, target: str, tmp_path: Path, out: Path
) -> None:
    source = write_release(tmp_path / "source", MOE, random_tensors(MOE, layout))
    listed = list_digests(source)
    converted = run(source, out, listed, target=target, verify=False)
    assert (converted.proven, converted.listed) == (len(listed.tensors), len(listed.tensors))
    assert converted.verified is False
    convert(ConvertRequest(source, tmp_path / "unlisted", target=target, verify=False))
    ours, theirs = contents(out), contents(tmp_path / "unlisted")
    assert {name for name in ours if ours[name] != theirs[name]} == {"CONVERSION.md"}


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0"])
def test_numbers_that_are_written_in_another_format_are_digested_before_they_are_recoded(
    dtype: str, tmp_path: Path, out: Path
) -> None:
    source = write_plain(tmp_path / "source")
    listed = list_digests(source)
    converted = run(source, out, listed, target="gguf", dtype=dtype, allow_overflow=True)
    assert (converted.proven, converted.verified) == (35, True)
    change(source, "output.weight")
    with pytest.raises(WrongBytesError, match=r"output\.weight"):
        run(source, tmp_path / "other", listed, target="gguf", dtype=dtype, allow_overflow=True)


@pytest.mark.parametrize("target", TARGETS)
def test_no_byte_of_the_weights_is_read_a_second_time_for_their_digests(
    target: str, tmp_path: Path, out: Path, reads: Callable[[Path], int]
) -> None:
    source = write_plain(tmp_path / "source")
    weights = source / "consolidated.safetensors"
    listed, header = list_digests(source), weights.stat().st_size - PAYLOAD
    before = reads(weights)
    assert run(source, out, listed, target=target, verify=False).proven == 35
    assert PAYLOAD <= reads(weights) - before <= PAYLOAD + 2 * header
    before = reads(weights)
    assert run(source, tmp_path / "compared", listed, target=target).proven == 35
    assert 2 * PAYLOAD <= reads(weights) - before <= 2 * PAYLOAD + 2 * header


@given(data=st.data())
def test_any_changed_byte_of_any_tensor_is_found_and_its_tensor_named(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    source = write_plain(folder / "source", DENSE)
    listed = list_digests(source)
    name = data.draw(st.sampled_from(sorted(listed.tensors)))
    with open_source(source) as opened:
        size = opened.checkpoint.specs[name].nbytes
    change(source, name, data.draw(st.integers(0, size - 1)))
    target = data.draw(st.sampled_from(TARGETS))
    with pytest.raises(WrongBytesError) as caught:
        run(source, folder / "out", listed, target=target, verify=data.draw(st.booleans()))
    assert caught.value.message.startswith(f"{name}: has another SHA-256 than the one in the manifest of x")
    assert caught.value.paths == ("consolidated.safetensors",)
    assert not list((folder / "out").iterdir())[1:]  # the state folder


@pytest.mark.parametrize("name", ["tok_embeddings.weight", "layers.1.attention.wq.weight", "output.weight"])
def test_nothing_that_holds_a_wrong_tensor_counts_as_done(name: str, tmp_path: Path, out: Path) -> None:
    source = write_plain(tmp_path / "source")
    listed, good = list_digests(source), (source / "consolidated.safetensors").read_bytes()
    run(source, tmp_path / "whole", listed, shard_size=SHARD)
    change(source, name)
    for _ in range(2):
        with pytest.raises(WrongBytesError):
            run(source, out, listed, shard_size=SHARD)
        noted = read_conversion(out)
        assert noted is not None
        assert not noted.done
        assert not (out / "config.json").exists()
    (source / "consolidated.safetensors").write_bytes(good)
    assert run(source, out, listed, shard_size=SHARD).proven == 35
    assert contents(out) == contents(tmp_path / "whole")


def test_a_stack_that_several_files_share_takes_all_of_them_down_if_it_is_wrong(tmp_path: Path, out: Path) -> None:
    """Its digest is known only at its end, when files with parts of it are in their place."""
    source = write_release(tmp_path / "source", MOE, random_tensors(MOE, "mistral-fused"))
    listed = list_digests(source)
    run(source, tmp_path / "whole", listed, shard_size=800)
    good = (source / "consolidated.00.pth").read_bytes()
    tensors = torch.load(source / "consolidated.00.pth")
    name = "layers.0.block_sparse_moe.w1"
    tensors[name][0, 0] += 1
    write_release(source, MOE, tensors)
    with pytest.raises(WrongBytesError, match=name):
        run(source, out, listed, shard_size=800)
    noted = read_conversion(out)
    assert noted is not None
    held = {file for file in noted.files if file.endswith(".safetensors")}
    assert not any("experts" in tensor and "layers.0" in tensor for file in held for tensor in load_file(out / file))
    shutil.rmtree(out)  # other checksums make it another conversion
    (source / "consolidated.00.pth").write_bytes(good)
    run(source, out, listed, shard_size=800)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("layout", ["mistral", "mistral-fused", "hf-fused"])
def test_files_that_are_written_at_once_prove_a_tensor_that_they_share(
    layout: str, verify: bool, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MIN_BYTES_PER_WRITER", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    source = write_release(tmp_path / "source", MOE, random_tensors(MOE, layout))
    listed = list_digests(source)
    converted = run(source, out, listed, shard_size=800, verify=verify)
    assert converted.proven == converted.listed == len(listed.tensors)
    name = min(listed.tensors)
    wrong = replace(listed, tensors={**listed.tensors, name: replace(listed.tensors[name], sha256="0" * 64)})
    with pytest.raises(WrongBytesError, match=name):
        run(source, tmp_path / "wrong", wrong, shard_size=800, verify=verify)


def test_experts_whose_names_sort_in_another_order_than_their_numbers_are_proven(tmp_path: Path, out: Path) -> None:
    many = replace(MOE, n_experts=12)
    source = write_release(tmp_path / "source", many, random_tensors(many, "mistral-fused"))
    listed = list_digests(source)
    assert run(source, out, listed, verify=False).proven == len(listed.tensors)


class Killed(Exception):
    pass


def stop_after(count: int) -> Emit:
    moved = 0

    def emit(event: Event) -> None:
        nonlocal moved
        if isinstance(event, Moved) and event.step == "convert":
            moved += event.amount
            if moved >= count:
                raise Killed

    return emit


def stop(source: Path, out: Path, listed: TensorDigests, share: float, **options: Any) -> None:
    with pytest.raises(Killed):
        run(source, out, listed, emit=stop_after(int(share * PAYLOAD)), **options)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
@pytest.mark.parametrize("layout", ["mistral", "mistral-fused"])
def test_what_an_earlier_run_wrote_is_proven_only_if_it_is_read_again(
    share: float, layout: str, tmp_path: Path, out: Path
) -> None:
    source = write_release(tmp_path / "source", MOE, random_tensors(MOE, layout))
    listed = list_digests(source)
    total = len(listed.tensors)
    stop(source, out, listed, share, shard_size=1500)
    unread = run(source, out, listed, shard_size=1500, verify=False)
    assert unread.proven < total
    assert f"{unread.proven} of the {total} tensors of the source had the digests" in note_of(out)
    assert "These are the weights in the folder source" in note_of(out)
    again = run(source, out, listed, shard_size=1500, release="x")
    assert (again.proven, again.verified, again.already) == (total, True, True)
    assert f"all {total} tensors of the source had the digests that the manifest of x lists" in note_of(out)
    assert "These are the weights of x, by the word of the manifest of x." in note_of(out)


def test_a_source_that_changed_before_the_place_where_a_run_goes_on_is_found(tmp_path: Path, out: Path) -> None:
    source = write_plain(tmp_path / "source")
    listed = list_digests(source)
    stop(source, out, listed, 0.6, shard_size=SHARD)
    written = next(iter(sorted(out.glob("*.safetensors"))))
    assert "model.embed_tokens.weight" in load_file(written)
    change(source, "tok_embeddings.weight")
    with pytest.raises(WrongBytesError, match=r"tok_embeddings\.weight: has another SHA-256"):
        run(source, out, listed, shard_size=SHARD)
    change(source, "tok_embeddings.weight")  # and back
    assert run(source, out, listed, shard_size=SHARD).proven == 35


@pytest.mark.parametrize("wrong", [False, True])
def test_a_file_that_is_continued_inside_keeps_no_wrong_tensor(
    wrong: bool, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "JOURNAL_EVERY", 1500)
    source = write_plain(tmp_path / "source")
    listed = list_digests(source)
    run(source, tmp_path / "whole", listed, target="mistral")
    stop(source, out, listed, 0.7, target="mistral")
    noted = read_conversion(out)
    assert noted is not None
    assert noted.begun
    if wrong:
        change(source, "output.weight")
        with pytest.raises(WrongBytesError):
            run(source, out, listed, target="mistral")
        noted = read_conversion(out)
        assert noted is not None
        assert not noted.begun
        assert not noted.files
        change(source, "output.weight")
    assert run(source, out, listed, target="mistral").proven == 35
    assert contents(out) == contents(tmp_path / "whole")


def forge(out: Path, victim: str) -> Conversion:
    """Change a byte of a finished conversion, and make its journal say that this is what was written."""
    content = bytearray((out / victim).read_bytes())
    content[-1] ^= 1
    (out / victim).write_bytes(content)
    noted = read_conversion(out)
    assert noted is not None
    lie = replace(noted.files[victim], sha256=hashlib.sha256(content).hexdigest())
    forged = replace(noted, files={**noted.files, victim: lie}, done=True)
    record_conversion(out, forged)
    return forged


def test_a_forged_journal_makes_no_conversion_verified(release: Path, tmp_path: Path, out: Path) -> None:
    listed = list_digests(release)
    first = run(release, out, listed, release="x")
    assert run(release, out, listed, release="x").already
    good = contents(out)
    forge(out, "model.safetensors")
    unread = run(release, out, listed, release="x", verify=False)
    assert (unread.already, unread.verified, unread.proven) == (True, False, 0)
    assert "not compared with the digests of any manifest" in note_of(out)
    assert "These are the weights in the folder release, taken for x." in note_of(out)
    with pytest.raises(WrongBytesError):
        run(release, out, listed, release="x")
    again = run(release, out, listed, release="x")  # what could not be believed is written again
    assert (again.already, again.verified, again.proven) == (False, True, 35)
    assert contents(out) == good
    assert again.files == first.files


def test_a_file_that_only_the_journal_knows_is_not_among_those_that_were_converted(release: Path, out: Path) -> None:
    run(release, out, None)
    (out / "modeling_evil.py").write_text("import os")
    noted = read_conversion(out)
    assert noted is not None
    evil = replace(noted.files["config.json"], size=9, sha256=hashlib.sha256(b"import os").hexdigest())
    record_conversion(out, replace(noted, files={**noted.files, "modeling_evil.py": evil}))
    assert "modeling_evil.py" not in {file.path for file in run(release, out, None).files}
    noted = read_conversion(out)
    assert noted is not None
    assert "modeling_evil.py" not in noted.files


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/file", "", ".", "..", "x\0y", "x" * 256])
def test_a_journal_that_names_files_elsewhere_is_none(name: str, release: Path, out: Path) -> None:
    run(release, out, None)
    noted = read_conversion(out)
    assert noted is not None
    record_conversion(out, replace(noted, files={**noted.files, name: noted.files["config.json"]}))
    assert read_conversion(out) is None


def test_a_journal_of_an_earlier_version_is_still_read(release: Path, out: Path) -> None:
    run(release, out, None)
    path = out / STATE_FOLDER / "conversion.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"compared": True}))
    assert run(release, out, None).already


def test_without_checks_nothing_is_compared_and_nothing_recorded(tmp_path: Path, out: Path) -> None:
    source = write_plain(tmp_path / "source")
    listed = list_digests(source)
    change(source, "output.weight")
    converted = run(source, out, listed, check=False, release="x")
    assert (converted.proven, converted.listed, converted.listed_in, converted.verified) == (0, 0, "", True)
    assert "not compared with the digests of any manifest" in note_of(out)
    assert "taken for x" in note_of(out)
    assert "the manifest of x" not in note_of(out)


def test_digests_of_another_layout_than_the_sources_are_not_compared(release: Path, tmp_path: Path, out: Path) -> None:
    listed = list_digests(release)
    convert(ConvertRequest(release, tmp_path / "hf"))
    converted = run(tmp_path / "hf", out, listed, target="mistral")
    assert (converted.proven, converted.listed, converted.listed_in) == (0, 0, "")
    assert "not compared with the digests of any manifest" in note_of(out)


def test_a_tensor_in_another_dtype_is_neither_proven_nor_refuted(tmp_path: Path, out: Path) -> None:
    tensors = random_tensors(MOE)
    source = write_plain(tmp_path / "source", MOE, tensors)
    listed = list_digests(source)
    write_plain(source, MOE, tensors | {"norm.weight": tensors["norm.weight"].float()})
    converted = run(source, out, listed)
    assert (converted.proven, converted.listed) == (34, 35)
    assert "34 of the 35 tensors" in note_of(out)
    assert "The others were not compared" in note_of(out)


def without(listed: TensorDigests, name: str) -> TensorDigests:
    return replace(listed, tensors={other: digest for other, digest in listed.tensors.items() if other != name})


@pytest.mark.parametrize("how", ["missing", "not listed", "another shape"])
def test_other_tensors_than_the_listed_ones_are_refused_before_anything_is_written(
    how: str, release: Path, out: Path
) -> None:
    listed = list_digests(release)
    if how == "missing":
        extra = TensorDigest("BF16", (2, 2), "0" * 64)
        listed, name = replace(listed, tensors={**listed.tensors, "vision.weight": extra}), "vision.weight"
    elif how == "not listed":
        listed, name = without(listed, "norm.weight"), "norm.weight"
    else:
        name = "output.weight"
        listed = replace(listed, tensors={**listed.tensors, name: replace(listed.tensors[name], shape=(1, 640))})
    for attempt in (convert, forecast):
        with pytest.raises(WrongBytesError, match=name) as caught:
            attempt(ConvertRequest(release, out, tensors=listed, listed_in="the manifest of x"))
        assert "magnetar verify" in caught.value.hint
    assert not out.exists()


def test_weights_of_no_known_layout_are_proven_under_their_own_names(tmp_path: Path, out: Path) -> None:
    tensors = {"a.b": torch.arange(12, dtype=torch.int64), "c": torch.randn(3, 5), "empty": torch.zeros(0, 4)}
    torch.save(tensors, tmp_path / "any.pt")
    with open_as_it_is(tmp_path / "any.pt") as source:
        listed = tensor_digests(source, layout=AS_IS)
    assert run(tmp_path / "any.pt", out, listed, target="safetensors", verify=False).proven == 3
    torch.save(tensors | {"c": torch.zeros(3, 5)}, tmp_path / "any.pt")
    with pytest.raises(WrongBytesError, match=r"^c: "):
        run(tmp_path / "any.pt", tmp_path / "other", listed, target="safetensors")


def test_what_a_manifest_is_called_cannot_become_markup(tmp_path: Path, out: Path) -> None:
    source = write_plain(tmp_path / "source")
    request = ConvertRequest(source, out, tensors=list_digests(source), listed_in="<b>x\n# Proven")
    convert(request)
    assert r"\<b\>x \# Proven lists" in note_of(out)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a release, ``source``, and what it was converted to, ``out``."""
    folder = tmp_path_factory.mktemp("finished")
    source = write_plain(folder / "source", DENSE)
    run(source, folder / "out", list_digests(source), shard_size=4000)
    return folder


@given(data=st.data())
def test_no_forged_journal_gets_other_weights_called_verified_or_proven(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever the journal says, and whichever files go with it: what is claimed is true."""
    source, out = finished / "source", shutil.copytree(finished / "out", tmp_path_factory.mktemp("forged") / "out")
    listed = list_digests(source)
    good = {name: content for name, content in contents(out).items() if name.endswith(".safetensors")}
    path = out / STATE_FOLDER / "conversion.json"
    document = json.loads(path.read_text())
    for name in sorted(data.draw(st.sets(st.sampled_from(sorted(document["files"])), max_size=4))):
        content = bytearray((out / name).read_bytes())
        place = data.draw(st.integers(0, len(content) - 1) | st.just(len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
        content += bytes(data.draw(st.sampled_from([0, 0, 3])))
        if name in good and data.draw(st.booleans()):  # as if a run had been killed inside this file
            del document["files"][name]
            cut = data.draw(st.integers(0, len(content)) | st.just(len(good[name])))
            document["begun"][name] = {"size": cut, "sha256": hashlib.sha256(content[:cut]).hexdigest()}
            (out / name).unlink()
            (out / STATE_FOLDER / f"{name}.partial").write_bytes(content)
        else:
            (out / name).write_bytes(content)
            document["files"][name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    keys = ["done", "release", "compared", "begun", "files", "more"]
    for key in sorted(data.draw(st.sets(st.sampled_from(keys), max_size=2))):
        document[key] = data.draw(JUNK)
    path.write_text(json.dumps(document))
    verify = data.draw(st.booleans())
    try:
        converted = run(source, out, listed, shard_size=4000, verify=verify)
    except UsageError:  # the journal is none
        return
    except WrongBytesError:
        assert verify
        assert run(source, out, listed, shard_size=4000).verified  # what could not be believed is written again
        assert {name: (out / name).read_bytes() for name in good} == good
        return
    right = {name: (out / name).read_bytes() for name in good} == good
    assert right or not (converted.verified or converted.proven == converted.listed)
    assert right or f"all {converted.listed} tensors" not in note_of(out)
    assert json.loads((out / "config.json").read_text())["model_type"] == "mistral"
