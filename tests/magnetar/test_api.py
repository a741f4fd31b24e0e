"""The library's face: its names, what importing it costs, and the examples of docs/library.md."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import magnetar
from magnetar import LocalRelease, Release
from magnetar.errors import UsageError
from magnetar.findings import Outcome
from magnetar.model.bundled import bundled_release

ROOT = Path(__file__).parents[2]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "library.md").read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("name", magnetar.__all__)
def test_every_name_of_the_face_can_be_imported(name: str) -> None:
    assert getattr(magnetar, name) is not None


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = magnetar.nonsense


def test_importing_the_face_imports_nothing_else() -> None:
    script = "import sys; from magnetar import Release; print(*(name for name in sys.modules if 'magnetar' in name))"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) == {
        "magnetar",
        "magnetar.api",
        "magnetar.events",
        "magnetar.findings",
        "magnetar.version",
    }


def test_the_examples_of_the_documentation_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"folder": tmp_path}
    assert len(EXAMPLES) >= 7
    for example in EXAMPLES:
        exec(compile(example, "docs/library.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "params.json good" in shown
    assert "hf 3609728" in shown


def test_a_release_of_the_catalog_is_known_by_its_name_and_by_its_link() -> None:
    by_name = Release("mixtral-8x7b-v0.1").manifest
    by_link = Release("magnet:?xt=urn:btih:5546272da9065eddeb6fcd7ffddeef5b75be79a7").manifest
    assert by_name is not None
    assert by_link is not None
    assert by_name.name == by_link.name
    with pytest.raises(UsageError):
        _ = Release("no-such-release").manifest


def test_a_folder_is_verified_converted_compared_and_the_copy_proven(tmp_path: Path) -> None:
    here = LocalRelease(bundled_release())
    converted = here.convert("safetensors", tmp_path / "copy")
    copy = LocalRelease(converted.destination)
    assert here.verify("austen-moe").outcome is Outcome.GOOD
    assert copy.verify("austen-moe").outcome is Outcome.GOOD
    assert here.compare(copy).outcome is Outcome.GOOD
    assert copy.inspect(tensors=True).tensor_count == 127
