"""The hostile corpus, read in a process that may do little work, take little memory, and do nothing but read."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.attacks.corpus import CANARY, corpus, write_attack
from tests.convert.forge import random_tensors, write_release

ATTACKS = corpus(Path("/nowhere"))
NAMES = tuple(ATTACKS)

SECONDS = 1200
"""Of CPU, before the process is killed: only what never ends takes so long."""

MEGABYTES = 768
"""Beyond what the interpreter and numpy have mapped: what the largest header allowed may unfold to."""

MAX_EFFORT = 3000
"""Units of ``tests.effort`` that one file may take. The most that is needed is 340, for five million values."""

ROOT = Path(__file__).parents[2]

READER = """
import json, resource, sys
from pathlib import Path
from magnetar.convert.formats.detect import open_path
from magnetar.convert.write.convert import forecast
from magnetar.errors import MagnetarError
from tests.effort import measured_effort

seconds, megabytes = int(sys.argv[1]), int(sys.argv[2])
mapped = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (megabytes << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
FORBIDDEN = ('os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.Popen', 'socket.connect', 'os.remove',
             'os.rename', 'os.mkdir', 'shutil.rmtree', 'pickle.find_class', 'marshal.loads')
did = []
ready = False

def watch(event, arguments):
    if not ready:
        return
    if event in FORBIDDEN and not (event == 'marshal.loads' and sys._getframe(1).f_code.co_name == 'get_code'):
        did.append(event)
    if event == 'open' and isinstance(arguments[2], int) and arguments[2] & 3:
        did.append(f'open {arguments[0]!r} to write')

sys.addaudithook(watch)

def read(path):
    with open_path(path) as checkpoint:
        for name, spec in checkpoint.specs.items():
            checkpoint.read(name)

for line in sys.stdin:
    name, path = json.loads(line)
    kind, text = '', ''
    ready = True
    try:
        with measured_effort() as effort:
            read(Path(path))
    except MagnetarError as error:
        kind, text = type(error).__name__, error.message
    except BaseException as error:
        kind, text = f'!{type(error).__name__}', str(error)
    ready = False
    print(json.dumps([name, kind, text, effort.units, did]), flush=True)
    did.clear()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("attacks")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, tuple[str, str, float, list[str]]]:
    """What came of each file: the error, its message, the effort, and what it did besides reading."""
    attacks = corpus(folder)
    paths = {name: write_attack(folder / f"{n:03}", attack) for n, (name, attack) in enumerate(attacks.items())}
    paths["good"] = write_release(folder / "good", *_good()) / "consolidated.00.pth"
    lines = "".join(json.dumps([name, str(path)]) + "\n" for name, path in paths.items())
    words = [sys.executable, "-c", READER, str(SECONDS), str(MEGABYTES)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, input=lines, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{done.stderr[-1000:]} after {found[-1][0] if found else 'nothing'}"
    return {name: (kind, text, taken, did) for name, kind, text, taken, did in found}


def _good() -> tuple[Any, dict[str, torch.Tensor]]:
    from tests.convert.forge import MOE

    return MOE, random_tensors(MOE)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_file_is_refused_with_the_rule_that_it_broke(
    name: str, results: dict[str, tuple[str, str, float, list[str]]]
) -> None:
    kind, text, taken, did = results[name]
    assert kind in ("CheckpointError", "UnsafePickle", "LayoutError"), f"{kind}: {text}"
    assert re.search(ATTACKS[name].rule, text), text
    assert did == []
    assert taken < MAX_EFFORT


def test_a_good_file_is_read_within_the_same_bounds(results: dict[str, tuple[str, str, float, list[str]]]) -> None:
    assert results["good"][:2] == ("", "")


def test_nothing_ran(results: dict[str, tuple[str, str, float, list[str]]], folder: Path) -> None:
    assert len(results) == len(NAMES) + 1 > 150
    assert not list(folder.rglob(CANARY))


def test_the_canary_sings_where_a_pickle_is_loaded(tmp_path: Path) -> None:
    path = write_attack(tmp_path / "x", corpus(tmp_path)["pickle: bare"])
    subprocess.run([sys.executable, "-c", f"import pickle; pickle.load(open({str(path)!r}, 'rb'))"], check=True)
    assert (tmp_path / CANARY).exists()
