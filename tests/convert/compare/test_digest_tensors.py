import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magnetar.byte_source import LocalFile
from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.compare.proof import Proof, Standing, prove
from magnetar.convert.formats.safetensors import encode_header
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, open_as_it_is, open_source
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.plan import spec_of
from magnetar.errors import CheckpointError, DiskError, WrongBytesError
from magnetar.events import Began, Ended, Event, FoundWrong, Moved
from magnetar.findings import Outcome
from magnetar.manifests.tensor_digests import TensorDigest, TensorDigests, load_tensor_digests
from tests import needs
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, raw, write_release

BUNDLED = Path(__file__).parents[3] / "model/release/austen-moe"
SHIPPED = Path(__file__).parents[3] / "manifests/austen-moe.tensors.json"
W2 = "layers.1.feed_forward.experts.2.w2.weight"


def digest(path: Path, layout: str = "mistral") -> TensorDigests:
    with open_source(path) as source:
        return tensor_digests(source, layout=layout)


def hold(path: Path, digests: TensorDigests, reference: Path | None = None) -> Proof:
    with open_source(path) as source:
        if reference is None:
            return prove(source, digests)
        with open_source(reference) as original:
            return prove(source, digests, reference=original)


class FailingFile(LocalFile):
    """A file on a disk that gives an error at one byte."""

    bad_byte = 0

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset <= self.bad_byte < offset + len(buffer):
            raise DiskError(f"{self.path}: cannot be read at byte {offset}: {os.strerror(errno.EIO)}", path=self.path)
        super().read_into(offset, buffer)


def open_failing(path: Path, name: str) -> CheckpointSource:
    """Open weights of which one byte of the tensor ``name`` cannot be read."""
    with open_source(path) as source:
        bad_byte = source.checkpoint.specs[name].offset + 3

    def open_file(path: Path) -> FailingFile:
        file = FailingFile(path)
        file.bad_byte = bad_byte
        return file

    return open_source(path, open_file=open_file)


def test_a_tensor_that_cannot_be_read_is_not_called_wrong_and_the_others_are_compared(tmp_path: Path) -> None:
    write_release(tmp_path / "r", MOE)
    digests = digest(tmp_path / "r")
    events: list[Event] = []
    with open_failing(tmp_path / "r", W2) as source:
        proof = prove(source, digests, emit=events.append)
    (found,) = proof.of(Standing.UNREADABLE)
    assert (found.name, "Input/output error" in found.detail) == (W2, True)
    assert len(proof.of(Standing.SAME)) == len(digests.tensors) - 1
    assert proof.outcome is Outcome.FAILED
    assert not [event for event in events if isinstance(event, FoundWrong)]
    other = replace(
        digests, tensors={**digests.tensors, "norm.weight": replace(digests.tensors["norm.weight"], sha256="0" * 64)}
    )
    with open_failing(tmp_path / "r", W2) as source:
        assert prove(source, other).outcome is Outcome.BAD


def test_a_file_that_shrinks_while_its_tensors_are_compared_is_not_called_wrong(tmp_path: Path) -> None:
    write_release(tmp_path / "r", MOE)
    digests = digest(tmp_path / "r")
    with open_source(tmp_path / "r") as source:
        last = max(source.checkpoint.specs.values(), key=lambda spec: spec.offset)
        os.truncate(source.paths[0], last.offset)
        proof = prove(source, digests)
    assert [tensor.name for tensor in proof.of(Standing.UNREADABLE)] == [last.name]


def flip_bit(path: Path, name: str, byte: int = 3) -> None:
    """Change one bit of a tensor where it lies."""
    with open_source(path) as source:
        spec = source.checkpoint.specs[name]
        file = source.paths[spec.source] if len(source.paths) > 1 else source.paths[0]
    with file.open("r+b") as stream:
        stream.seek(spec.offset + byte)
        (old,) = stream.read(1)
        stream.seek(spec.offset + byte)
        stream.write(bytes([old ^ 1]))


def test_a_digest_is_the_sha256_of_the_numbers_row_by_row(release: Path) -> None:
    digests = digest(release)
    assert digests.layout == "mistral"
    assert digests.tensors == {
        name: TensorDigest("BF16", tuple(tensor.shape), hashlib.sha256(raw(tensor)).hexdigest())
        for name, tensor in random_tensors(MOE).items()
    }


def test_digests_of_weights_of_any_model_are_of_the_tensors_as_they_are(tmp_path: Path) -> None:
    tensors = {"anything": torch.arange(6, dtype=torch.int32).reshape(2, 3)}
    save_file(tensors, tmp_path / "model.safetensors")
    with open_as_it_is(tmp_path) as source:
        digests = tensor_digests(source, layout=AS_IS)
        assert prove(source, digests).outcome is Outcome.GOOD
    expected = TensorDigest("I32", (2, 3), hashlib.sha256(raw(tensors["anything"])).hexdigest())
    assert digests.tensors == {"anything": expected}


def test_the_digests_that_ship_are_those_of_the_bundled_release() -> None:
    assert digest(BUNDLED) == load_tensor_digests(SHIPPED)


@pytest.mark.parametrize("target", ["hf", "mistral", "gguf", "mlx", "safetensors"])
def test_the_bundled_release_in_every_format_is_proven_the_same(target: str, tmp_path: Path) -> None:
    convert(ConvertRequest(BUNDLED, tmp_path / "out", target=target, verify=False))
    if target == "safetensors":
        (tmp_path / "out/params.json").write_bytes((BUNDLED / "params.json").read_bytes())
    proof = hold(tmp_path / "out", load_tensor_digests(SHIPPED))
    assert {tensor.standing for tensor in proof.tensors} == {Standing.SAME}
    assert (len(proof.tensors), proof.outcome) == (127, Outcome.GOOD)
    cast = {tensor.name: (tensor.cast_from, tensor.dtype) for tensor in proof.tensors if tensor.cast_from}
    assert set(cast.values()) == ({("BF16", "F32")} if target == "gguf" else set())
    assert ("norm.weight" in cast) == (target == "gguf")


def test_numbers_of_a_kind_that_is_not_compared_are_not_called_good(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, dtype=torch.int32)}, tmp_path / "model.safetensors")
    with open_as_it_is(tmp_path) as source:
        proof = prove(source, TensorDigests(AS_IS, {"a": TensorDigest("BF16", (2,), "0" * 64)}))
    assert proof.outcome is Outcome.UNKNOWN
    assert proof.tensors[0].detail == "is I32, which cannot be compared with BF16"


@pytest.mark.parametrize("layout", ["mistral-fused", "hf-fused"])
def test_layouts_that_are_only_read_are_proven_too(layout: str, tmp_path: Path) -> None:
    whole = random_tensors(MOE, layout)
    folder = tmp_path / "fused"
    folder.mkdir()
    save_file(whole, folder / "model.safetensors")
    (folder / "params.json").write_bytes((write_release(tmp_path / "r", MOE) / "params.json").read_bytes())
    digests = digest(folder)
    convert(ConvertRequest(folder, tmp_path / "out", target="mistral"))
    assert hold(folder, digests).outcome is hold(tmp_path / "out", digests).outcome is Outcome.GOOD
    assert digest(tmp_path / "out") == digests


@pytest.mark.parametrize(("dtype", "expected"), [("f32", Outcome.GOOD), ("f16", Outcome.UNKNOWN)])
def test_numbers_in_a_wider_format_are_the_same_and_rounded_ones_are_not_comparable(
    dtype: str, expected: Outcome, release: Path, tmp_path: Path
) -> None:
    tensors = {name: tensor * 1e-4 for name, tensor in random_tensors(MOE).items()}  # small ones lose bits in F16
    write_release(tmp_path / "small", MOE, tensors)
    convert(ConvertRequest(tmp_path / "small", tmp_path / "out", target="gguf", dtype=dtype))
    proof = hold(tmp_path / "out", digest(tmp_path / "small"))
    assert proof.outcome is expected
    for tensor in proof.tensors:
        assert tensor.cast_from == "BF16"
        assert (tensor.standing is Standing.SAME) == (tensor.dtype == "F32")


def test_quantised_tensors_are_measured_against_a_reference(tmp_path: Path) -> None:
    convert(ConvertRequest(BUNDLED, tmp_path / "out", target="gguf", dtype="q8_0"))
    digests = load_tensor_digests(SHIPPED)
    alone, measured = hold(tmp_path / "out", digests), hold(tmp_path / "out", digests, BUNDLED)
    assert alone.outcome is measured.outcome is Outcome.UNKNOWN
    assert {tensor.error for tensor in alone.tensors} == {None}
    for tensor in measured.of(Standing.NOT_COMPARABLE):
        assert tensor.dtype == "Q8_0"
        assert tensor.reproduced
        assert tensor.error is not None
        assert 1e-6 < tensor.error < 1e-4
    assert {tensor.dtype for tensor in measured.of(Standing.SAME)} == {"F32"}


def test_an_error_is_the_mean_square_over_the_mean_square_of_the_release(tmp_path: Path) -> None:
    tensors = random_tensors(MOE)
    write_release(tmp_path / "a", MOE, tensors)
    convert(ConvertRequest(tmp_path / "a", tmp_path / "out", target="safetensors", dtype="f16"))
    (tmp_path / "out/params.json").write_bytes((tmp_path / "a/params.json").read_bytes())
    wrong = {name: tensor.clone() for name, tensor in load_file(tmp_path / "out/model.safetensors").items()}
    wrong[W2] += 0.5
    save_file(wrong, tmp_path / "out/model.safetensors")
    proof = hold(tmp_path / "out", digest(tmp_path / "a"), tmp_path / "a")
    (found,) = proof.of(Standing.DIFFERENT)
    left, right = tensors[W2].double(), wrong[W2].double()
    assert found.name == W2
    assert found.error == pytest.approx(float(((left - right) ** 2).mean() / (left**2).mean()))


def test_a_reference_that_is_not_the_release_is_refused(release: Path, tmp_path: Path) -> None:
    digests = digest(release)
    tensors = {name: tensor / 3 for name, tensor in random_tensors(MOE, dtype=torch.float32).items()}
    other = write_release(tmp_path / "other", MOE, {name: tensor.bfloat16() for name, tensor in tensors.items()})
    quantised = {name: (tensor * 1e-4).half() for name, tensor in tensors.items()}
    rounded = write_release(tmp_path / "rounded", MOE, quantised)
    with pytest.raises(WrongBytesError, match="the reference is not the release"):
        hold(rounded, digests, other)
    flip_bit(release, "norm.weight")
    with pytest.raises(WrongBytesError, match=r"norm\.weight: the reference is not the release.*damaged"):
        hold(rounded, digests, release)


def test_one_flipped_bit_in_any_format_is_found_with_its_tensor(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", MOE)
    digests = digest(release)
    names = {
        "hf": "model.layers.1.block_sparse_moe.experts.2.w2.weight",
        "gguf": "blk.1.ffn_down_exps.weight",
        "mlx": "model.layers.1.block_sparse_moe.switch_mlp.down_proj.weight",
    }
    for target, name in names.items():
        convert(ConvertRequest(release, tmp_path / target, target=target))
        flip_bit(tmp_path / target, name, 2 * 2 * MOE.dim * MOE.hidden_dim if target != "hf" else 0)
        proof = hold(tmp_path / target, digests)
        assert [tensor.name for tensor in proof.of(Standing.DIFFERENT)] == [W2], target
        assert proof.outcome is Outcome.BAD
    convert(ConvertRequest(release, tmp_path / "f32", target="gguf", dtype="f32"))
    flip_bit(tmp_path / "f32", "output_norm.weight", 0)  # the lowest bit of a number, which bfloat16 cannot hold
    (found,) = hold(tmp_path / "f32", digests).of(Standing.DIFFERENT)
    assert (found.name, found.detail) == (
        "norm.weight",
        "has numbers that round to the release's, but are not the same",
    )


def test_a_tensor_that_fails_its_containers_checksum_is_different_and_the_others_are_still_proven(
    release: Path,
) -> None:
    digests = digest(release)
    flip_bit(release, W2)
    events: list[Event] = []
    with open_source(release) as source:
        proof = prove(source, digests, emit=events.append)
        with pytest.raises(CheckpointError, match="damaged"):
            tensor_digests(source)
    (found,) = proof.of(Standing.DIFFERENT)
    assert "CRC-32" in found.detail
    assert len(proof.of(Standing.SAME)) == 34
    assert [event.finding.subject for event in events if isinstance(event, FoundWrong)] == [W2]
    (total,) = (event.total for event in events if isinstance(event, Began))
    assert sum(event.amount for event in events if isinstance(event, Moved)) == total == 2 * MOE.total_parameters
    assert Ended("prove") in events


def test_missing_extra_and_misshapen_tensors_are_named(
    make_release: Callable[[Architecture, Tensors | None], Path],
) -> None:
    tensors = digest(make_release(DENSE, None)).tensors
    wanted = {**tensors, "rope.freqs": tensors["norm.weight"]}
    wanted["norm.weight"] = TensorDigest("BF16", (17,), "0" * 64)
    del wanted["output.weight"]
    proof = hold(make_release(DENSE, None), TensorDigests("mistral", wanted))
    standings = {tensor.name: tensor.standing for tensor in proof.tensors if tensor.standing is not Standing.SAME}
    assert standings == {
        "rope.freqs": Standing.MISSING,
        "output.weight": Standing.EXTRA,
        "norm.weight": Standing.DIFFERENT,
    }
    assert proof.outcome is Outcome.BAD
    assert {tensor.name for tensor in proof.tensors if tensor.outcome is Outcome.BAD} == set(standings)


MEASURE = """
import sys
from pathlib import Path
from magnetar.convert.compare.proof import prove
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.compare.digest_tensors import tensor_digests
from tests.memory import peak_memory
before = peak_memory()
with open_source(Path(sys.argv[1])) as source:
    proof = prove(source, tensor_digests(source))
print(proof.outcome, peak_memory() - before)
"""


@needs.linux
def test_memory_stays_where_it_is_however_large_the_model(tmp_path: Path) -> None:

    large = Architecture(
        dim=1024,
        n_layers=2,
        head_dim=64,
        hidden_dim=8192,
        n_heads=16,
        n_kv_heads=4,
        norm_eps=1e-5,
        vocab_size=2000,
        rope_theta=1e6,
        n_experts=8,
        experts_per_token=2,
    )
    laid = LAYOUTS["hf"].tensors(large).values()
    specs = [spec_of(Move(tensor.name, "BF16", tensor.shape, ())) for tensor in laid]
    with (tmp_path / "model.safetensors").open("wb") as stream:  # zeros, that take no room on the disk
        stream.write(encode_header(specs, {}))
        stream.truncate(stream.tell() + sum(spec.nbytes for spec in specs))
    (tmp_path / "config.json").write_text(json.dumps(large.to_config("bfloat16")))
    assert (tmp_path / "model.safetensors").stat().st_size > 700 << 20
    ran = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], capture_output=True, text=True, check=True)
    outcome, taken = ran.stdout.split()
    assert outcome == "good"
    assert int(taken) < 40 << 20
