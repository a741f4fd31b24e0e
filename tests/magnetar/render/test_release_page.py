"""The page of a release shows foreign text as nothing but text."""

import re
import string
from pathlib import Path
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.manifests.signing.check import Signer
from magnetar.pipeline.publish import Published
from magnetar.render.commands.publish import release_page
from magnetar.render.text import clean, markdown

HOSTILE = "<script>alert(1)</script> [x](javascript:a) ![i](http://e.example) | `c` **b** www.e.example \x1b[31m a@b.c"


def published(text: str, **more: Any) -> Published:
    files = (ReleaseFile(path="a|b`<i>.bin", size=5, digests=(Digest("sha256", "0" * 64),)),)
    manifest = Manifest(
        format=1, name="x", title=text, publisher=text, licence=text, summary=text, files=files, layout=text,
        magnet="magnet:?xt=urn:btih:" + "0" * 40,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "total_size": 5, "piece_length": 16384, "piece_count": 1, "piece_rule": True, "version": "v1", "signer": None,
        "kept": True, "not_done": (),
    }  # fmt: skip
    return Published(folder=Path("x"), out=Path("x.magnetar"), manifest=manifest, **facts | more)


def inner(page: str) -> list[Token]:
    tokens = MarkdownIt("commonmark").enable("table").parse(page)
    return [*tokens, *(child for token in tokens for child in token.children or ())]


@given(st.text(string.printable + "é\u202e\x1b", min_size=1, max_size=80).filter(lambda text: text.strip()))
@example(HOSTILE)
@example("1. x")
@example("- x")
@example("# x")
@example("    x")
@example("===")
def test_whatever_the_text_the_page_has_the_same_shape(text: str) -> None:
    kinds = [token.type for token in inner(release_page(published(text)))]
    assert [kind for kind in kinds if kind not in ("text", "text_special")] == [
        kind
        for kind in (token.type for token in inner(release_page(published("x"))))
        if kind not in ("text", "text_special")
    ]


@given(st.text(string.printable + "é", min_size=1, max_size=60).filter(lambda text: text.strip()))
@example(HOSTILE)
def test_escaped_text_reads_as_it_was(text: str) -> None:
    shown = MarkdownIt("commonmark").parse(markdown(text))[1]
    read = "".join(child.content for child in shown.children or ())
    assert read == clean(" ".join(text.split()))


def test_what_github_links_by_itself_is_broken_up() -> None:
    page = release_page(published(HOSTILE))
    assert not re.search(r"(?<!\\)www\.", page)
    assert "http://" not in page
    assert "a@b" not in page
    assert "\x1b" not in page


def test_the_page_says_who_signed_and_what_a_key_beside_the_files_is_worth() -> None:
    assert "Nobody signed this" in release_page(published("x"))
    signed = release_page(published("x", signer=Signer("key", "sha256:" + "a" * 64)))
    assert "a" * 64 in signed
    assert "Compare its fingerprint" in signed
    assert "--public-key PATH/TO/x.toml.pub" in signed
