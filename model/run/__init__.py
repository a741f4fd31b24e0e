"""Run the weights of a checkpoint. Everything here is a number; nothing is judged.

One pass over a text, which meets every weight once (``measure_run``)::

    open the weights in the publisher's layout              weights
    estimate the memory                                     memory
    cut the text into windows                               scoring
    for each tensor, in the order of the pass               prefetch, into memory of buffer_pool
        multiply the activations of all windows with it     streamed_model, matmul, expert_batch
        record loads and residuals                          trace
    from the logits: score, fingerprint                     run_facts, fingerprint

``generate`` writes text: with the whole model in memory (``load``), or with as much as fits (``resident_weights``).
``altered_weights`` is a view of weights with tensors exchanged or rows moved, for trying cures.
"""
