"""Write manifests: from a folder, from a proven download, or from lists that others wrote.

::

    files    = list_files(folder)                # size and digests of each file, one read
    manifest = assemble_manifest(files, facts)   # what the publisher says of it
    manifest = round_trip(manifest)              # written as TOML, and read back: what is written is valid
    manifest = pin_digests(manifest, report)     # strong digests for files that were just proven by other means

``lfs_pointers`` reads and writes the pointers of Git LFS.
"""
