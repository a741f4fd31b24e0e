"""Several processes that boot one model together, on one machine or on many.

::

    join_group()            torchrun: meet at a store, rendezvous: begin the heartbeats
    divide()                shares: which layers, or which experts, this process runs
    group.gather/broadcast  plain values, through the store
    group.send/receive      activations from one process to the next (by layers)
    group.all_reduce        the sum of the experts' answers (by experts)
    group.dismiss           process 0 has shown the result; the others end with its exit code

A process that fails tells the others. One that is gone is missed after 30 seconds. A boot in one process has the
``SingleProcess`` group, whose methods do nothing.
"""
