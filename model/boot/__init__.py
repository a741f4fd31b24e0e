"""The smoke test: whether a checkpoint works, as one report.

::

    boot(request)                           boot
        open the checkpoint                 partial_checkpoint, if it is no whole model of a known kind
        facts = measure(…)                  measure, facts: one pass over all tensors; distributed_run
        verdicts = judge(facts, expected)   judge: pure functions
        diagnosis = find_cure(…)            find_cure, where the verdicts are bad
        build_report(…)                     build_report, report

``boot_request`` says what can be asked for. ``compare_routings`` scores the weights under several routing strategies,
``prompt`` continues a text, and ``make_golden`` writes the fingerprint of a release.
"""
