"""Judge what was measured of a checkpoint, level by level. A judge is a function of facts and expectations.

::

    structure   the headers: dtypes, places of the tensors
    content     the numbers of every tensor
    forward     the run: score, decoding, load of the experts
    golden      the run against the fingerprint of the release, within the allowance of the storage format

``levels`` has the levels and the verdict on one. Where a model does not work, ``diagnosis`` tries the known mistakes:
``cures`` lists them, and ``rearrangements`` has the tables of those that move weights.
"""
