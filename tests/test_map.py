"""The folders of the parts, their links below ``magnetar/`` and the map in pyproject.toml say the same."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("fetch", "convert", "model", "manifests")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_part_is_mapped_linked_and_a_package() -> None:
    expected = {"magnetar": "magnetar"} | {f"magnetar.{part}": part for part in PARTS}
    assert SETUPTOOLS["package-dir"] == expected
    assert sorted(SETUPTOOLS["packages"]) == sorted(expected)
    for part in PARTS:
        assert (ROOT / part / "__init__.py").is_file()
        link = ROOT / "magnetar" / part
        # A clone without links holds them as small text files with the same words.
        target = link.readlink().as_posix() if link.is_symlink() else link.read_text().strip()
        assert target == f"../{part}"


def test_the_parts_are_flat_so_that_the_map_is_complete() -> None:
    nested = [path for part in PARTS for path in (ROOT / part).rglob("*/*.py") if "__pycache__" not in path.parts]
    assert nested == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from magnetar.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('torch', 'libtorrent', 'numpy', 'pydantic', 'sentencepiece') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (["verify", "{release}"], {"torch", "libtorrent", "numpy"}),
        (["inspect", "{release}"], {"torch"}),
        (["catalog"], {"torch", "libtorrent", "numpy"}),
        (["fetch", "{release}/params.json"], {"torch", "numpy"}),
        (["convert", "{release}", "{tmp}/out"], {"torch", "transformers"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_only_what_it_needs(words: list[str], absent: set[str], tmp_path: Path) -> None:
    places = {"release": str(ROOT / "model" / "release" / "austen-moe"), "tmp": str(tmp_path)}
    script = (
        "import sys; from magnetar.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print('\\n', *sys.modules)"
    )
    command = [sys.executable, "-c", script, *(word.format(**places) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert not absent & set(done.stdout.splitlines()[-1].split())
