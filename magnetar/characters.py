"""Which characters of foreign text do not show what they are, and how they are shown instead.

A name, a title, or the message of a server may hold characters that move the cursor, begin a new line, turn the
direction of the text around, or cannot be seen. On a screen they forge what the program says (CVE-2021-42574 did so to
readers of source text); in the name of a file they make two names look alike, or one name mean two things.
"""

import re

HIDDEN = re.compile(
    "["
    # Controls: C0, DEL and C1. Of these, ESC and CSI (U+009B) begin the commands of a terminal.
    "\u0000-\u001f\u007f-\u009f"
    # Line and paragraph separators, and the anchors of annotations.
    "\u2028\u2029\ufff9-\ufffb"
    # What is ignored where it has no glyph: Default_Ignorable_Code_Point of Unicode 15.1 (DerivedCoreProperties.txt).
    # Among it are all controls of direction, zero-width characters, fillers, variation selectors and tags.
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    # The Braille pattern without a dot.
    "\u2800"
    "]"
)
"""Characters that are not seen, or that change how what is around them is seen. A space is not among them."""


def escape_hidden(text: str) -> str:
    """``text`` as one line in which every character can be seen.

    Hidden characters, and those that no font has (unassigned, private, halves of surrogate pairs, wide spaces), become
    escapes as in Python: ``\\n``, ``\\x1b``, ``\\u202e``. The function is idempotent.
    """
    if text.isprintable() and not HIDDEN.search(text):
        return text
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character.isprintable() and not HIDDEN.match(character):
        return character
    return character.encode("unicode_escape").decode()
