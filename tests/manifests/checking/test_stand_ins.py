import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.manifests.checking.stand_ins import HEAD_BYTES, MAX_POINTER_BYTES, StandInKind, find_stand_in
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ReleaseFile
from magnetar.manifests.writing.lfs_pointers import write_pointer

WEIGHTS = ReleaseFile(path="sub/weights.bin", size=87 << 30, digests=(Digest("sha256", "a" * 64),))
POINTER = write_pointer(WEIGHTS).encode()


def find(content: bytes, name: str = "model.safetensors") -> StandInKind | None:
    found = find_stand_in(content[:HEAD_BYTES], len(content), name)
    return None if found is None else found.kind


def test_a_pointer_says_which_file_it_stands_for() -> None:
    found = find_stand_in(POINTER, len(POINTER), "weights.bin")
    assert found is not None
    assert (found.kind, found.digest) == (StandInKind.LFS_POINTER, WEIGHTS.digests[0])
    assert found.hint.endswith("git lfs pull")


@pytest.mark.parametrize(
    "content",
    [
        POINTER[:60],
        POINTER.replace(b"\noid", b"\next-0-foo sha256:" + b"b" * 64 + b"\noid"),
        POINTER.replace(b"git-lfs", b"hawser"),
    ],
)
@pytest.mark.parametrize("name", ["model.safetensors", "README.md", "LICENSE", "x.html"])
def test_pointers_are_known_in_the_place_of_any_file(content: bytes, name: str) -> None:
    assert find(content, name) is StandInKind.LFS_POINTER


def test_what_is_too_large_for_a_pointer_or_begins_otherwise_is_none() -> None:
    assert find(POINTER + b"x" * MAX_POINTER_BYTES) is None
    assert find(b"\n" + POINTER) is None
    assert find(b"version 1\n") is None
    assert find(POINTER[:44] + b"\0" + POINTER[45:]) is None


ERRORS = [
    b"<!DOCTYPE html><html><body>404</body></html>",
    b"\xef\xbb\xbf\r\n<HTML lang=en>",
    b"<!-- cached --><!doctype html>" + b"x" * 200_000,
    b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    b"<html>\n<head><title>502 Bad Gateway</title></head>",
    b'{"error":"Repository not found"}',
    b'{"error":{"code":401,"message":"no"}}',
    b'{"message":"Not Found","documentation_url":"https://docs.github.com/rest","status":"404"}',
    b'{"code":{"a":1},"detail":"x"}',
    b' {"type":"about:blank","title":"Forbidden","status":403,"detail":"no"}',
    b"Entry not found",
    b"Repository not found\n",
    b"Invalid username or password.",
    b"404: Not Found",
    b"Error 503 Service Unavailable",
    b"HTTP 429 Too Many Requests",
    b"Access to model mistralai/Mixtral-8x7B-v0.1 is restricted. You must be authenticated to access it.",
]


@pytest.mark.parametrize("content", ERRORS)
@pytest.mark.parametrize(
    "name", ["model.safetensors", "consolidated.00.pth", "model.gguf", "tokenizer.model", "config.json"]
)
def test_what_servers_answer_instead_of_a_file_is_known(content: bytes, name: str) -> None:
    assert find(content, name) is StandInKind.ERROR_PAGE


@pytest.mark.parametrize("content", ERRORS)
@pytest.mark.parametrize("name", ["README.md", "LICENSE", "index.html", "notes.txt", "error.xml"])
def test_files_that_may_be_such_texts_themselves_are_not_called_errors(content: bytes, name: str) -> None:
    assert find(content, name) is None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b'"error"',
        b'{"error": "a", "hidden_size": 4096}',
        b'{"dim": 4096, "n_layers": 32}',
        b'{"metadata": {}, "weight_map": {"message": "a"}}',
        b'{"status": 1}',
        b'{"error": ',
        b"{" * 60_000,
        b"<!---->" * 9_000,  # must not be tried in every grouping
        b"<!--" * 9_000,
        b'{"error":' + b"[" * 60_000,
        b"<unk> <s> </s>",
        b"<s>\n</s>\n<error>",
        b"#version: 0.2\nnot found",
        b"GGUF\3\0\0\0<html>",
        b"PK\3\4<html>",
        json.dumps({"error": "x" * HEAD_BYTES}).encode(),
    ],
)
def test_what_a_release_may_hold_is_not_called_an_error(content: bytes) -> None:
    assert find(content, "config.json") is None


@given(st.binary(max_size=3000), st.sampled_from(["a.bin", "a.json", "README"]))
def test_no_bytes_break_it_and_no_binary_file_is_taken_for_a_text(content: bytes, name: str) -> None:
    found = find(content, name)
    if b"\0" in content:
        assert found is None


@given(st.sampled_from([POINTER, *ERRORS]), st.binary(min_size=1, max_size=20), st.integers(0, 200))
def test_no_change_of_a_stand_in_breaks_it(content: bytes, change: bytes, place: int) -> None:
    find(content[:place] + change + content[place + len(change) :])
