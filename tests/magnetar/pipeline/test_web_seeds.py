"""What was published with a web seed, fetched from nobody else."""

from pathlib import Path

import pytest

from magnetar.manifests.schema import load_manifest
from tests.fetch.mirror_world import MirrorServer, mirror_server
from tests.fetch.world import contents, flip_byte, write_release
from tests.magnetar.conftest import Run
from tests.patience import PATIENCE, patiently

SIZES = {"a b+c#%é.bin": 100_003, "sub/weights": 300_001, "params.json": 120, "empty": 0}
ALONE = ("--loopback", "--stall-timeout", f"{PATIENCE:.0f}", "--quiet")


def published(magnetar: Run, folder: Path, server: MirrorServer, *words: str) -> Path:
    """Publish a folder with that server as its web seed, and serve it there; the folder of what was written."""
    done = magnetar("publish", folder, "--no-tensors", "--web-seed", f"{server.url}/", *words)
    assert done.code == 0, done.err
    server.files.update({f"{folder.name}/{path}": content for path, content in contents(folder).items()})
    return folder.with_name(f"{folder.name}.magnetar")


def naming(server: MirrorServer) -> tuple[str, str]:
    """Words that name the host of a server: a torrent alone may not send us to a private address.

    libtorrent goes there all the same, for torrents with a version 1.
    """
    return "--mirror", f"{server.url}/nothing-here/"


@pytest.mark.parametrize("version", ["v1", "v2", "hybrid"])
def test_the_torrent_alone_brings_every_byte_from_the_web_seed(magnetar: Run, tmp_path: Path, version: str) -> None:
    folder = write_release(tmp_path / "my model", SIZES)
    with mirror_server({}) as server:
        out = published(magnetar, folder, server, "--torrent-version", version)
        words = naming(server) if version == "v2" else ()
        got = magnetar("fetch", out / "my-model.torrent", "--dir", tmp_path / "new", *ALONE, *words)
    assert got.code == 0, got.err
    assert contents(tmp_path / "new" / "my model") == contents(folder)
    asked = {path for path, _range in server.asked if path.startswith("my model/")}
    assert asked == {f"my model/{path}" for path, size in SIZES.items() if size}
    (mirror,) = load_manifest(out / "my-model.toml").mirrors
    assert mirror.url == f"{server.url}/my%20model/"


def test_a_web_seed_on_a_private_address_is_not_asked_for_a_torrent_of_version_2(magnetar: Run, tmp_path: Path) -> None:
    folder = write_release(tmp_path / "data", SIZES)
    with mirror_server({}) as server:
        out = published(magnetar, folder, server, "--torrent-version", "v2")
        words = ("fetch", out / "data.torrent", "--dir", tmp_path / "new", "--loopback", "--quiet", "--stall-timeout")
        reason = "only a host that you name may have one"
        got = patiently(lambda seconds: magnetar(*words, f"{seconds:.0f}"), lambda got: reason in got.err)
    assert got.code == 4
    assert reason in got.err
    assert server.asked == []


@pytest.mark.parametrize("version", ["v2", "hybrid"])
def test_a_published_folder_is_repaired_from_its_own_web_seed(magnetar: Run, tmp_path: Path, version: str) -> None:
    folder = write_release(tmp_path / "data", SIZES)
    whole = contents(folder)
    with mirror_server({}) as server:
        published(magnetar, folder, server, "--torrent-version", version)
        flip_byte(folder / "sub" / "weights", 150_000)
        done = magnetar("repair", folder, *ALONE, *naming(server))
    assert done.code == 0, done.err
    assert contents(folder) == whole
    assert server.sent < 20_000
