"""``magnetar repair --json``: pieces that were mended, or whole files that were replaced."""

from typing import Any, Literal

from pydantic import AliasPath, Field

from magnetar.render.json_shapes.base import OutcomeWord, Shape, Text
from magnetar.render.json_shapes.commands.verify import DamagedFile


class RepairedPieces(Shape):
    """A folder with a torrent: every piece is good now. Counts are of bytes but for ``pieces``.

    ``damaged`` bytes lay in that many damaged ``pieces``; ``damage`` says where. ``adopted`` came from copies on this
    machine, ``downloaded`` and ``uploaded`` passed the network, ``written`` changed on the disk. ``resized`` are files
    that were brought to their size; ``left_out`` are files of an unfinished download that are not here.
    """

    kind: Literal["pieces"] = "pieces"
    folder: Text = Field(validation_alias=AliasPath("repaired", "folder"))
    pieces: int = Field(validation_alias=AliasPath("repaired", "pieces"))
    damaged: int = Field(validation_alias=AliasPath("repaired", "damaged"))
    adopted: int = Field(validation_alias=AliasPath("repaired", "adopted"))
    downloaded: int = Field(validation_alias=AliasPath("repaired", "downloaded"))
    uploaded: int = Field(validation_alias=AliasPath("repaired", "uploaded"))
    written: int = Field(validation_alias=AliasPath("repaired", "written"))
    seconds: float = Field(validation_alias=AliasPath("repaired", "seconds"))
    resized: list[Text] = Field(validation_alias=AliasPath("repaired", "resized"))
    left_out: list[Text] = Field(validation_alias=AliasPath("repaired", "left_out"))
    damage: list[DamagedFile]


class ReplacedFiles(Shape):
    """A folder without a torrent: damaged files were replaced as a whole. Counts are of bytes.

    ``not_checked`` are files that the manifest has no digest for. ``still_bad`` are damaged files that could not be
    replaced, because the manifest lacks their size or digest. ``unreadable`` are files that could not be read, and
    could not be replaced either. ``weak`` says that a file that was replaced has only MD5 or SHA-1.
    """

    kind: Literal["files"] = "files"
    folder: Text
    outcome: OutcomeWord
    files: list[Text] = Field(validation_alias=AliasPath("replaced", "files"))
    adopted: int = Field(validation_alias=AliasPath("replaced", "adopted"))
    downloaded: int = Field(validation_alias=AliasPath("replaced", "downloaded"))
    not_checked: list[Text]
    still_bad: list[Text]
    weak: bool
    unreadable: list[Text]


RESULTS: dict[str, Any] = {"repair": RepairedPieces | ReplacedFiles}
