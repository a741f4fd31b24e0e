"""What a folder on disk is, before anybody judges it.

::

    folder = ReleaseFolder.read(path)      # once: names, notes, the kept torrent; all of it untrusted
    candidate = folder.candidate           # the release that its weights may be, by content alone: look_at_weights
    choice = folder.choose(named)          # the manifest to hold it against, and what that is worth
    look_up(folder, named)                 # how its weights must run

The commands take a ``ReleaseFolder`` and ask the disk nothing again that it has answered.
"""
