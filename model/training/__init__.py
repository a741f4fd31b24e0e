"""How the bundled release was made: ``python -m magnetar.model.training.train``. It can be made again.

::

    read the novels out of the R package      austen_corpus
    train the tokenizer, encode the text      tokenizer, corpus
    train: Muon and AdamW, by a recipe        train, recipe, muon
    write the release as the big one came     pack_release
    draw the curve, write the model card      loss_curve, model_card
"""
