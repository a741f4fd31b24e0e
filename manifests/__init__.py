"""What a release is, which digests its files must have, and whether a folder on disk is that release.

::

    manifest = parse(toml)                     # schema: strict, with limits on what is parsed
    manifest = catalog()[name]                 # the *.toml beside this module, then the user's own
    small    = small_files(manifest)           # what it holds whole: configuration, tokenizer
    signer   = check_signature(manifest)       # signing: who says so
    chosen   = choose_manifest(folder, notes)  # checking: named, fetched as, fitting, published beside, its own
    report   = verify(folder, chosen)          # checking: hash every file, and name what is wrong
    manifest = create_manifest(folder)         # writing: and the way back, from files to a manifest

The rooms: ``hashing`` and ``folder`` (digests, safe paths, what a folder holds) are below ``signing``, that is below
``checking``, and on top are ``writing`` and ``outward`` (documents for other programs). Nothing here knows torrents: a
caller that checked pieces tells which files they touch.
"""
