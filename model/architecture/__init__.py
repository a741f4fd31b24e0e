"""The model: what every release of the family is run with, and what the bundled release was trained with.

``mixtral`` is the whole decoder in one file, with the names of the publisher's weights. ``routing`` has the strategies
by which experts can be chosen for a token. ``tokenizer`` turns text into token ids, and back::

    ids = Tokenizer.open(path).encode(text)
    logits = Mixtral(architecture)(tensor([[BEGIN, *ids]]))     # [1, T, V]

The sizes of a model, ``Architecture``, are read by ``convert``.
"""
