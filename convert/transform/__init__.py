"""The bytes of tensors in another layout or dtype, streamed in bounded memory.

::

    stream_move(checkpoint, move):
        for segment in move.segments:
            read about a megabyte, and add it to the running checksum, and to what follows the source
            turn it: copy, split or interleave rotary rows, or transpose (a whole matrix)
            recode it, if the dtype changes
            yield it
        compare the checksum

``transpose`` rearranges blocks, in numpy. ``view`` uses streams to show a checkpoint as if it had been converted.
"""
