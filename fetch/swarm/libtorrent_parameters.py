"""How a torrent is added to a libtorrent session: its ``add_torrent_params``, from a ``Joining``."""

from typing import Any

import libtorrent

from magnetar.fetch.link.magnet import Magnet
from magnetar.fetch.request.options import Network
from magnetar.fetch.swarm.protocol import Joining
from magnetar.fetch.torrent.metainfo import file_priorities, load, payload_paths
from magnetar.files import STATE_FOLDER

lt: Any = libtorrent  # its stubs are partly wrong


def add_torrent_params(joining: Joining, network: Network) -> Any:
    """libtorrent's ``add_torrent_params`` for a torrent to join."""
    if joining.torrent:
        params = _resumed(joining) or load(joining.torrent)
        # Where each file lies is decided here and nowhere else: whatever resume data says is overwritten.
        params.renamed_files = payload_paths(params.ti)
        if joining.unwanted:
            params.file_priorities = file_priorities(params.ti, joining.unwanted)
        if joining.only is not None:
            # Before it is added: a web seed is asked for megabytes at once, and would send what is not wanted.
            pieces = range(params.ti.num_pieces())
            params.piece_priorities = [4 if piece in joining.only else 0 for piece in pieces]
    else:
        params = lt.add_torrent_params()
        params.info_hashes = _info_hashes(joining.magnet)
    params.save_path = str(joining.folder.resolve())
    params.part_file_dir = STATE_FOLDER  # libtorrent takes it as relative to save_path in any case
    params.trackers = list(joining.magnet.trackers)
    params.tracker_tiers = []
    # Of version 2 alone, it would throw away what they send: see mirrors_of_web_seeds.
    params.url_seeds = list(joining.magnet.web_seeds) if joining.magnet.infohash_v1 else []
    params.peers = list(joining.magnet.peers)
    params.flags = _flags(joining, network)
    params.download_limit = joining.download_limit or -1
    params.upload_limit = joining.upload_limit or -1
    return params


def _flags(joining: Joining, network: Network) -> int:
    flags = int(lt.torrent_flags.duplicate_is_error)
    if not network.peer_exchange:
        flags |= int(lt.torrent_flags.disable_pex)
    if joining.check_only:
        flags |= int(lt.torrent_flags.upload_mode)
    if not joining.torrent:
        # The metadata is wanted, the payload not yet: nothing may be written before it was looked at.
        flags |= int(lt.torrent_flags.upload_mode | lt.torrent_flags.default_dont_download)
    return flags


def _resumed(joining: Joining) -> Any:
    """The parameters in the resume data; None if there is none, or it is damaged or of another torrent."""
    if not joining.resume:
        return None
    wanted = load(joining.torrent).ti
    try:
        params = lt.read_resume_data(joining.resume)
    except (RuntimeError, UnicodeError):
        return None
    if params.info_hashes != wanted.info_hashes():
        return None
    params.ti = params.ti or wanted
    if joining.trusted:
        # Read back, the list is padded to a multiple of eight, and libtorrent then skips its own check of sizes.
        params.have_pieces = params.have_pieces[: wanted.num_pieces()]
        params.verified_pieces = params.verified_pieces[: wanted.num_pieces()]
    else:
        params.have_pieces, params.verified_pieces, params.unfinished_pieces = [], [], {}
    params.file_priorities, params.piece_priorities = [], []
    return params


def _info_hashes(magnet: Magnet) -> Any:
    hashes = []
    if magnet.infohash_v1:
        hashes.append(lt.sha1_hash(bytes.fromhex(magnet.infohash_v1)))
    if magnet.infohash_v2:
        hashes.append(lt.sha256_hash(bytes.fromhex(magnet.infohash_v2)))
    return lt.info_hash_t(*hashes)
