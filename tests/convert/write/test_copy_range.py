"""What is copied without being looked at: by every way that a system may have or lack, and never called checked."""

import errno
import os
from pathlib import Path

import pytest
from safetensors.torch import load_file

from magnetar.byte_source import FileSpan
from magnetar.convert.write import copy_range
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.convert.write.copy_range import copy_span, reserve
from tests.convert.forge import MOE, random_tensors, raw

WAYS = ("copy_file_range", "sendfile")


def refuse(*_arguments: object, **_more: object) -> int:
    raise OSError(errno.EXDEV, "not between these")


@pytest.mark.parametrize("missing", [(), WAYS[:1], WAYS])
def test_a_span_is_copied_by_whatever_way_there_is(
    missing: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for way in missing:
        monkeypatch.setattr(os, way, refuse)
    monkeypatch.setattr(copy_range, "MAX_CALL_BYTES", 1000)
    content = os.urandom(10_000)
    (tmp_path / "a").write_bytes(content)
    with (tmp_path / "a").open("rb") as source, (tmp_path / "b").open("wb") as target:
        target.write(b"head")
        target.flush()
        copy_span(FileSpan(source.fileno(), 123, 9000), target.fileno())
        with pytest.raises(OSError, match="too early"):
            copy_span(FileSpan(source.fileno(), 9000, 2000), target.fileno())
    assert (tmp_path / "b").read_bytes()[:9004] == b"head" + content[123:9123]


def test_room_that_cannot_be_reserved_is_not_asked_for_and_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "a").open("wb") as file:
        reserve(file.fileno(), 5000)
        assert os.fstat(file.fileno()).st_size == 5000
        monkeypatch.setattr(os, "posix_fallocate", refuse)
        reserve(file.fileno(), 9000)
        with monkeypatch.context() as full:
            full.setattr(os, "posix_fallocate", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
            with pytest.raises(OSError, match="full"):
                reserve(file.fileno(), 9000)


def test_without_checks_the_bytes_are_the_same_but_nothing_is_called_checked(release: Path, tmp_path: Path) -> None:
    checked = convert(ConvertRequest(release, tmp_path / "a", shard_size=5000))
    fast = convert(ConvertRequest(release, tmp_path / "b", shard_size=5000, check=False, verify=False))
    assert (checked.verified, fast.verified) == (True, False)
    assert {file.sha256 for file in fast.files if file.path.endswith(".safetensors")} <= {
        "",
        *(file.sha256 for file in checked.files),
    }
    assert "" in {file.sha256 for file in fast.files}
    for path in (tmp_path / "a").glob("*.safetensors"):
        assert (tmp_path / "b" / path.name).read_bytes() == path.read_bytes()
    again = convert(ConvertRequest(release, tmp_path / "b", shard_size=5000))
    assert (again.verified, again.already) == (True, False)
    assert all(file.sha256 for file in again.files)


def test_a_comparison_checks_what_the_copy_did_not(release: Path, tmp_path: Path) -> None:
    assert convert(ConvertRequest(release, tmp_path / "out", target="mistral", check=False)).verified
    tensors = load_file(tmp_path / "out" / "consolidated.safetensors")
    assert {name: raw(tensor) for name, tensor in tensors.items()} == {
        name: raw(tensor) for name, tensor in random_tensors(MOE).items()
    }
