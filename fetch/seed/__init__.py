"""Seeding: folders of releases are served, so that others can fetch them by their links.

For each folder::

    content, resume = find_torrent(folder)        # find_torrent: which torrent it is served as; hash every piece
    transfer = swarm.join(...)                    # seed: one session for all folders
    listening(link)                               # the caller shows the link
    until stopped, or the ratio or time is reached: look, and tell the caller what was sent
"""
