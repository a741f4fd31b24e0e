"""What ``--json`` and ``--progress json`` print: a declared shape for each, independent of the classes of the parts.

``commands`` has a module for each command, named as it, with its ``RESULTS``: the shape of each result, by command::

    shape = RESULTS["verify"]
    result = shape filled from the attributes of what the command returned
    print {"format": 1, "command": "verify", "ok": true, "exit": 0, "result": result}

A shape names each field that is printed, and the attribute that it comes from where that is called something else. When
an attribute is renamed, a test fails here, and no user's script breaks. ``docs/json/`` has a JSON schema of each shape.
Everything here is imported only when JSON is asked for.
"""
