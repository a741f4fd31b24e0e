import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from magnetar.cli.app import build_app, main
from magnetar.model.bundled import bundled_release
from magnetar.version import __version__
from tests.magnetar.conftest import Run
from tests.patience import PATIENCE

GROUPS = ("catalog", "manifest")
COMMANDS = (
    "boot",
    "convert",
    "demo",
    "fetch",
    "get",
    "identify",
    "inspect",
    "publish",
    "repair",
    "same",
    "seed",
    "verify",
)
MIXTRAL = "magnet:?xt=urn:btih:5546272da9065eddeb6fcd7ffddeef5b75be79a7&dn=mixtral-8x7b-32kseqlen"


def test_there_is_one_command_for_each_thing_that_can_be_done() -> None:
    built = build_app()
    named = {command.name for command in built.registered_commands} | {group.name for group in built.registered_groups}
    assert named == {*COMMANDS, *GROUPS}


def test_the_traceback_of_a_bug_quotes_foreign_text_in_one_clean_line() -> None:
    script = (
        "import sys, magnetar.pipeline.inspect as module\n"
        "def fail(*_words, **_options): raise ValueError('x\\ngood: the release\\x1b[2J')\n"
        "module.inspect = fail\n"
        "from magnetar.cli.app import main\n"
        "main(['inspect', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith("\nValueError: x\\ngood: the release\\x1b[2J\n")


def test_a_command_loads_no_other(tmp_path: Path) -> None:
    script = (
        "import sys; from magnetar.cli.app import main\n"
        "try: main(['verify', sys.argv[1]])\n"
        "except SystemExit: print(*(name for name in sys.modules if name.startswith('magnetar.cli.commands.')))"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["magnetar.cli.commands.verify"]


def every_command() -> dict[str, Any]:
    """The commands as they are typed, those below a group too."""
    built: Any = typer.main.get_command(build_app())
    commands = dict(built.commands)
    for group in GROUPS:
        commands |= {f"{group} {name}": command for name, command in commands[group].commands.items()}
    return commands


@pytest.mark.parametrize("words", [name for name in every_command() if name != "manifest"])
def test_help_says_what_a_command_and_each_of_its_options_do_and_gives_an_example(words: str) -> None:
    command = every_command()[words]
    assert command.help
    assert f"Example: magnetar {words}" in (command.epilog or "").replace("Examples:", "Example:")
    names = {name for parameter in command.params for name in parameter.opts}
    assert {"--json", "--quiet", "--progress"} <= names
    for parameter in command.params:
        assert parameter.help, f"{words} {parameter.name}"
        assert parameter.help.endswith("."), f"{words} {parameter.name}: {parameter.help}"


@pytest.mark.parametrize("words", [(), ("boot",), ("catalog", "add"), ("get",)])
def test_help_is_shown(magnetar: Run, words: tuple[str, ...]) -> None:
    shown = magnetar(*words, "--help")
    assert shown.code == 0
    assert "Usage: magnetar" in shown.out


def test_no_words_at_all_shows_the_help(magnetar: Run) -> None:
    assert "Commands" in magnetar().out


def test_the_version_is_shown(magnetar: Run) -> None:
    assert magnetar("--version").out == f"magnetar {__version__}\n"


@pytest.mark.parametrize(
    ("words", "code", "kind"),
    [
        (("verify", "repair", "{tmp}/absent"), 2, "UsageError"),
        (("verify", "{tmp}"), 2, "UsageError"),
        (("verify", "{tmp}/file"), 2, "UsageError"),
        (("verify", "{tmp}", "--manifest", "nonsense"), 2, "UsageError"),
        (("verify", "{tmp}", "--manifest", "{tmp}/unsafe.toml"), 3, "ManifestError"),
        (("verify", "{tmp}", "--require-signature"), 2, "UsageError"),
        (("verify", "{tmp}", "--identity", "me"), 2, "UsageError"),
        (("verify", "--nonsense"), 2, "UsageError"),
        (("verify",), 2, "UsageError"),
        (("convert", "{tmp}/absent", "{tmp}/out"), 2, "UsageError"),
        (("convert", "{tmp}/empty", "{tmp}/out"), 6, "CheckpointError"),
        (("convert", "{tmp}/file", "{tmp}/out"), 6, "LayoutError"),
        (("convert", "{tmp}/empty", "{tmp}/out", "--to", "nonsense"), 2, "UsageError"),
        (("convert", "{tmp}/empty", "{tmp}/out", "--shard-size", "many"), 2, "UsageError"),
        (("boot", "{tmp}/absent"), 2, "UsageError"),
        (("boot", "{tmp}/empty"), 6, "CheckpointError"),
        (("boot", "{tmp}/file"), 6, "CheckpointError"),
        (("boot", "{tmp}/empty", "--level", "nonsense"), 2, "UsageError"),
        (("boot", "{tmp}/empty", "--routing", "nonsense"), 2, "UsageError"),
        (("boot", "{tmp}/empty", "--prompt", "x"), 6, "CheckpointError"),
        (("identify", "{tmp}/absent"), 2, "UsageError"),
        (("inspect", "{tmp}/absent"), 2, "UsageError"),
        (("inspect", "{tmp}/empty"), 6, "CheckpointError"),
        (("inspect", "{tmp}/file"), 6, "CheckpointError"),
        (("inspect", "{tmp}/broken.torrent"), 3, "TorrentError"),
        (("inspect", "magnet:?dn=nothing"), 3, "MagnetError"),
        (("fetch", ""), 2, "UsageError"),
        (("fetch", "nonsense"), 2, "UsageError"),
        (("fetch", "magnet:?xt=urn:btih:xyz"), 3, "MagnetError"),
        (("fetch", "{tmp}/absent.torrent"), 2, "UsageError"),
        (("fetch", "{tmp}/broken.torrent", "--dir", "{tmp}/down"), 3, "TorrentError"),
        (("fetch", MIXTRAL, "--peer", "not-a-peer"), 2, "UsageError"),
        (("fetch", MIXTRAL, "--metadata-timeout", "soon"), 2, "UsageError"),
        (("get", "nonsense"), 2, "UsageError"),
        (("get", "magnet:?xt=urn:btih:xyz", "--dir", "{tmp}/down"), 3, "MagnetError"),
        (("get", MIXTRAL, "--seed"), 2, "UsageError"),
        (("get", "magnet:?xt=urn:btih:xyz", "--to", "nonsense"), 2, "UsageError"),  # before the link is looked at
        (("get", "http://127.0.0.1:9/x.torrent", "--to", "nonsense"), 2, "UsageError"),  # and before it is followed
        (("repair", "{tmp}/absent"), 2, "UsageError"),
        (("repair", "{tmp}/empty"), 2, "UsageError"),
        (("repair", "{tmp}/file"), 2, "UsageError"),
        (("repair", "{tmp}/empty", "--torrent", "{tmp}/broken.torrent"), 3, "TorrentError"),
        (("same", "{tmp}/absent", "{tmp}/empty"), 2, "UsageError"),
        (("same", "{tmp}/empty", "{tmp}/empty"), 6, "CheckpointError"),
        (("seed", "{tmp}/absent"), 2, "UsageError"),
        (("seed", "{tmp}/empty"), 2, "UsageError"),
        (("seed", "{tmp}/file"), 2, "UsageError"),
        (("publish", "{tmp}/absent"), 2, "UsageError"),
        (("publish", "{tmp}/empty"), 2, "UsageError"),
        (("publish", "{tmp}/empty", "--sign", "key"), 2, "UsageError"),
        (("publish", "{tmp}/empty", "--published", "yesterday"), 2, "UsageError"),
        (("publish", "{tmp}/empty", "--piece-length", "3"), 2, "UsageError"),
        (("catalog", "show", "nonsense"), 2, "UsageError"),
        (("catalog", "add", "{tmp}/absent"), 2, "UsageError"),
        (("catalog", "add", "{tmp}/file"), 3, "ManifestError"),
        (("catalog", "remove", "nonsense"), 2, "UsageError"),
        (("manifest", "create", "{tmp}/absent"), 4, "DiskError"),
        (("manifest", "create", "{tmp}/empty", "--algorithm", "nonsense"), 2, "UsageError"),
        (("manifest", "show", "nonsense"), 2, "UsageError"),
        (("manifest", "check", "{tmp}/unsafe.toml"), 3, "ManifestError"),
        (("manifest", "pin", "{tmp}/empty"), 2, "UsageError"),
        (("manifest", "import", "{tmp}/absent"), 2, "UsageError"),
        (("manifest", "import", "{tmp}/file"), 3, "ManifestError"),
        (("manifest", "tensors", "{tmp}/empty", "--output", "{tmp}/out"), 6, "CheckpointError"),
        (("manifest", "export", "grok-1"), 3, "MalformedError"),
        (("manifest", "export", "austen-moe", "--format", "lfs"), 2, "UsageError"),
        (("demo", "--nonsense"), 2, "UsageError"),
        (("nonsense",), 2, "UsageError"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)  # fmt: skip
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_bad_input_gets_a_clear_line_a_hint_and_its_exit_code(
    magnetar: Run, tmp_path: Path, words: tuple[str, ...], code: int, kind: str, as_json: bool
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("<!DOCTYPE html><p>404")
    (tmp_path / "unsafe.toml").write_text(
        'format = 1\nname = "x"\ntitle = "x"\npublisher = "x"\nlicence = "x"\n[[files]]\npath = "../x"'
    )
    (tmp_path / "broken.torrent").write_bytes(b"d4:infod4:name3:x\x1b[e")
    before = sorted(tmp_path.rglob("*"))
    shown = magnetar(*(word.replace("{tmp}", str(tmp_path)) for word in words), *(["--json"] if as_json else []))
    assert shown.code == code, shown.err + shown.out
    if as_json:
        assert shown.document["ok"] is False
        assert shown.document["exit"] == code
        error = shown.document["error"]
        assert error["kind"] == kind
        assert error["message"]
    else:
        assert shown.out == ""
        assert shown.err.startswith("error: ")
    assert "Traceback" not in shown.err
    assert "\x1b" not in shown.err
    assert sorted(tmp_path.rglob("*")) == before


def test_the_catalog_lists_what_is_known_and_shows_what_is_not(magnetar: Run) -> None:
    listed = magnetar("catalog", "--json").document["result"]["entries"]
    assert {"austen-moe", "mixtral-8x7b-v0.1", "grok-1"} <= {release["name"] for release in listed}
    assert magnetar("catalog", "list").out == magnetar("catalog").out
    shown = magnetar("catalog", "show", "mixtral-8x7b-v0.1").out
    assert "46.7 B in all, 12.9 B active for a token" in shown
    assert "not known" in shown
    assert "md5:1faa9bc9b20fcfe81fcd4eb7166a79e6" in shown


def test_inspect_shows_a_mangled_link_healed_and_which_release_it_is(magnetar: Run) -> None:
    mangled = MIXTRAL.replace("&dn", "&amp;dn") + "&amp;tr=udp%3A%2F%http://2Fopentracker.i2p.rocks%3A6969%2Fannounce"
    seen = magnetar("inspect", mangled, "--json").document["result"]
    assert seen["trackers"] == ["udp://opentracker.i2p.rocks:6969/announce"]
    assert seen["release"] == "mixtral-8x7b-v0.1"
    assert len(seen["healed"]) == 2


def test_a_foreign_name_cannot_colour_the_screen_or_ring_the_bell(magnetar: Run) -> None:
    shown = magnetar("inspect", f"magnet:?xt=urn:btih:{'a' * 40}&dn=%1B%5B31m%07%5Bbold%5Dx")
    assert "\x1b" not in shown.out
    assert "\x07" not in shown.out
    assert "[bold]x" in shown.out


def test_options_come_from_the_environment_too(magnetar: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAGNETAR_VERIFY_MANIFEST", "nonsense")
    assert "nonsense" in magnetar("verify", tmp_path).err


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = "magnetar catalog show grok-1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m {script} | true"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_seeder_that_is_stopped_ends_quietly_with_its_exit_code(tmp_path: Path, number: int, code: int) -> None:
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "weights").write_bytes(os.urandom(100_000))
    command = [sys.executable, "-m", "magnetar", "seed", str(tmp_path / "release"), "--loopback"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as seeder:
        assert seeder.stdout is not None
        assert seeder.stderr is not None
        assert seeder.stdout.readline().startswith("magnet:?xt=urn:btih:")
        seeder.send_signal(number)
        assert seeder.wait(PATIENCE) == code
        assert "Traceback" not in seeder.stderr.read()


def test_main_leaves_by_exit_even_when_all_is_good() -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0


def test_a_dry_run_of_a_conversion_says_what_it_would_take_and_writes_nothing(magnetar: Run, tmp_path: Path) -> None:
    words = ("convert", bundled_release(), tmp_path / "out", "--to", "gguf", "--dry-run")
    shown = magnetar(*words)
    assert shown.code == 0
    assert "model.gguf: 7," in shown.out
    assert "fits" in shown.out
    result = magnetar(*words, "--json").document["result"]
    assert [file["path"] for file in result["files"]] == ["model.gguf"]
    assert result["files"][0]["size"] < result["missing"] < result["free"]
    assert not list(tmp_path.iterdir())
