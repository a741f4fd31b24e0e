"""The folders of the parts, their links below ``magnetar/`` and the map in pyproject.toml say the same."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = ("fetch", "convert", "model", "manifests")
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def rooms() -> set[str]:
    """The package of every folder that holds modules, with the links below ``magnetar/`` not followed."""
    found = set()
    for top in ("magnetar", *PARTS):
        for module in (ROOT / top).rglob("*.py"):
            room = module.parent.relative_to(ROOT)
            if "__pycache__" not in room.parts and not (top == "magnetar" and set(room.parts[1:2]) & set(PARTS)):
                found.add(".".join(room.parts) if top == "magnetar" else ".".join(("magnetar", *room.parts)))
    return found


def test_every_part_is_mapped_and_linked() -> None:
    assert SETUPTOOLS["package-dir"] == {"magnetar": "magnetar"} | {f"magnetar.{part}": part for part in PARTS}
    for part in PARTS:
        link = ROOT / "magnetar" / part
        # A clone without links holds them as small text files with the same words.
        target = link.readlink().as_posix() if link.is_symlink() else link.read_text().strip()
        assert target == f"../{part}"


def test_every_room_is_listed_in_pyproject_and_is_a_package() -> None:
    assert sorted(SETUPTOOLS["packages"]) == sorted(rooms())
    for room in rooms():
        folder = ROOT.joinpath(*room.split("."))
        assert (folder / "__init__.py").is_file()


MAX_MODULES = 16
"""Modules in one folder, besides ``__init__``: more than that, and nobody finds the one that he looks for."""


def test_no_folder_of_code_has_too_many_modules() -> None:
    for room in rooms() - {"magnetar.cli.commands"}:
        modules = [path for path in ROOT.joinpath(*room.split(".")).glob("*.py") if path.stem != "__init__"]
        assert len(modules) <= MAX_MODULES, room


def test_the_files_that_contributing_names_for_a_change_are_there() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().split("## To change X, open Y")[1].split("\n## ")[0]
    named = re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", table)
    assert len(named) >= 25
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from magnetar.cli.app import main\n"
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
        "import sys; from magnetar.cli.app import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print('\\n', *sys.modules)"
    )
    command = [sys.executable, "-c", script, *(word.format(**places) for word in words)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert not absent & set(done.stdout.splitlines()[-1].split())
