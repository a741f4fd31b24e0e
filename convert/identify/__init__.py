"""What weights look like to somebody who does not know them, and reads only a few MB.

::

    folder = CountedFolder(folder)            # counts what is read, and stops at a limit
    sets = find_sets(folder)                  # every set of weights, by the first bytes of files, whatever their names
    weights = open_weights(folder, files)     # headers; layout by the names of tensors, sizes by their shapes
    seen = look_at_small(weights)             # digests of norms and routers
    agreement = compare(weights, seen, digests)   # with one release: small tensors, and the slices that it lists

Nothing that lies beside the weights is believed: a configuration may be wrong, or not there.
"""
