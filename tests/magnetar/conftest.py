"""The real command line, in process: words in, exit code and both streams out."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from magnetar.cli.app import main
from magnetar.model.bundled import bundled_release

SCHEMAS = Path(__file__).parents[2] / "docs" / "json"


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON object that ``--json`` prints. It is what its schema in docs/json says."""
        parsed: dict[str, Any] = json.loads(self.out)
        path = SCHEMAS / f"{parsed['command'].replace(' ', '-')}.schema.json"
        if path.exists():  # a command that does not exist has none
            jsonschema.validate(parsed, json.loads(path.read_text()))
        return parsed


Run = Callable[..., Outcome]


@pytest.fixture(autouse=True)
def configuration(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this test's config.toml would be; whoever runs the tests may have one of their own."""
    path = tmp_path_factory.mktemp("configuration") / "config.toml"
    monkeypatch.setenv("MAGNETAR_CONFIG", str(path))
    return path


@pytest.fixture
def magnetar(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run a command, and return what it printed and its exit code."""

    def run(*words: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        assert isinstance(left.value.code, int)
        return Outcome(left.value.code, *capfd.readouterr())

    return run


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A copy of the bundled release, to damage at will."""
    return Path(shutil.copytree(bundled_release(), tmp_path / "austen-moe"))
