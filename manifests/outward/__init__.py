"""What is known of a release, in the formats in which other programs read it.

::

    statement = attest(ledger, release, ...)     # in-toto: what was verified, and what came of it
    document  = to_cyclonedx(manifest)           # a bill of materials: what the release consists of

``in_toto_attestation`` and ``cyclonedx`` are imported here and nowhere else, and only when they are used.
"""
