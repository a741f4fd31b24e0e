import json
from pathlib import Path

import pytest

from tests.magnetar.conftest import Run


def test_a_flag_beats_the_environment_which_beats_the_file(
    magnetar: Run, configuration: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configuration.write_text('[verify]\nmanifest = "from-the-file"')
    assert "from-the-file" in magnetar("verify", tmp_path).err
    monkeypatch.setenv("MAGNETAR_VERIFY_MANIFEST", "from-the-environment")
    assert "from-the-environment" in magnetar("verify", tmp_path).err
    assert "from-the-flag" in magnetar("verify", tmp_path, "--manifest", "from-the-flag").err


def test_amounts_and_switches_are_read_as_their_options_read_them(
    magnetar: Run, configuration: Path, tmp_path: Path
) -> None:
    configuration.write_text('[fetch]\ndht = false\ndownload-limit = "many"')
    assert "many" in magnetar("fetch", "grok-1", "--dir", tmp_path).err
    configuration.write_text("[verify]\njson = true")
    assert json.loads(magnetar("verify", tmp_path / "absent").out)["exit"] == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[nonsense]\nx = 1", "[nonsense] is no command"),
        ("verify = 1", "[verify] is no command"),
        ("[verify]\nmanifesto = 1", "[verify] has no option manifesto"),
        ("[verify", "is not TOML"),
        ("# " + "x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_its_key_and_exits_3(
    magnetar: Run, configuration: Path, text: str, told: str
) -> None:
    configuration.write_text(text)
    shown = magnetar("catalog")
    assert shown.code == 3
    assert told in shown.err
    assert str(configuration) in shown.err


def test_help_does_not_need_a_sound_file(magnetar: Run, configuration: Path) -> None:
    configuration.write_text("[broken")
    assert magnetar("--help").code == 0
