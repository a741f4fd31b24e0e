"""The hash that each piece must have."""

from collections.abc import Mapping
from dataclasses import replace

from magnetar.fetch.torrent.file_digests import PieceDigest
from magnetar.fetch.torrent.metainfo import file_digests, load


def read_digests(torrent: bytes) -> Mapping[int, PieceDigest]:
    """The hash that each piece must have, by the piece's index, for all pieces whose hash the torrent brings.

    The hashes of version 2 stand outside the info dictionary (BEP 52), so they are missing in metadata that came by a
    link.
    """
    info = load(torrent).ti
    if info.info_hashes().has_v1():
        return {
            piece: PieceDigest(0, info.piece_size(piece), "sha1", info.hash_for_piece(piece))
            for piece in range(info.num_pieces())
        }
    return {
        (file.start + digest.offset) // file.piece_length: replace(digest, offset=0)
        for file in file_digests(torrent)
        for digest in file.digests
    }
