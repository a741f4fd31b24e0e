"""Torrents that somebody made to do harm, byte by byte: each must be refused, or be read and lead nowhere.

``python -m tests.fetch.torrent.hostile SECONDS MEGABYTES`` reads them all in a process that may take no more than that.
It prints a line of JSON for each: its name, what it was refused with (empty: it was read), and the effort it took.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import libtorrent as lt

PIECE = 16384
GOOD: dict[bytes, Any] = {b"length": 5, b"path": [b"good"]}


def encode(**info: Any) -> bytes:
    whole = {b"name": b"release", b"piece length": PIECE, b"pieces": bytes(20), b"files": [GOOD]}
    whole |= {key.replace("_", " ").encode(): value for key, value in info.items()}
    return bytes(lt.bencode({b"info": {key: value for key, value in whole.items() if value is not None}}))


def version_2(tree: Any, **info: Any) -> bytes:
    return encode(**{"file tree": tree, "meta version": 2, "pieces": None, "files": None, **info})


def leaf(size: int = 5, root: bytes = b"\1" * 32) -> dict[bytes, Any]:
    return {b"": {b"length": size, b"pieces root": root}}


def file(*path: bytes, **more: Any) -> dict[bytes, Any]:
    return {b"length": 5, b"path": list(path), **{key.replace("_", " ").encode(): more[key] for key in more}}


def escapes() -> Iterator[tuple[str, bytes]]:
    for number, path in enumerate(
        ([b".."], [b"..", b"..", b"etc", b"x"], [b"/etc/x"], [b"a/../../x"], [b""], [b"."], [b"C:x"], [b"a\\..\\x"])
    ):
        yield f"path {number} that leaves the folder", encode(files=[GOOD, file(*path)])
    for name in (b"..", b"/", b"../../x", b"", b".magnetar", b".git", b"a\0b"):
        yield f"name {name!r}", encode(name=name)
    yield "a path into our state", encode(files=[file(b".magnetar", b"origin.json")])
    yield "a path into a repository", encode(files=[file(b"x", b".GIT", b"hooks", b"post-checkout")])
    yield "a version 2 path that leaves the folder", version_2({b"..": {b"x": leaf()}})
    yield "a version 2 name with a slash", version_2({b"a/../../x": leaf()})
    yield (
        "an alternative spelling of a path that leaves",
        encode(files=[file(b"a", path_utf_8=[b"..", b"x"])]).replace(b"path utf 8", b"path.utf-8"),
    )


def links() -> Iterator[tuple[str, bytes]]:
    link = {b"attr": b"l", b"length": 0, b"path": [b"link"], b"symlink path": [b"..", b"..", b"etc"]}
    yield "a symbolic link", encode(files=[GOOD, link])
    yield "a file below a symbolic link", encode(files=[link, file(b"link", b"passwd")])
    yield "an absolute symbolic link", encode(files=[GOOD, {**link, b"symlink path": [b"/etc"]}])


def sizes() -> Iterator[tuple[str, bytes]]:
    for size in (-1, -(1 << 63), (1 << 63) - 1, 1 << 60):
        yield f"a file of {size} bytes", encode(files=[{**GOOD, b"length": size}])
    yield "sizes whose sum overflows", encode(files=[{b"length": 1 << 62, b"path": [b"%d" % n]} for n in range(4)])
    for length in (0, -16384, 1, 1 << 40, (1 << 63) - 1):
        yield f"a piece length of {length}", encode(piece_length=length)
    yield "hashes that are cut", encode(pieces=bytes(19))
    yield "too few hashes", encode(files=[{**GOOD, b"length": 10 * PIECE}])
    yield "absurdly many hashes", encode(pieces=bytes(20 * 400_000))
    yield "a hash tree without hashes", version_2({b"a": leaf(10 * PIECE, b"\1" * 31)})
    yield "an unknown meta version", version_2({b"a": leaf()}, **{"meta version": 3})
    yield "padding of an exabyte", encode(files=[GOOD, {**file(b".pad", b"0"), b"length": 1 << 60, b"attr": b"p"}])
    yield "nothing but padding", encode(files=[{**file(b".pad", b"0"), b"attr": b"p"}])
    yield "no files", encode(files=[])


def crowds() -> Iterator[tuple[str, bytes]]:
    yield "one name a hundred thousand times", encode(files=[GOOD] * 100_000, pieces=bytes(20 * 31))
    yield "a file that is also a folder", encode(files=[file(b"a"), file(b"a", b"b")])
    yield "a path of ten thousand folders", encode(files=[file(*[b"d"] * 10_000)])
    yield "a name of a megabyte", encode(files=[file(b"x" * 1_000_000)])
    tree: dict[bytes, Any] = leaf()
    for _ in range(90):
        tree = {b"d": tree}
    yield "a deep version 2 tree", version_2({b"a": tree, b".git": leaf()})
    crowd = [{b"length": 0, b"path": [b"%d" % n]} for n in range(300_000)]
    yield "as many files as can be, and one that leaves the folder", encode(files=[GOOD, *crowd, file(b"..", b"x")])


def bombs() -> Iterator[tuple[str, bytes]]:
    yield "nested lists", b"d4:info" + b"l" * 1_000_000 + b"e" * 1_000_000 + b"e"
    yield "nested dictionaries", b"d4:info" + b"d1:a" * 300_000 + b"i0e" + b"e" * 300_000 + b"e"
    yield "a million integers", b"d4:info" + b"l" + b"i0e" * 4_000_000 + b"ee"
    yield "a string longer than the file", b"d4:info99999999999:abce"
    yield "an integer of a million digits", encode()[:-2] + b"1:zi" + b"9" * 1_000_000 + b"eee"
    yield "more than a torrent may have", bytes(33 << 20)
    for number, wrong in enumerate((b"d4:infole", b"d4:infoi1ee", b"d4:info0:e", b"i1e", b"le", b"", b"\0" * 1000)):
        yield f"no torrent {number}", wrong
    yield "files that are a dictionary", encode(files={b"a": GOOD})
    yield "a path of numbers", encode(files=[{b"length": 5, b"path": [1, 2]}])
    yield "a path that is text", encode(files=[{b"length": 5, b"path": b"../x"}])
    yield "a name that is a number", encode(name=7)


def harmless() -> Iterator[tuple[str, bytes]]:
    """What is odd, and may be read: it must only lead nowhere."""
    info = lt.bdecode(encode())[b"info"]
    many = [[b"udp://%d.example:1/announce" % n] for n in range(100_000)]
    yield "read: a hundred thousand trackers", lt.bencode({b"info": info, b"announce-list": many})
    seeds = [b"file:///etc/passwd", b"ftp://a/b", b"http://ok.example/x"]
    yield "read: web seeds that are files", lt.bencode({b"info": info, b"url-list": seeds})
    odd = [[b"file:///etc/passwd"], [b"udp://nohost"], [b"http://ok.example/announce"], [b"\xff\xfe"]]
    yield "read: trackers that are none", lt.bencode({b"info": info, b"announce-list": odd})
    yield "read: pieces of a thousand bytes", encode(piece_length=1000)
    nodes = [[b"127.0.0.1", 1]] * 10_000
    yield "read: ten thousand nodes", lt.bencode({b"info": info, b"nodes": nodes})


def corpus() -> Iterator[tuple[str, bytes]]:
    for family in (escapes, links, sizes, crowds, bombs, harmless):
        yield from family()


def main(seconds: int, megabytes: int) -> None:
    import resource
    from pathlib import Path

    from magnetar.errors import TorrentError
    from magnetar.fetch.torrent.metainfo import read_torrent
    from tests.effort import measured_effort

    torrents = list(corpus())
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (megabytes << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + seconds,) * 2)
    for name, content in torrents:
        refused, read = "", None
        try:
            with measured_effort() as effort:
                read = read_torrent(content)
        except TorrentError as error:
            refused = error.message
        seen = {"trackers": len(read.trackers), "web_seeds": read.web_seeds} if read else {}
        print(json.dumps({"name": name, "refused": refused, "effort": effort.units, **seen}), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
