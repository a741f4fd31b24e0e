"""Where the parts are joined: each module is one command without its screen.

::

    target      what TARGET means: a release of the catalog, a link, a torrent
    fetch, seed, get, demo                     get = fetch, verify, convert, boot, in this order
    verify, identify, repair, same, inspect    take a ReleaseFolder (folder/), prove it (proving/)
    convert, boot
    publish, manifest, catalog                 describe a folder for others (publishing/)

A command takes a request (a frozen value) and ``emit``, and returns a frozen result. Parts never call each other: what
``fetch`` needs to know of a manifest, or ``manifests`` of a torrent, is handed to it from here as plain data.
"""
