"""What ``publish`` reads out of a folder, before it writes anything.

::

    describe_weights(folder)     layout, sizes, a digest for each tensor; with --boot, how the weights run
    hash_files(draft)            one read of each file, for the manifest's digests and for the torrent

Both note what they have read in the user's cache, so that a run that is stopped does not read it again.
"""
