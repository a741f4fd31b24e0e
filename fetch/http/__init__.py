"""The one HTTP client of the program, and the rules for whom it may ask.

``address_policy``
    Says which URLs and addresses may be asked because a document names them, and which only because the user did.
``client``
    Sends one request and returns its answer: a range of bytes as a stream (``get``), or a whole small answer within a
    limit of size and time (``exchange``). It and ``connections``, which opens the connections that the policy allows,
    know urllib3. ``deadline`` ends a request that takes too long.
``documents``
    Reads a small document from a URL or a path, and the files beside it (a manifest, its signature, a torrent).
"""
