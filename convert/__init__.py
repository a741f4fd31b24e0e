"""Bytes to tensors to other bytes. No reader executes anything, and memory does not grow with the model.

The rooms, in the order in which a conversion goes through them; each imports only from those before it::

    numbers      number formats: sizes, rounding, quantised blocks
    formats      one file of weights -> Checkpoint: a table of tensors, each a range of bytes
    layout       how tools name and arrange the matrices of a model, as data; maps one layout to another
    read         a folder -> CheckpointSource: weights, architecture and layout, which fit together
    transform    CheckpointSource -> the bytes of a tensor in another layout, a megabyte at a time
    compare      two checkpoints, or one and the digests of a release: are these the same numbers?
    write        ConvertRequest -> plan -> files on the disk, read back and compared
    derive       what a conversion adds beside the tensors, derived again and held against what a copy has

A conversion is ``write.convert.convert``; everything that only reads begins with ``read.checkpoint_source``.
"""
