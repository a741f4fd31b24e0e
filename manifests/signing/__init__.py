"""Signatures, by OpenSSF model signing: made in ``sign``, checked in ``check``, keys in ``keys``.

::

    signature = ManifestSigner(how).sign(name, content)      # key, certificate, or a Sigstore identity
    signer    = check_signature(content, signature, expected) # raises unless it is by whom it should be
    signed, signer = check_folder_signature(...)              # a model.sig, which lists files with their digests

The bytes of the manifest are what is signed; they hold every digest and the infohash. ``folder_signature`` has
signatures over a folder's files. ``certificates`` demands of certificates what the library does not. ``model_signing``
and ``cryptography`` are imported here and nowhere else, and only when they are used.
"""
