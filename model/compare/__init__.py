"""Hold a model against another one: the same tokens, and the distance of the answers.

::

    answers = other.answer(ids)                    a checkpoint is run, a server is asked for log probabilities
    agreement = compare_answers(answers, run, …)   likeliest tokens, KL, NMSE, bits per byte
    judge_agreement(agreement)                     within what both formats allow?

``comparison`` has the interface and the checkpoint; ``server`` speaks OpenAI's completions. What a server says is
foreign: it is bounded in size and time, and checked.
"""
