import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import current_thread
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from magnetar.convert.compare.read_back import compare
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.write import engine
from magnetar.convert.write.convert import Converted, carry_out, convert, forecast, plan
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.destination import SIDE_FILES_ROOM
from magnetar.convert.write.journal import read_conversion
from magnetar.errors import (
    CheckpointError,
    DiskError,
    FolderLocked,
    MagnetarError,
    NoSpace,
    UsageError,
    WrongBytesError,
)
from magnetar.events import Began, Emit, Ended, Event, Moved, Resumed, Step, ignore
from magnetar.files import STATE_FOLDER, lock_folder
from magnetar.version import __version__
from tests.convert.forge import DENSE, MOE, Tensors, random_tensors, raw, write_release

SHARD = 5000


def run(source: Path, destination: Path, *, emit: Emit = ignore, **options: Any) -> Converted:
    return convert(ConvertRequest(source, destination, shard_size=SHARD, licence="Apache-2.0", **options), emit)


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as opened:
        return opened.metadata()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_a_converted_folder_has_the_files_of_transformers(release: Path, out: Path) -> None:
    converted = run(release, out, release="mixtral-8x7b")
    assert (converted.tensors, converted.verified, converted.already) == (35, True, False)
    assert {file.path for file in converted.files} == set(contents(out))
    for file in converted.files:
        assert hashlib.sha256((out / file.path).read_bytes()).hexdigest() == file.sha256
        assert (out / file.path).stat().st_size == file.size
    index = json.loads((out / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_parameters": MOE.total_parameters, "total_size": 2 * MOE.total_parameters}
    for name, file in index["weight_map"].items():
        assert name in load_file(out / file)
    assert (out / "LICENSE").read_text() == (Path(__file__).parents[3] / "LICENSE").read_text()
    assert "mixtral" in (out / "CONVERSION.md").read_text()
    assert [path.name for path in (out / STATE_FOLDER).iterdir() if path.suffix == ".partial"] == []


@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
def test_one_file_is_what_the_safetensors_library_writes_but_for_the_order_of_its_metadata(
    make_release: Callable[[Architecture, Tensors | None], Path], architecture: Architecture, out: Path, tmp_path: Path
) -> None:
    tensors = random_tensors(architecture)
    name = "layers.0.attention_norm.weight"
    tensors[name] = tensors[name].float()  # two dtypes, so that the order matters
    convert(ConvertRequest(make_release(architecture, tensors), out))
    metadata = metadata_of(out / "model.safetensors")
    save_file(load_file(out / "model.safetensors"), tmp_path / "theirs.safetensors", metadata=metadata)
    ours, theirs = (path.read_bytes() for path in (out / "model.safetensors", tmp_path / "theirs.safetensors"))
    begin = 8 + int.from_bytes(ours[:8], "little")
    assert ours[begin:] == theirs[begin:]
    assert list(json.loads(ours[8:begin]).items()) == list(json.loads(theirs[8:begin]).items())


def test_the_same_source_gives_the_same_bytes(release: Path, tmp_path: Path) -> None:
    run(release, tmp_path / "a")
    run(release, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_second_run_does_nothing_and_says_so(release: Path, out: Path) -> None:
    first = run(release, out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "lock"}
    second = run(release, out)
    assert second.already
    assert second.verified
    assert second.files == first.files
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.name != "lock"} == before


def test_only_the_damaged_file_of_a_finished_conversion_is_written_again(release: Path, out: Path) -> None:
    run(release, out)
    good = contents(out)
    victim, other = out / "model-00002-of-00005.safetensors", out / "model-00001-of-00005.safetensors"
    damaged = bytearray(victim.read_bytes())
    damaged[-1] ^= 1
    victim.write_bytes(damaged)
    untouched = other.stat().st_mtime_ns
    assert not run(release, out).already
    assert contents(out) == good
    assert other.stat().st_mtime_ns == untouched
    (out / "config.json").unlink()
    assert not run(release, out).already
    assert contents(out) == good


def test_modes_follow_the_umask(release: Path, out: Path) -> None:
    old = os.umask(0o027)
    try:
        run(release, out)
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in out.iterdir() if path.is_file()} == {0o640}


def test_events_add_up(release: Path, out: Path) -> None:
    events: list[Event] = []
    run(release, out, emit=events.append)
    run(release, out, emit=events.append)
    for step in ("convert", "compare", "check"):
        totals = [event.total for event in events if isinstance(event, Began) and event.step == step]
        moved = sum(event.amount for event in events if isinstance(event, Moved) and event.step == step)
        assert moved == sum(total or 0 for total in totals) > 0
        assert len([event for event in events if isinstance(event, Ended) and event.step == step]) == len(totals)


def test_a_flipped_byte_of_the_source_ends_the_conversion(release: Path, out: Path) -> None:
    path = release / "consolidated.00.pth"
    with open_source(release) as source:
        offset = source.checkpoint.specs["layers.1.attention.wq.weight"].offset
    content = bytearray(path.read_bytes())
    content[offset + 3] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.wq\.weight are damaged") as caught:
        run(release, out)
    assert (caught.value.path, caught.value.tensor) == (Path(path.name), "layers.1.attention.wq.weight")
    assert not (out / "config.json").exists()
    assert not (out / "model.safetensors.index.json").exists()
    for shard in out.glob("*.safetensors"):
        assert "model.layers.1.self_attn.q_proj.weight" not in load_file(shard)


def test_slices_of_one_storage_are_converted_and_a_flipped_byte_among_them_is_found(tmp_path: Path, out: Path) -> None:
    tensors = random_tensors(MOE)
    keys = ["layers.0.attention.wk.weight", "layers.0.attention.wv.weight"]
    both = torch.cat([tensors[key] for key in keys])
    tensors |= {keys[0]: both[:16], keys[1]: both[16:]}
    release = write_release(tmp_path / "release", MOE, tensors)
    assert run(release, out).verified
    path = release / "consolidated.00.pth"
    with open_source(release) as source:
        offset = source.checkpoint.specs[keys[1]].offset
    content = bytearray(path.read_bytes())
    content[offset] ^= 4
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        run(release, tmp_path / "again")


def test_a_byte_that_changes_on_its_way_to_the_disk_is_found(
    release: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that lies: what is written is not what was given."""
    write, lied = os.pwrite, []

    def lie(descriptor: int, data: memoryview, offset: int) -> int:
        count = write(descriptor, data, offset)
        if not lied:
            lied.append(True)
            with next((out / STATE_FOLDER).glob("*.partial")).open("r+b") as file:
                file.seek(offset + 4000)
                file.write(bytes([data[4000] ^ 1]))
        return count

    monkeypatch.setattr(os, "pwrite", lie)
    with pytest.raises(WrongBytesError, match=r"differs between"):
        run(release, out)
    assert not (out / "config.json").exists()
    monkeypatch.undo()
    assert run(release, out).verified  # the shard that was not what it should be is made again


def test_a_plan_writes_nothing_and_can_be_carried_out_later(release: Path, out: Path) -> None:
    descriptors = sorted(Path("/proc/self/fd").iterdir())
    request = ConvertRequest(release, out, shard_size=SHARD)
    with plan(request) as planned:
        foreseen = planned.forecast()
        assert not out.exists()
        converted = carry_out(planned)
    assert converted.verified
    assert foreseen.tensors == converted.tensors
    written = {file.path: file.size for file in converted.files}
    assert {file.path: file.size for file in foreseen.files}.items() <= written.items()
    assert forecast(request).missing == SIDE_FILES_ROOM  # everything is there
    assert sorted(Path("/proc/self/fd").iterdir()) == descriptors


def test_a_plan_that_fails_closes_its_source(release: Path) -> None:
    descriptors = sorted(Path("/proc/self/fd").iterdir())
    with pytest.raises(UsageError, match="lies in the source") as caught:  # the traceback keeps every local alive
        plan(ConvertRequest(release, release / "out"))
    assert sorted(Path("/proc/self/fd").iterdir()) == descriptors
    assert caught.tb


def test_compare_names_the_tensor_that_differs(release: Path, tmp_path: Path, out: Path) -> None:
    run(release, out)
    tensors = random_tensors(MOE)
    tensors["layers.1.attention.wk.weight"][3, 3] += 1
    other = write_release(tmp_path / "other", MOE, tensors)
    with open_source(release) as one, open_source(out) as two:
        assert compare(one, two) == compare(two, one) == 35
    with open_source(other) as one, open_source(out) as two:
        with pytest.raises(WrongBytesError, match=r"layers\.1\.attention\.wk\.weight"):
            compare(one, two)
        with pytest.raises(WrongBytesError, match=r"model\.layers\.1\.self_attn\.k_proj\.weight"):
            compare(two, one)


def test_hf_converts_to_hf_again_byte_for_byte(release: Path, tmp_path: Path) -> None:
    run(release, tmp_path / "a")
    run(tmp_path / "a", tmp_path / "b")
    shards = [path.name for path in (tmp_path / "a").glob("*.safetensors")]
    assert len(shards) == 5
    for name in shards:
        one, other = (load_file(tmp_path / folder / name) for folder in "ab")
        assert {key: raw(tensor) for key, tensor in one.items()} == {key: raw(tensor) for key, tensor in other.items()}


def test_every_file_says_what_it_was_made_of_and_by_which_plan(release: Path, out: Path, tmp_path: Path) -> None:
    run(release, out)
    records = [metadata_of(path) for path in out.glob("*.safetensors")]
    assert len(records) == 5
    assert all(record == records[0] for record in records)
    assert records[0]["format"] == "pt"
    assert records[0]["magnetar.version"] == __version__
    other = write_release(tmp_path / "other", MOE, {n: t + 1 for n, t in random_tensors(MOE).items()})
    run(other, tmp_path / "b")
    differing = metadata_of(next((tmp_path / "b").glob("*.safetensors")))
    assert differing["magnetar.source"] != records[0]["magnetar.source"]
    assert differing["magnetar.plan"] != records[0]["magnetar.plan"]


def test_a_changed_safetensors_source_of_the_same_shape_is_not_called_done(tmp_path: Path, out: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "params.json").write_text(json.dumps(MOE.to_params()))
    tensors = random_tensors(MOE)
    save_file(tensors, source / "consolidated.safetensors")
    assert run(source, out).verified
    assert run(source, out).already
    tensors["norm.weight"][0] += 1
    save_file(tensors, source / "consolidated.safetensors")
    with pytest.raises(WrongBytesError, match=r"norm\.weight"):
        run(source, out)


@pytest.mark.parametrize(
    "where", ["the source", "inside the source", "a file", "a foreign folder", "a link", "a dangling link"]
)
def test_a_destination_that_is_not_ours_is_refused_and_left_alone(release: Path, tmp_path: Path, where: str) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(foreign)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    destinations = {
        "the source": release,
        "inside the source": release / "sub" / "folder",
        "a file": tmp_path / "file",
        "a foreign folder": foreign,
        "a link": tmp_path / "link",
        "a dangling link": tmp_path / "dangling",
    }
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError) as caught:
        run(release, destinations[where])
    assert caught.value.hint
    assert sorted(tmp_path.rglob("*")) == before


def test_another_conversion_is_not_written_over(release: Path, out: Path, tmp_path: Path) -> None:
    run(release, out, release="one")
    with pytest.raises(UsageError, match="holds another conversion of one, to hf"):
        convert(ConvertRequest(release, out, shard_size=SHARD + 1000))
    other = write_release(tmp_path / "other", MOE, {n: t + 1 for n, t in random_tensors(MOE).items()})
    with pytest.raises(UsageError, match="holds another conversion"):
        run(other, out)


def test_a_link_at_the_place_of_a_file_is_replaced_not_followed(release: Path, out: Path, tmp_path: Path) -> None:
    run(release, out)
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("config.json", "model-00003-of-00005.safetensors"):
        (out / name).unlink()
        (out / name).symlink_to(victim)
    (out / STATE_FOLDER / "model-00003-of-00005.safetensors.partial").symlink_to(victim)
    run(release, out)
    assert victim.read_text() == "precious"
    assert not (out / "config.json").is_symlink()


def test_a_state_folder_that_leads_elsewhere_is_refused(release: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    out.mkdir()
    (out / STATE_FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskError, match="is a link"):
        run(release, out)
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_second_process_is_told_to_wait(release: Path, out: Path) -> None:
    with lock_folder(out), pytest.raises(FolderLocked):
        run(release, out)


def test_too_little_space_is_said_before_a_byte_is_written(
    release: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(release)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(NoSpace, match=r"\d\d,\d\d\d,\d\d\d bytes are needed, 1,000 are free") as caught:
        run(release, out)
    assert (caught.value.path, caught.value.free) == (out, 1000)
    assert caught.value.needed == forecast(ConvertRequest(release, out, shard_size=SHARD)).missing
    assert not out.exists()


IN_ANOTHER_PROCESS = """
import json, os, resource, signal, sys
from pathlib import Path
from magnetar.convert.write import engine
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import MagnetarError
from magnetar.events import Moved
source, destination, kind, number = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
options = json.loads(sys.argv[5]) if sys.argv[5:] else {"shard_size": 5000}
engine.JOURNAL_EVERY = options.pop("journal_every", engine.JOURNAL_EVERY)
if kind == "limit":
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
moved = 0
def emit(event):
    global moved
    if isinstance(event, Moved):
        moved += event.amount
        if kind == "kill" and moved >= number:
            os.kill(os.getpid(), signal.SIGKILL)
try:
    convert(ConvertRequest(source, destination, licence="Apache-2.0", **options), emit)
except MagnetarError as error:
    print(type(error).__name__, error)
    sys.exit(int(error.exit_code))
"""


def in_another_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.95, 1.5])
def test_a_killed_run_is_continued_and_the_result_is_the_same(release: Path, tmp_path: Path, share: float) -> None:
    run(release, tmp_path / "whole")
    out = tmp_path / "killed"
    done = in_another_process(release, out, "kill", int(share * 2 * MOE.total_parameters))
    assert done.returncode == -signal.SIGKILL
    assert not (out / "config.json").exists()
    finished = {shard: shard.stat().st_mtime_ns for shard in out.glob("*.safetensors")}
    assert len(finished) == min(int(share * 5), 5)
    for shard in finished:
        assert shard.read_bytes() == (tmp_path / "whole" / shard.name).read_bytes()
    assert run(release, out).verified
    assert contents(out) == contents(tmp_path / "whole")
    assert {shard: shard.stat().st_mtime_ns for shard in finished} == finished


@pytest.mark.parametrize("damaged", [False, True])
def test_a_run_killed_inside_a_file_goes_on_inside_it_if_its_beginning_is_still_good(
    release: Path, tmp_path: Path, damaged: bool
) -> None:
    convert(ConvertRequest(release, tmp_path / "whole", target="mistral", licence="Apache-2.0"))
    out, size = tmp_path / "killed", 2 * MOE.total_parameters
    options = json.dumps({"target": "mistral", "journal_every": 1500})
    assert in_another_process(release, out, "kill", int(0.7 * size), options).returncode == -signal.SIGKILL
    noted = read_conversion(out)
    assert noted is not None
    begun = noted.begun["consolidated.safetensors"].size
    assert begun > size // 2
    partial = out / STATE_FOLDER / "consolidated.safetensors.partial"
    if damaged:
        with partial.open("r+b") as file:
            file.seek(begun - 1)
            (last,) = file.read(1)
            file.seek(begun - 1)
            file.write(bytes([last ^ 1]))
    events: list[Event] = []
    assert convert(ConvertRequest(release, out, target="mistral", licence="Apache-2.0"), events.append).verified
    (total,) = (event.total for event in events if isinstance(event, Began) and event.step == "convert")
    assert total == size if damaged else total is not None and total < size // 2
    resumed = [event for event in events if isinstance(event, Resumed)]
    assert resumed == ([] if damaged else [Resumed(Step.CONVERT, size - total, size)])
    assert contents(out) == contents(tmp_path / "whole")
    assert not partial.exists()


def test_the_room_that_a_killed_run_took_is_not_asked_for_again(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, usage = tmp_path / "killed", shutil.disk_usage(tmp_path)
    assert in_another_process(release, out, "kill", 2000, '{"target": "mistral"}').returncode == -signal.SIGKILL
    with monkeypatch.context() as full:
        full.setattr(shutil, "disk_usage", lambda path: usage._replace(free=(16 << 20) + 3000))
        with pytest.raises(NoSpace):
            convert(ConvertRequest(release, tmp_path / "new", target="mistral"))
        assert convert(ConvertRequest(release, out, target="mistral")).verified


def test_a_source_damaged_before_the_place_where_a_run_goes_on_is_found(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    options = json.dumps({"target": "mistral", "journal_every": 1500})
    in_another_process(release, out, "kill", int(1.4 * MOE.total_parameters), options)
    with open_source(release) as source:
        offset = source.checkpoint.specs["tok_embeddings.weight"].offset
    content = bytearray((release / "consolidated.00.pth").read_bytes())
    content[offset + 3] ^= 4
    (release / "consolidated.00.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tok_embeddings\.weight are damaged"):
        convert(ConvertRequest(release, out, target="mistral", licence="Apache-2.0", verify=False))


def test_several_files_are_written_at_once_where_there_are_processors(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(release, tmp_path / "one")
    monkeypatch.setattr(engine, "MIN_BYTES_PER_WRITER", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    threads: set[str] = set()

    def emit(event: Event) -> None:
        if isinstance(event, Moved) and event.step == "convert":
            threads.add(current_thread().name)

    assert run(release, tmp_path / "many", emit=emit).verified
    assert len(threads) > 1
    assert contents(tmp_path / "many") == contents(tmp_path / "one")
    noted = read_conversion(tmp_path / "many")
    assert noted is not None
    assert len(noted.files) == len(contents(tmp_path / "one"))


def test_an_error_in_one_of_several_files_ends_them_all(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MIN_BYTES_PER_WRITER", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    with open_source(release) as source:
        offset = source.checkpoint.specs["layers.1.attention.wq.weight"].offset
    content = bytearray((release / "consolidated.00.pth").read_bytes())
    content[offset] ^= 1
    (release / "consolidated.00.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        run(release, tmp_path / "out")
    assert not list((tmp_path / "out" / STATE_FOLDER).glob("*.partial"))


def test_a_full_disk_leaves_nothing_that_looks_finished_and_can_be_continued(release: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = in_another_process(release, out, "limit", 3000)
    assert (done.returncode, done.stdout.split()[0]) == (4, "NoSpace")
    assert contents(out) == {}
    assert not list((out / STATE_FOLDER).glob("*.partial"))
    run(release, tmp_path / "whole")
    run(release, out)
    assert contents(out) == contents(tmp_path / "whole")


def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    """A checkpoint of 200 MB under a limit that leaves room for a quarter of it."""
    large = Architecture(1024, 1, 128, 3584, 8, 2, 1e-5, 8192, 1e6, 8, 2)
    release = write_release(tmp_path / "large", large, random_tensors(large))
    code = (
        "import resource, sys; from pathlib import Path; from magnetar.convert.write.convert import convert\n"
        "from magnetar.convert.write.convert_request import ConvertRequest\n"
        "import numpy\n"  # its libraries reserve more than they use
        "size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + (48 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, size))\n"
        "from tests.memory import peak_memory\n"
        "before = peak_memory()\n"
        "done = convert(ConvertRequest(Path(sys.argv[1]), Path(sys.argv[2])))\n"
        "print(done.bytes, done.verified, peak_memory() - before)\n"
    )
    command = [sys.executable, "-c", code, str(release), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    size, verified, taken = done.stdout.split()
    assert int(size) == 2 * large.total_parameters > 200_000_000
    assert verified == "True"
    assert int(taken) < 40 << 20


def test_what_the_source_says_of_its_licence_goes_along(release: Path, out: Path) -> None:
    (release / "LICENSE").write_text("Do as you like.")
    (release / "NOTICE").write_text("Made by us.")
    run(release, out)
    assert (out / "LICENSE").read_text() == "Do as you like."
    assert (out / "NOTICE").read_text() == "Made by us."


def test_a_licence_that_is_a_link_does_not_bring_the_users_files_along(
    release: Path, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text("key")
    (release / "NOTICE").symlink_to(tmp_path / "secret")
    run(release, out)
    assert not (out / "NOTICE").exists()


def test_an_unknown_licence_is_said_to_be_unknown(release: Path, out: Path) -> None:
    converted = convert(ConvertRequest(release, out))
    assert not (out / "LICENSE").exists()
    assert any("no licence text" in note for note in converted.notes)


def test_foreign_names_cannot_mark_up_the_note(release: Path, out: Path) -> None:
    run(release, out, release="x\n# <script>alert(1)</script> [a](b) \u001b[2J")
    note = (out / "CONVERSION.md").read_text()
    assert "<script>" not in note
    assert "\n# \\" not in note
    assert "\u001b" not in note


def test_the_context_length_can_be_told(release: Path, out: Path) -> None:
    convert(ConvertRequest(release, out, context_length=65536))
    assert json.loads((out / "config.json").read_text())["max_position_embeddings"] == 65536


def test_a_forged_note_does_not_make_wrong_bytes_good(release: Path, out: Path) -> None:
    run(release, out)
    note = out / STATE_FOLDER / "conversion.json"
    note.write_text(note.read_text().replace('"done": true', '"done": 7'))
    assert read_conversion(out) is None
    with pytest.raises(UsageError, match="not made by a conversion"):
        run(release, out)


def test_torch_is_not_needed(release: Path, out: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from pathlib import Path; from magnetar.convert.write.convert import convert\n"
        "from magnetar.convert.write.convert_request import ConvertRequest\n"
        "print(convert(ConvertRequest(Path(sys.argv[1]), Path(sys.argv[2]))).verified)\n"
    )
    command = [sys.executable, "-c", code, str(release), str(out)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"


def test_every_error_is_one_of_ours(release: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    with pytest.raises(MagnetarError):
        run(release, blocked / "below")


def test_reading_a_tensor_checks_it(release: Path) -> None:
    with open_source(release) as source:
        checkpoint: Checkpoint = source.checkpoint
        assert checkpoint.read("norm.weight") == raw(random_tensors(MOE)["norm.weight"])
