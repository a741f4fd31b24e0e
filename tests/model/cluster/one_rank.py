"""One process of several that boot a model, with a short text, a short patience, and a list of what it read.

python one_rank.py LIST WORDS…: runs ``magnetar WORDS…``, and writes the names of the tensors that it read into LIST.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import atexit
import signal
import sys
from pathlib import Path

from magnetar.cli.app import main
from magnetar.convert.transform.view import View
from magnetar.model.cluster import rendezvous, torchrun
from magnetar.model.run import measure_run

measure_run.MAX_WORK = 0
rendezvous.MAX_SILENCE_SECONDS = float(os.environ.get("MAX_SILENCE_SECONDS", rendezvous.MAX_SILENCE_SECONDS))
torchrun.MAX_FAREWELL_SECONDS = 2.0
met: list[str] = []
read = View.read


def read_and_count(view: View, name: str) -> bytearray:
    met.append(name)
    if os.environ.get("DIES_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(view, name)


View.read = read_and_count  # type: ignore[method-assign]
atexit.register(lambda: Path(sys.argv[1]).write_text("\n".join(met)))
main(sys.argv[2:])
