import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from magnetar.characters import HIDDEN, escape_hidden

EVERYTHING = [chr(number) for number in range(sys.maxunicode + 1)]

WITH_A_GLYPH = {
    *map(chr, (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)),
    *map(chr, range(0x13430, 0x13440)),
}
"""Format characters that are seen: signs of numbers and of verses, and the joiners of hieroglyphs."""


@given(st.text())
def test_whatever_the_text_it_becomes_one_line_in_which_all_is_seen(text: str) -> None:
    shown = escape_hidden(text)
    assert shown.isprintable()
    assert not HIDDEN.search(shown)
    assert len(shown.splitlines()) <= 1
    assert escape_hidden(shown) == shown


def test_every_control_separator_and_format_character_is_hidden() -> None:
    unseen = {c for c in EVERYTHING if unicodedata.category(c) in ("Cc", "Zl", "Zp", "Cf")}
    assert {c for c in unseen if not HIDDEN.match(c)} == {c for c in WITH_A_GLYPH if unicodedata.category(c) == "Cf"}


def test_whatever_ends_a_line_or_turns_the_direction_is_hidden() -> None:
    assert all(HIDDEN.match(c) for c in EVERYTHING if len(f"a{c}b".splitlines()) > 1)
    turning = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
    assert all(HIDDEN.match(c) for c in EVERYTHING if unicodedata.bidirectional(c) in turning)


def test_letters_and_fillers_that_have_no_glyph_are_hidden() -> None:
    for character in "\u115f\u1160\u3164\uffa0\u2800\u034f\u17b4\ufe0e\ufe0f\U000e0041\U000e0100":
        assert HIDDEN.fullmatch(character), hex(ord(character))


def test_text_that_is_seen_is_kept() -> None:
    for text in (
        "weights-00001-of-00002.safetensors",
        "Mixtral 8x7B [v0.1]",
        "Straße 漢字 ひらがな עברית العربية e\u0301 🧲",
    ):
        assert escape_hidden(text) == text


def test_escapes_are_those_of_python() -> None:
    assert escape_hidden("a\n\x1b\x9b\u202e\U000e0041\ud800\u00a0") == "a\\n\\x1b\\x9b\\u202e\\U000e0041\\ud800\\xa0"
