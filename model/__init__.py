"""Run a checkpoint and say whether it works. The bundled Mixture-of-Experts model, and how it was trained.

The rooms, from the bottom up; a room imports only from those before it::

    architecture   the model itself (Mixtral), its routing strategies, its tokenizer
    cluster        the processes that share one boot, started by torchrun
    machine        what a boot may use: memory, device, dtype
    run            run the weights, streamed from disk, and measure: numbers, no judgement
    checks         judge the numbers, level by level; known mistakes and their cures
    compare        ask another checkpoint, or a server, about the same text
    boot           the smoke test: all of that for one checkpoint, as one report
    html_report    the report as a page
    training       how the bundled release was made

``release/`` holds the bundled release, and ``bundled`` finds it. torch is imported only when something is run.
"""
