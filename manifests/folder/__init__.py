"""A release's folder on disk, by names alone: what is payload, what is state, and what lies beside it.

``safe_path`` is the only way from a path in a foreign document to a path on disk. ``layout`` lists a folder's payload
and knows where a publisher puts the manifest, the signature and the key. ``origin`` is the note that says what a
folder was fetched as. Nothing here reads a payload file.
"""
