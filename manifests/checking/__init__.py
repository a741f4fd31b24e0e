"""Verify a folder against a manifest, without writing into it.

::

    chosen = choose_manifest(folder, named, origin, published)
    for file in chosen.manifest.files, in parallel:
        is it a regular file of the right size?         # the directory entry
        did an earlier run find it good, unchanged?     # verified_index, only with quick
        has it every digest that the manifest lists?    # one read for all of them
        else: were the torrent's pieces of it good?     # the caller hashed them: PieceCheck
    diagnose_files(findings)                            # missing: renamed? wrong: swapped, zero-filled, a pointer?
    report = VerifyReport(files, findings, trust)

``unfinished_hashes`` lets a run that makes hashes (``publish``) go on where a stopped one ended.
"""
