"""Mirrors: pieces of a torrent read from HTTP servers, side by side with the swarm.

A mirror is never believed: each piece is hashed before it is put into the torrent, which hashes it again::

    with fed_by_mirrors(intake, torrent, options) as feed:      # attach: nothing is imported where there are no mirrors
        feed(status)                                            # feed: emit what happened, start the reader threads

    # What each reader thread does (reader_thread), with what all of them share (mirror_pool):
    run = schedule.plan(unclaimed)                              # schedule: pieces that fewest peers have, and mirrors
    checked_intake.claim(run)                                   # check_pieces: keep these pieces from the peers
    for piece in run:
        content = reading.content(piece, sources)               # read_pieces, from mirror_source: ranges of each file
        checked_intake.hand_over(piece, content)                # check_pieces: hash; drop the mirror if it is wrong

``tar`` finds the files of a release inside an uncompressed tar.
"""
