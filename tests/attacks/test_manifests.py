"""Hostile manifests and side files, read in a process that may do little work in little memory: each is exit 3."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import needs

ROOT = Path(__file__).parents[2]

HEAD = 'format = 1\nname = "tiny"\ntitle = "Tiny"\npublisher = "us"\nlicence = "MIT"\n'
PATHS = {
    "escaping": "../../x",
    "escaping later": "a/../../x",
    "absolute": "/etc/passwd",
    "drive": "C:/x",
    "share": "\\\\\\\\server\\\\share",
    "device file": "/dev/sda",
    "device name": "sub/NUL.bin",
    "another device": "com1",
    "overlong": "a/" * 2000 + "b",
    "overlong part": "x" * 256,
    "state": ".magnetar/resume",
    "hooks": ".GIT/hooks/post-checkout",
    "empty": "",
    "end of string": "a\\u0000",
}


def files(*paths: str) -> bytes:
    return (HEAD + "".join(f'[[files]]\npath = "{path}"\n' for path in paths)).encode()


DOCUMENTS = {name: files(path) for name, path in PATHS.items()} | {
    "duplicate": files("a", "a"),
    "case": files("Weights.bin", "weights.BIN"),
    "unicode form": files("\u00e9", "e\u0301"),
    "file and folder": files("a", "a/b"),
    "folder of itself": files("a/b", "a/b/c", "A"),
    "size beyond 2^63": files("a") + b"size = 9223372036854775808",
    "size beyond all": files("a") + b"size = " + b"9" * 100_000,
    "negative size": files("a") + b"size = -1",
    "size of nan": files("a") + b"size = nan",
    "unknown format": b"format = 999999999999999999999",
    "no format": b'name = "x"',
    "hundred megabytes": HEAD.encode() + b"# " + b"x" * (100 << 20),
    "hundred megabytes of tables": b"[[files]]\n" * (10 << 20),
    "deep lists": b"x = " + b"[" * 500_000,
    "deep tables": b"x = " + b"{a=" * 300_000,
    "deep keys": b"a" + b".a" * 400_000 + b" = 1",
    "deep headers": b"[" + b"a." * 400_000 + b"a]",
    "many dotted keys": b"".join(b"a" + b".a" * 120 + b".b%d = 1\n" % n for n in range(4000)),
    "quoted dots": b'"' + b"a" * 300_000 + b'".b = 1',
    "many faults": files(*(f"../{n}" for n in range(20_000))),
    "many files": files(*(f"{n}" for n in range(30_000)), "0"),
    "not text": bytes(range(256)) * 100,
    "weak pin": (HEAD + f'[tensors]\npath = "t"\ndigest = "sha1:{"0" * 40}"').encode(),
    "side file that escapes": (HEAD + f'[tensors]\npath = "../t"\ndigest = "sha256:{"0" * 64}"').encode(),
}

MAX_EFFORT = 1500
"""Units of ``tests.effort`` that reading one document may take. The most that is needed is 150."""

READER = """
import json, resource, sys
from pathlib import Path
from magnetar.errors import MagnetarError
from magnetar.manifests.schema import load_manifest
from tests.effort import measured_effort

mapped = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (256 << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (1200, 1200))
for line in sys.stdin:
    path = Path(line.strip())
    try:
        with measured_effort() as effort:
            load_manifest(path)
        found = 0
    except MagnetarError as error:
        found = int(error.exit_code)
    except BaseException as error:
        found = f'{type(error).__name__}: {str(error)[:200]}'
    print(json.dumps([path.stem, found, effort.units]), flush=True)
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int | str, float]]:
    """The exit code of each document, or the crash, and the effort that it took."""
    folder = tmp_path_factory.mktemp("manifests")
    for name, content in DOCUMENTS.items():
        (folder / f"{name}.toml").write_bytes(content)
    lines = "".join(f"{folder / name}.toml\n" for name in DOCUMENTS)
    command = [sys.executable, "-c", READER]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, cwd=ROOT)
    for name in DOCUMENTS:
        (folder / f"{name}.toml").unlink()
    return {name: (code, taken) for name, code, taken in map(json.loads, done.stdout.splitlines())}


@needs.linux
@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_hostile_manifest_is_malformed_with_little_work_and_memory(
    name: str, found: dict[str, tuple[int | str, float]]
) -> None:
    code, effort = found[name]
    assert code == 3
    assert effort < MAX_EFFORT
