"""Which release some weights may be, by what was seen of them. Nothing here reads weights.

::

    known = load_known()                      # an index of every release of the catalog, by digests and sizes
    names = known.suspects(digests, count)    # releases that have such tensors, or as many parameters
    agreement                                 # evidence: how far the weights agree with one of them (a caller reads)
    candidates = rank(...)                    # judge: certainty from evidence, the best first

``index`` is the file beside the catalog that spares reading every list of tensors; ``known`` makes it anew where it is
stale.
"""
