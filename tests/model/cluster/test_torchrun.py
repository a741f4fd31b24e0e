import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.cli.app import main
from magnetar.convert.layout.architecture import Architecture
from magnetar.errors import ExitCode, RankLost, UsageError
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.bundled import bundled_release
from magnetar.model.cluster.rendezvous import error_class
from magnetar.model.cluster.shares import TORCHRUN_VARIABLES, divide
from magnetar.model.run.prefetch import reading_order
from tests.model.conftest import WriteRelease
from tests.model.forge import DENSE, TINY, make_model
from tests.patience import PATIENCE

SCRIPT = Path(__file__).with_name("one_rank.py")
OWN_NUMBERS = {"seconds", "tokens_per_second", "peak_memory"}
"""What a report has of the run, and not of the model."""


@dataclass
class Ended:
    """How the processes of one boot ended, by rank."""

    codes: list[int]
    outputs: list[str]
    errors: list[str]
    read: list[list[str]]

    @property
    def report(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.outputs[0])["result"]
        return value


def start(folders: Sequence[Path], lists: Path, *words: str, **environment: str) -> Ended:
    """Boot each of ``folders`` in a process of its own, that knows of the others as torchrun would tell it.

    ``environment`` may say at which tensor the last one dies.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    size = len(folders)
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    processes = []
    for rank, folder in enumerate(folders):
        own = {"RANK": str(rank)} if size > 1 else {}
        command = [sys.executable, str(SCRIPT), str(lists / str(rank)), "boot", str(folder), "--json", "--no-diagnosis"]
        command += words
        known = {**os.environ, **(shared if size > 1 else {"OMP_NUM_THREADS": "1"}), **own, **environment}
        pipe = subprocess.PIPE
        if rank != size - 1:
            known.pop("DIES_AT", None)
        processes.append(subprocess.Popen(command, env=known, stdout=pipe, stderr=pipe, text=True))
    ended = [process.communicate(timeout=PATIENCE) for process in processes]
    read = [path.read_text().split() if path.exists() else [] for path in (lists / str(rank) for rank in range(size))]
    return Ended([p.returncode for p in processes], [out for out, _ in ended], [err for _, err in ended], read)


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two reports differ by more than the rounding of sums."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one if key not in OWN_NUMBERS for line in differences(one[key], other[key], key)]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [line for a, b in zip(one, other, strict=True) for line in differences(a, b, path)]
    if isinstance(one, float) and isinstance(other, float):
        return [] if other == pytest.approx(one, rel=1e-4, abs=1e-5) else [f"{path}: {one} and {other}"]
    same = one == other or (isinstance(one, str) and "tokens at" in one)
    return [] if same else [f"{path}: {one} and {other}"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return start([bundled_release()], tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("words", [(), ("--expert-parallel",)], ids=["by layers", "by experts"])
def test_two_processes_report_what_one_does_each_from_its_own_tensors(
    words: tuple[str, ...], alone: Ended, bundled: Mixtral, tmp_path: Path
) -> None:
    both = start([bundled_release()] * 2, tmp_path, *words)
    assert both.codes == alone.codes * 2
    assert both.outputs[1] == ""
    assert differences(alone.report, both.report) == []
    assert both.report["sample"]
    shares = [divide(bundled.architecture, rank, 2, by_experts=bool(words)) for rank in range(2)]
    for share, read in zip(shares, both.read, strict=True):
        assert set(read) == {name for name in alone.read[0] if share.reads(name)}


def test_two_processes_are_held_against_another_as_one_is(
    bundled: Mixtral, release: WriteRelease, tmp_path: Path
) -> None:
    bundled.layers[2].attention.wo.weight.mul_(1.5)
    folder, other = release(bundled), ("--against", str(bundled_release()))
    alone, both = start([folder], tmp_path, *other), start([folder] * 2, tmp_path, *other)
    assert both.codes == alone.codes * 2 == [ExitCode.UNHEALTHY] * 2, both.errors
    assert both.report["agreement"]["comparison"]["first_diverging"] == 2
    assert differences(alone.report, both.report) == []


def test_what_is_wrong_in_the_layers_of_another_process_is_reported_as_if_it_were_here(
    release: WriteRelease, tmp_path: Path
) -> None:
    model = make_model(replace(TINY, vocab_size=1024))
    model.layers[1].attention.wo.weight[0, 0] = math.nan
    model.layers[2].feed_forward.gate.weight.zero_()
    folder = release(model)
    alone, three = start([folder], tmp_path), start([folder] * 3, tmp_path)
    assert three.codes == [ExitCode.UNHEALTHY] * 3
    assert three.report["reasons"] == alone.report["reasons"]
    assert "layer 1: its activations are not finite" in three.report["reasons"]
    assert differences(alone.report, three.report) == []


def test_a_process_that_dies_ends_the_others(release: WriteRelease, tmp_path: Path) -> None:
    folder = release(make_model(replace(TINY, vocab_size=1024)))
    ended = start([folder] * 2, tmp_path, DIES_AT="layers.2.attention.wq.weight", MAX_SILENCE_SECONDS="10")
    assert ended.codes == [ExitCode.OUTSIDE, -9]
    error = json.loads(ended.outputs[0])["error"]
    assert (error["kind"], error["message"]) == ("RankLost", "rank 1 has not been heard of for 10 seconds")


def test_what_one_process_cannot_read_ends_all_with_one_code(release: WriteRelease, tmp_path: Path) -> None:
    folder = release(make_model(replace(TINY, vocab_size=1024)))
    ended = start([folder, tmp_path / "nowhere"], tmp_path)
    assert ended.codes == [ExitCode.USAGE] * 2
    assert "rank 1: " in json.loads(ended.outputs[0])["error"]["message"]


def test_processes_that_see_different_weights_do_not_begin(
    release: WriteRelease, tmp_path: Path, pieces: bytes
) -> None:
    from magnetar.model.training.pack_release import write_release

    folder, other = release(make_model(replace(TINY, vocab_size=1024))), tmp_path / "other"
    architecture = replace(TINY, vocab_size=1024, rope_theta=1e4)
    write_release(other, make_model(architecture).state_dict(), architecture, pieces, "another")
    ended = start([folder, other], tmp_path)
    assert ended.codes == [ExitCode.USAGE] * 2
    assert "rank 1 sees another checkpoint" in json.loads(ended.outputs[0])["error"]["message"]


def test_torchrun_boots_the_bundled_release() -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "magnetar", "boot", str(bundled_release()), "--json", "--level", "golden"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)["result"]
    assert result["healthy"] is True
    assert result["golden"]["first_diverging"] is None


def test_what_is_for_one_process_alone_is_refused_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN_VARIABLES:
        monkeypatch.setenv(name, "2")
    for words in (["--prompt", "a"], ["--make-golden", "file"], ["--routing", "all"]):
        with pytest.raises(SystemExit) as ended:
            main(["boot", str(bundled_release()), *words])
        assert ended.value.code == ExitCode.USAGE


@given(
    st.sampled_from([TINY, DENSE, replace(TINY, n_layers=32, n_experts=8)]),
    st.integers(1, 32),
    st.booleans(),
)
def test_every_tensor_is_tested_in_one_process_and_read_wherever_it_is_needed(
    architecture: Architecture, size: int, by_experts: bool
) -> None:
    divided = architecture.n_experts if by_experts else architecture.n_layers
    if size > divided:
        with pytest.raises(UsageError, match=f"{size} processes cannot share {divided}"):
            divide(architecture, 0, size, by_experts=by_experts)
        return
    shares = [divide(architecture, rank, size, by_experts=by_experts) for rank in range(size)]
    for name in reading_order(architecture):
        assert sum(share.tests(name) for share in shares) == 1
        readers = sum(share.reads(name) for share in shares)
        shared = by_experts and ".experts." not in name and name.startswith("layers.")
        assert readers == (size if shared else 1)


def test_an_error_of_another_process_keeps_its_class() -> None:
    assert error_class("UsageError") is UsageError
    assert error_class("KeyError") is RankLost
    assert error_class("ExitCode") is RankLost
