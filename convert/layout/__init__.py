"""Layouts as data: how each family of tools names, stacks and arranges the matrices of one and the same model.

``architecture`` holds the sizes of a model, from params.json, config.json or the metadata of GGUF. ``tensor_layout``
describes a layout as rules, ``tables`` lists the known ones, and ``mapping`` leads from one to another. All of it is
pure::

    layout, reason = detect_layout(names)
    check_tensors(layout, architecture, shapes)         # every name and shape, before a tensor is read
    for tensor in target.tensors(architecture):
        for part in tensor.parts:                       # q of layer 3; w2 of expert 5 in layer 3
            segment = where the source layout keeps the part, and how it must be turned
    return moves                                        # a Move: a tensor of the target and its segments
"""
