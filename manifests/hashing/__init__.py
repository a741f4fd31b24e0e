"""Digests, and the one read of a file that computes all that are asked for.

::

    for chunk in read_chunks(path):          # two buffers: the next chunk is read while this one is hashed
        for hasher in hashers, in parallel:  # one thread for each, unless other files keep the cores busy
            hasher.update(chunk)

``digests`` has the digest as a value, and this loop; ``distribute`` runs the hashers; ``merkle`` has the hash trees of
version 2 torrents (BEP 52), behind the same ``update`` and ``hexdigest``.
"""
