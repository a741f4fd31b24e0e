"""The hash of each piece, to know at once who served a wrong one."""

from collections.abc import Mapping
from dataclasses import replace

from magnetar.fetch.torrent.file_digests import PieceDigest
from magnetar.fetch.torrent.metainfo import file_digests, load


def read_digests(torrent: bytes) -> Mapping[int, PieceDigest]:
    """What the content of each piece must hash to, by its index, for all pieces whose hash the torrent brings.

    Those of version 2 stand outside of the info dictionary that a link leads to, and are missing with it (BEP 52).
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
