import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.errors import DiskError, FolderLocked
from magnetar.files import Stamp, lock_folder, replace_file, stamp


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state"
    replace_file(path, b"old")
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(path.parent.iterdir()) == [path]


def test_the_mode_of_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        replace_file(tmp_path / "state", b"")
    finally:
        os.umask(umask)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o640


def test_a_full_disk_leaves_the_old_file_untouched(tmp_path: Path) -> None:
    path = tmp_path / "state"
    replace_file(path, b"old")
    script = (
        "import resource, signal, sys; from pathlib import Path; from magnetar.files import replace_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from magnetar.errors import NoSpace\n"
        "try: replace_file(Path(sys.argv[1]), b'x' * 5000)\n"
        "except NoSpace as error: print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
    assert "make space" in done.stdout
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_held_by_one_process_and_freed_by_its_death(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from magnetar.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(9999)"
    )
    with subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(FolderLocked, match="another process"), lock_folder(tmp_path):
            pass
        holder.kill()
    with lock_folder(tmp_path) as state:
        assert state == tmp_path / ".magnetar"


def test_a_state_folder_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / ".magnetar").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DiskError, match="is a link"), lock_folder(tmp_path / "release"):
        pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_stamp_holds_what_the_file_system_says_and_survives_json(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    found = path.stat()
    assert stamp(found) == (5, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, found.st_dev)
    assert Stamp(*json.loads(json.dumps(stamp(found)))) == stamp(found)


@pytest.mark.parametrize(
    ("modified", "changed", "settled"),
    [
        (-3, -3.0, True),
        (-3, -1.0, False),  # whole seconds: the clock may be as coarse as two of them
        (-3, -1.5, True),
        (-3, -0.05, False),
        (-1, -3.0, False),
        (-3, 1.5, False),
        (1, -3.0, False),
    ],
)
def test_a_file_is_settled_once_the_next_change_must_show(modified: int, changed: float, settled: bool) -> None:
    now, second = 1_700_000_000 * 10**9, 10**9
    seen = Stamp(1, now + modified * second, now + int(changed * second), 1, 1)
    assert seen.is_settled(now) is settled
