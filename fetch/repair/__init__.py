"""Repair: damaged bytes of a release are replaced, and nothing else is touched.

With a torrent (``repair_pieces``)::

    bad = check_pieces(folder)        # hash every piece
    lacking = mender.mend_from(copies)  # patch_pieces: pieces of an earlier repair, and of copies on the disk
    staging.fetch(lacking)            # staging: the rest, from the swarm and mirrors, into .magnetar/repair/
    mender.mend_from(staged)          # patch_pieces: write only the blocks that differ

Without a torrent (``replace_files``): each damaged file is read as a whole from a mirror or a copy, proven by its
digests, and put in the place of the damaged one.
"""
