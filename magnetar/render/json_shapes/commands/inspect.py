"""``magnetar inspect --json``: what a link, a torrent or a checkpoint says of itself."""

from typing import Any, Literal

from magnetar.render.json_shapes.base import Shape, Text


class ListedFile(Shape):
    """A file that a torrent or a manifest lists. ``size`` is in bytes, null where it is not known."""

    path: Text
    size: int | None


class InspectedTorrent(Shape):
    """A magnet link or a torrent. What it does not say is empty or null; ``files`` is null where nothing lists them.

    ``release`` is its name in the catalog, ``magnet`` the clean link, ``healed`` what was repaired in the given one.
    """

    kind: Literal["magnet", "torrent"]
    name: Text
    infohash_v1: Text
    infohash_v2: Text
    trackers: list[Text]
    healed: list[Text]
    files: list[ListedFile] | None
    piece_length: int | None
    private: bool
    release: Text | None
    magnet: Text


class InspectedTensor(Shape):
    """A tensor of ``bytes`` bytes in the checkpoint."""

    name: Text
    dtype: Text
    shape: list[int]
    bytes: int


class InspectedWeights(Shape):
    """A checkpoint. ``layout`` is null where none that is known fits, and ``reason`` says why.

    ``candidate`` says which release of the catalog it may be by content, and is empty where none is known.
    ``tensors`` is null unless ``--tensors`` was given. ``active_parameters`` are those that one token needs.
    """

    kind: Literal["weights"]
    path: Text
    container: Text
    layout: Text | None
    reason: Text
    total_parameters: int
    active_parameters: int | None
    bytes: int
    dtypes: list[Text]
    tensor_count: int
    tensors: list[InspectedTensor] | None
    candidate: Text


RESULTS: dict[str, Any] = {"inspect": InspectedTorrent | InspectedWeights}
