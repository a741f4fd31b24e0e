"""Torrents: their metadata, their pieces, and making new ones. No session and no network.

``metadata``       what a torrent says, as a plain value, and the rules that its file names must keep
``metainfo``       reads and writes ``.torrent`` bytes; one of the modules that know libtorrent
``known_torrent``  the bytes, the metadata and the link of a torrent together
``piece_layout``   which bytes of which files a piece consists of
``piece_digests``  the hash that each piece must have; ``file_digests``: how each file can be checked by itself
``pieces_on_disk`` reads and hashes pieces in a folder
``piece_hasher``   hashes pieces of bytes that pass by; ``create_torrent`` makes a torrent of a folder from them
"""
