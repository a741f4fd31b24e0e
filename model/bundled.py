"""What ships inside the package: the small trained release, its fingerprint, and texts to score on. No torch here."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from magnetar.manifests.hashing.digests import Digest

RELEASES = Path(__file__).parent / "release"
NAME = "austen-moe"
GOLDEN = "austen-moe.golden.safetensors"
GOLDENS = "*.golden.safetensors"
MAX_FINGERPRINT_BYTES = 64 << 20
"""Bytes; a fingerprint of 512 tokens has some 40,000."""


@dataclass(frozen=True, slots=True)
class SmokeText:
    """A text to score a model on, and the digest by which a manifest refers to it."""

    text: str
    digest: Digest


def bundled_release() -> Path:
    """The folder of the bundled release, in the publisher's form. It is part of the package: do not write there."""
    return RELEASES / NAME


def smoke_text() -> SmokeText:
    """The last 5 % of each of Jane Austen's novels, which the bundled release was not trained on."""
    return _read_text("held-out.txt")


def neutral_text() -> SmokeText:
    """Prose, a little code and some numbers, written for this project: for releases that name no text of their own.

    It is some 1,500 tokens of Mistral's tokenizer, in plain English. No model can have been trained on it.
    """
    return _read_text("neutral.txt")


def find_text(digest: Digest) -> SmokeText | None:
    """The text with that digest, if it ships with the package."""
    return next((text for text in (neutral_text(), smoke_text()) if text.digest == digest), None)


def _read_text(name: str) -> SmokeText:
    content = (RELEASES / name).read_bytes()
    return SmokeText(content.decode(), _digest(content))


def bundled_golden() -> Path:
    """The fingerprint of the bundled release."""
    return RELEASES / GOLDEN


def find_golden(digest: Digest, *folders: Path) -> Path | None:
    """The fingerprint that a manifest refers to: among those that ship with the package, or in one of ``folders``."""
    found = (path for folder in folders for path in sorted(folder.glob(GOLDENS)))
    for path in (bundled_golden(), *found):
        if path.is_file() and path.stat().st_size <= MAX_FINGERPRINT_BYTES and digest == _digest(path.read_bytes()):
            return path
    return None


def _digest(content: bytes) -> Digest:
    return Digest("sha256", hashlib.sha256(content).hexdigest())
