"""Magnetar: from a magnet link to model weights that are proven to be the release, converted, and shown to work.

The names of ``__all__`` are the library's face (docs/library.md). Each is imported when it is first used, so that
importing ``magnetar`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from magnetar.version import __version__

if TYPE_CHECKING:
    from magnetar import errors, events, findings
    from magnetar.api import LocalRelease, Release
    from magnetar.convert.formats.checkpoint import Checkpoint
    from magnetar.convert.read.checkpoint_source import open_checkpoint
    from magnetar.fetch.link.magnet import Magnet, parse_magnet
    from magnetar.manifests.schema import Manifest, load_manifest

__all__ = [
    "Checkpoint",
    "LocalRelease",
    "Magnet",
    "Manifest",
    "Release",
    "__version__",
    "errors",
    "events",
    "findings",
    "load_manifest",
    "open_checkpoint",
    "parse_magnet",
]

_HOMES = {
    "Checkpoint": "magnetar.convert.formats.checkpoint",
    "LocalRelease": "magnetar.api",
    "Magnet": "magnetar.fetch.link.magnet",
    "Manifest": "magnetar.manifests.schema",
    "Release": "magnetar.api",
    "load_manifest": "magnetar.manifests.schema",
    "open_checkpoint": "magnetar.convert.read.checkpoint_source",
    "parse_magnet": "magnetar.fetch.link.magnet",
}
"""The module of each name. The other names of ``__all__`` are modules themselves."""


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"magnetar.{name}")
    raise AttributeError(f"module 'magnetar' has no attribute {name!r}")
