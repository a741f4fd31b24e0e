"""Hostile manifests and signatures, added to the catalog in a process that may take little time and memory."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from magnetar.manifests.signing.sign import KeySigning, ManifestSigner
from tests.manifests.signing.keys import write_key

HEAD = 'format = 1\nname = "x"\ntitle = "x"\npublisher = "x"\nlicence = "x"\n'
MEGABYTES, SECONDS = 512, 1200

ADDER = """
import io, json, resource, sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
import model_signing, urllib3
from magnetar.pipeline import catalog as pipeline_catalog
from magnetar.render.commands import catalog as render_catalog
from magnetar.cli.app import main

mapped = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + (int(sys.argv[1]) << 20),) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
for line in sys.stdin:
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            main(['catalog', 'add', line.strip()])
    except SystemExit as left:
        print(json.dumps([line.strip(), left.code]), flush=True)
"""


def files(*paths: str, size: str = "5") -> bytes:
    return (HEAD + "".join(f"[[files]]\npath = {json.dumps(path)}\nsize = {size}\n" for path in paths)).encode()


MANIFESTS = {
    "escaping": files("../x"),
    "absolute": files("/etc/x"),
    "a drive": files("C:/x"),
    "backslashes": files("..\\x"),
    "state": files(".magnetar/x"),
    "a control character": files("x\x1b[31m"),
    "overlong": files("x" * 300),
    "named twice": files("x", "x"),
    "named twice but for case": files("x", "X"),
    "beyond 2**63": files("x", size=str(1 << 63)),
    "negative": files("x", size="-1"),
    "an unknown format": HEAD.replace("format = 1", "format = 2").encode(),
    "no format": b"name = 'x'",
    "an unknown key": (HEAD + "evil = 1").encode(),
    "a name that leads out": HEAD.replace('name = "x"', 'name = "../x"').encode(),
    "a dotted key of 40 KB": (HEAD + ".".join("a" * 20_000) + " = 1").encode(),
    "deep nesting": (HEAD + "x = " + "[" * 100_000).encode(),
    "no text": b"\xff\xfe" * 1000,
    "empty": b"",
}


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The exit code of adding each."""
    folder = tmp_path_factory.mktemp("attacks")
    paths = _write_manifests(folder) | _write_signatures(folder)
    done = subprocess.run(
        [sys.executable, "-c", ADDER, str(MEGABYTES), str(SECONDS)],
        input="".join(f"{path}\n" for path in paths.values()),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MAGNETAR_CATALOG": str(folder / "catalog")},
    )
    left = dict(map(json.loads, done.stdout.splitlines()))
    assert done.returncode == 0, f"{done.stderr[-1000:]} after {list(left)[-1:]}"
    kept = [path.name for path in (folder / "catalog").iterdir() if path.name != ".magnetar"]
    assert kept == []
    return {name: left[str(path)] for name, path in paths.items()}


def _write_manifests(folder: Path) -> dict[str, Path]:
    paths = {}
    for number, (name, content) in enumerate(MANIFESTS.items()):
        paths[name] = folder / f"{number}.toml"
        paths[name].write_bytes(content)
    paths["100 MB"] = folder / "large.toml"
    with paths["100 MB"].open("wb") as file:
        file.write(HEAD.encode())
        file.truncate(100 << 20)
    return paths


def _write_signatures(folder: Path) -> dict[str, Path]:
    content = files("weights")
    key = write_key(folder / "key")
    good = json.loads(ManifestSigner(KeySigning(key)).sign("x.toml", content))
    envelope = good["dsseEnvelope"]
    hostile = {
        "signature: none": b"",
        "signature: not JSON": b"\x00" * 1000,
        "signature: deep": b"[" * 500_000,
        "signature: deep objects": b'{"mediaType":' * 50_000,
        "signature: 2 MB": b" " * (2 << 20),
        "signature: a list": b"[]",
        "signature: numbers": json.dumps(dict.fromkeys(good, 5)).encode(),
        "signature: a number of a million digits": b"9" * 1_000_000,
        "signature: of nothing": json.dumps(good | {"dsseEnvelope": envelope | {"payload": ""}}).encode(),
        "signature: of other bytes": json.dumps(good).encode(),
    }
    paths = {}
    for number, (name, signature) in enumerate(hostile.items()):
        paths[name] = folder / f"signed-{number}.toml"
        paths[name].write_bytes(content + b"# other\n")
        (folder / f"signed-{number}.toml.sig").write_bytes(signature)
        (folder / f"signed-{number}.toml.pub").write_bytes(key.with_name("key.pub").read_bytes())
    return paths


def test_a_hostile_manifest_is_malformed_and_a_hostile_signature_does_not_hold(codes: dict[str, int]) -> None:
    expected = {name: 5 if name.startswith("signature") else 3 for name in codes}
    expected["signature: 2 MB"] = 3
    assert codes == expected
