"""Downloading: from a link or a torrent to a folder in which every piece was checked.

What ``fetch`` does, in this order::

    release = resolve_target(target)              # resolve_target: the torrent's metadata, and the folder it goes to
    check the disk; lock the folder               # disk_checks: space, links in a file's place, names that collide
    found = check_pieces(folder)                  # check_on_disk: hash what is here, unless a clean stop vouches for it
    adopt(places)                                 # adopt_files, adoptable_files: copy from what the user offers
    receiver.receive()                            # receive: the rest, from peers and mirrors
    receiver.stay()                               # receive: seed for a while, if the options say so

``fetch_plan`` says what that would do, and writes nothing. ``state_folder`` is what the folder remembers until the next
run.
"""
