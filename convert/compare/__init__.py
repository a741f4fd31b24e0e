"""Are these the same numbers? Comparisons of checkpoints, tensor by tensor, in bounded memory.

Four questions, each with its own entry:

- ``source_digests``: is what a conversion reads the release whose digests a manifest lists? It takes no second read.
- ``read_back``: is the output of a conversion bit for bit its source? It stops at the first difference.
- ``proof``: is a checkpoint in any format the release whose ``tensor_digests`` a manifest has?
- ``compare_checkpoints``: which tensors of two checkpoints differ, and how? Digests find the different tensors.
  ``tensor_difference`` then explains each: rounded, transposed, heads in another order. ``row_fingerprints`` and
  ``permutations`` find a reordering without a second copy of the matrix.

``damaged_tensors`` answers another one: to which tensors do these damaged bytes belong?
"""
