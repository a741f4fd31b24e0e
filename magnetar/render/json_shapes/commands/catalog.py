"""``magnetar catalog … --json``: releases that are known, added and removed."""

from typing import Any

from pydantic import Field

from magnetar.render.json_shapes.base import Shape, Text
from magnetar.render.json_shapes.commands.manifest import Manifest


class Entry(Shape):
    """A release. ``source`` and ``signer`` say where it was added from and who signed it; empty for a bundled one."""

    name: Text
    manifest: Manifest
    source: Text
    signer: Text


class Listing(Shape):
    """The catalog. ``broken`` says what is wrong with files in the user's part of it that were passed over."""

    entries: list[Entry]
    broken: list[Text]


class Added(Shape):
    """A release that was added to ``folder``.

    ``first_use`` says that no earlier release tells whose key this is. ``replaced`` says that a release of that name
    was there before.
    """

    entry: Entry
    folder: Text
    first_use: bool
    replaced: bool


class Removed(Shape):
    """A release that was removed. ``signer_forgotten`` says that who signed it is not remembered any more."""

    name: Text
    signer_forgotten: bool = Field(validation_alias="forgotten")


RESULTS: dict[str, Any] = {
    "catalog": Listing,
    "catalog show": Entry,
    "catalog add": Added,
    "catalog remove": Removed,
}
