"""What ships inside the package: the small trained release, and the text it was never shown. No torch here."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from magnetar.manifests.digests import Digest

RELEASES = Path(__file__).parent / "release"
NAME = "austen-moe"
GOLDEN = "austen-moe.golden.safetensors"


@dataclass(frozen=True, slots=True)
class SmokeText:
    """A text to score a model on, and the digest by which a manifest refers to it."""

    text: str
    digest: Digest


def bundled_release() -> Path:
    """The folder of the bundled release, in the publisher's form. It is the installed one: do not write there."""
    return RELEASES / NAME


def smoke_text() -> SmokeText:
    """The last 5 % of each of Jane Austen's novels, which the bundled release was not trained on."""
    content = (RELEASES / "held-out.txt").read_bytes()
    return SmokeText(content.decode(), Digest("sha256", hashlib.sha256(content).hexdigest()))


def bundled_golden() -> Path:
    """The fingerprint of the bundled release."""
    return RELEASES / GOLDEN


def find_golden(digest: Digest) -> Path | None:
    """The fingerprint that a manifest refers to, if it ships with the package."""
    path = bundled_golden()
    return path if Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest()) == digest else None
