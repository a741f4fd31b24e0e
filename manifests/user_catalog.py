"""The user's own part of the catalog: signed manifests that were added, and who signed each.

The folder is the platform's for a user's data, or ``$MAGNETAR_CATALOG``. It holds ``NAME.toml`` with its signature and
side files, and ``pins.json`` with the signers. Signers are trusted on first use, as SSH trusts hosts: an entry is
checked when it is added, and a later one of the same name or publisher must have the same signer. The folder itself is
trusted.
"""

import json
import os
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from magnetar.errors import ManifestError, WrongBytesError
from magnetar.files import Stamp, replace_file, stamp
from magnetar.manifests.schema import Manifest, load_manifest

CATALOG_VARIABLE = "MAGNETAR_CATALOG"
PINS = "pins.json"
FORMAT = 1
MAX_PINS_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class SignerPin:
    """The publisher of an added release, its signer (as ``str(Signer)``), and the path or URL that it came from."""

    publisher: str
    signer: str
    source: str


@dataclass(frozen=True, slots=True)
class SignerPins:
    """The known signers: by the name of a release, and by the name of a publisher as ``fold`` spells it."""

    releases: Mapping[str, SignerPin] = field(default_factory=dict)
    publishers: Mapping[str, str] = field(default_factory=dict)

    def signer_of(self, name: str, publisher: str) -> str:
        """The signer that a release of that name by that publisher must have; empty if neither is known yet.

        Raises ``WrongBytesError`` if the release and the publisher are pinned to different signers.
        """
        of_release = self.releases[name].signer if name in self.releases else None
        pinned = {of_release, self.publishers.get(fold(publisher))} - {None}
        if len(pinned) > 1:
            raise WrongBytesError(
                f"{name}: was signed by another than {publisher}'s other releases",
                hint=f"`magnetar catalog show {name}` says by whom; one publisher does not replace another's release",
            )
        return next(iter(pinned), None) or ""

    def with_pin(self, name: str, pin: SignerPin) -> "SignerPins":
        """A copy with one more pin, for the release and for its publisher."""
        return SignerPins({**self.releases, name: pin}, {**self.publishers, fold(pin.publisher): pin.signer})

    def without(self, name: str) -> "SignerPins":
        """A copy without the pin of a release, and without its publisher's if that was the publisher's last release."""
        releases = {other: pin for other, pin in self.releases.items() if other != name}
        left = {fold(pin.publisher) for pin in releases.values()}
        return SignerPins(
            releases, {publisher: signer for publisher, signer in self.publishers.items() if publisher in left}
        )


def fold(publisher: str) -> str:
    """A publisher's name as it is compared: without regard to case, spaces and compatible letter forms (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", publisher).casefold().split())


def user_folder() -> Path:
    """The folder of the user's entries. It may not exist yet."""
    named = os.environ.get(CATALOG_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("magnetar", appauthor=False) / "catalog"


def user_releases() -> Mapping[str, Manifest]:
    """The user's entries by name. Broken files are left out: ``broken_entries`` names them."""
    return _read_entries(_stamps())[0]


def broken_entries() -> tuple[str, ...]:
    """A message for each ``*.toml`` in the folder that is no valid entry."""
    return _read_entries(_stamps())[1]


def _stamps() -> tuple[tuple[Path, Stamp], ...]:
    """Path and stamp of each ``*.toml``: while these are the same, what was read still holds."""
    stamps = []
    for path in sorted(user_folder().glob("*.toml")):
        try:
            stamps.append((path, stamp(path.stat())))
        except OSError:
            continue
    return tuple(stamps)


@lru_cache(maxsize=4)
def _read_entries(stamps: tuple[tuple[Path, Stamp], ...]) -> tuple[Mapping[str, Manifest], tuple[str, ...]]:
    found: dict[str, Manifest] = {}
    broken = []
    for path, _ in stamps:
        try:
            manifest = load_manifest(path)
        except ManifestError as error:
            broken.append(error.message)
            continue
        if manifest.name == path.stem:
            found[manifest.name] = manifest
        else:
            broken.append(f"{path}: is named for another release than the {manifest.name} that it describes")
    return MappingProxyType(found), tuple(broken)


def read_pins() -> SignerPins:
    """Read the pins. Raises ``ManifestError`` for a file that is not understood: nothing may be added then."""
    path = user_folder() / PINS
    try:
        if path.stat().st_size > MAX_PINS_BYTES:
            raise ManifestError(f"{path}: is too large", path=path)
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ManifestError(
                f"{path}: is of format {str(document['format'])[:20]}", hint="upgrade Magnetar", path=path
            )
        releases = {str(name): SignerPin(**_check_texts(pin)) for name, pin in document["releases"].items()}
        return SignerPins(releases, _check_texts(document["publishers"]))
    except FileNotFoundError:
        return SignerPins()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestError(
            f"{path}: cannot be read: {str(error)[:200]}",
            hint="restore it: it says which signers you have met",
            path=path,
        ) from error


def write_pins(pins: SignerPins) -> None:
    """Write the pins. Raises ``NoSpace`` or ``DiskError``."""
    document = {
        "format": FORMAT,
        "releases": {name: asdict(pin) for name, pin in sorted(pins.releases.items())},
        "publishers": dict(sorted(pins.publishers.items())),
    }
    replace_file(user_folder() / PINS, json.dumps(document, indent=1, ensure_ascii=False).encode())


def _check_texts(table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError("it holds a value that is no text")
    return table
