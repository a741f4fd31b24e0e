"""``magnetar publish --json``: a release that was made of a folder."""

from typing import Any, Literal

from pydantic import Field

from magnetar.render.json_shapes.base import Shape, Text
from magnetar.render.json_shapes.commands.manifest import Manifest


class Signer(Shape):
    """Who signed. ``name`` is the digest of a key, after a certificate's subject; or an identity and its issuer."""

    kind: Literal["key", "certificate", "sigstore"]
    name: Text


class Published(Shape):
    """What was published from ``folder``, and ``written`` to ``out``. Sizes and lengths are in bytes.

    ``piece_length_chosen`` says that the length was not asked for. ``torrent_version`` is hybrid, v1 or v2.
    ``torrent_kept`` says that the torrent was left in the folder too, so that ``seed`` finds it. ``not_done`` says what
    is missing, and why. ``recalled`` files and ``recalled_tensors`` tensors were hashed by a run that was stopped,
    and not read again.
    """

    folder: Text
    out: Text
    manifest: Manifest
    total_size: int
    piece_length: int
    piece_count: int
    piece_length_chosen: bool = Field(validation_alias="piece_rule")
    torrent_version: Text = Field(validation_alias="version")
    signer: Signer | None
    torrent_kept: bool = Field(validation_alias="kept")
    not_done: list[Text]
    recalled: list[Text]
    recalled_tensors: int
    written: list[Text]


RESULTS: dict[str, Any] = {"publish": Published}
