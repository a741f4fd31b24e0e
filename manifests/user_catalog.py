"""The user's own part of the catalog: manifests that were added, each with the signer that it was first seen with.

In the platform's folder for a user's data, or ``$MAGNETAR_CATALOG``: ``NAME.toml`` with its signature and side files,
and ``pins.json``, which says who signed what. An entry was checked when it was added; after that the folder is trusted
as the user's own, like a list of known hosts.
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
from magnetar.files import replace_file
from magnetar.manifests.schema import Manifest, load_manifest

CATALOG_VARIABLE = "MAGNETAR_CATALOG"
PINS = "pins.json"
FORMAT = 1
LARGEST_PINS = 4 << 20


@dataclass(frozen=True, slots=True)
class Pin:
    """Who signed a release when it was added, as ``str(Signer)``, and where it came from."""

    publisher: str
    signer: str
    source: str


@dataclass(frozen=True, slots=True)
class Pins:
    """Signers by the name of the release, and by its publisher as ``fold`` spells it."""

    releases: Mapping[str, Pin] = field(default_factory=dict)
    publishers: Mapping[str, str] = field(default_factory=dict)

    def signer_of(self, name: str, publisher: str) -> str:
        """Who must sign a release of that name by that publisher; empty where nobody was seen yet.

        Raises ``WrongBytesError`` where the two were pinned to different signers.
        """
        pinned = {pin.signer for pin in (self.releases.get(name),) if pin} | {
            signer for signer in (self.publishers.get(fold(publisher)),) if signer
        }
        if len(pinned) > 1:
            raise WrongBytesError(
                f"{name}: was signed by another than {publisher}'s other releases",
                hint=f"`magnetar catalog show {name}` says by whom; one publisher does not replace another's release",
            )
        return next(iter(pinned), "")

    def with_pin(self, name: str, pin: Pin) -> "Pins":
        """The same, and that."""
        return Pins({**self.releases, name: pin}, {**self.publishers, fold(pin.publisher): pin.signer})

    def without(self, name: str) -> "Pins":
        """The same, with a release forgotten, and its publisher too if that was the last of theirs."""
        releases = {other: pin for other, pin in self.releases.items() if other != name}
        left = {fold(pin.publisher) for pin in releases.values()}
        return Pins(releases, {publisher: signer for publisher, signer in self.publishers.items() if publisher in left})


def fold(publisher: str) -> str:
    """A publisher's name as it is compared: whatever its case, spaces and compatible forms of letters (NFKC)."""
    return " ".join(unicodedata.normalize("NFKC", publisher).casefold().split())


def user_folder() -> Path:
    """Where the user's entries are; the folder need not be there."""
    named = os.environ.get(CATALOG_VARIABLE)
    if named:
        return Path(named)
    from platformdirs import user_data_path

    return user_data_path("magnetar", appauthor=False) / "catalog"


def user_releases() -> Mapping[str, Manifest]:
    """The user's entries by name. A file that is not one is passed over: ``broken_entries`` names it."""
    return _read_entries(_stamps())[0]


def broken_entries() -> tuple[str, ...]:
    """What is wrong with files in the folder that look like entries and are none."""
    return _read_entries(_stamps())[1]


def _stamps() -> tuple[tuple[Path, int, int], ...]:
    """Each file that may be an entry, with what changes whenever it is replaced."""
    stamps = []
    for path in sorted(user_folder().glob("*.toml")):
        try:
            found = path.stat()
        except OSError:
            continue
        stamps.append((path, found.st_ino, found.st_mtime_ns))
    return tuple(stamps)


@lru_cache(maxsize=4)
def _read_entries(stamps: tuple[tuple[Path, int, int], ...]) -> tuple[Mapping[str, Manifest], tuple[str, ...]]:
    found: dict[str, Manifest] = {}
    broken = []
    for path, _, _ in stamps:
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


def read_pins() -> Pins:
    """Who signed what. Raises ``ManifestError`` if the file is there and is not ours: nothing is added then."""
    path = user_folder() / PINS
    try:
        if path.stat().st_size > LARGEST_PINS:
            raise ManifestError(f"{path}: is too large")
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ManifestError(f"{path}: is of format {str(document['format'])[:20]}", hint="upgrade Magnetar")
        releases = {str(name): Pin(**_texts(pin)) for name, pin in document["releases"].items()}
        return Pins(releases, _texts(document["publishers"]))
    except FileNotFoundError:
        return Pins()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ManifestError(
            f"{path}: cannot be read: {str(error)[:200]}", hint="restore it: it says which signers you have met"
        ) from error


def write_pins(pins: Pins) -> None:
    """Note who signed what. Raises ``NoSpace`` or ``DiskError``."""
    document = {
        "format": FORMAT,
        "releases": {name: asdict(pin) for name, pin in sorted(pins.releases.items())},
        "publishers": dict(sorted(pins.publishers.items())),
    }
    replace_file(user_folder() / PINS, json.dumps(document, indent=1, ensure_ascii=False).encode())


def _texts(table: Any) -> dict[str, str]:
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise ValueError("it holds what is no text")
    return table
