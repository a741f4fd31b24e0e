"""Whether the bytes in a folder are those of a release, and by whose word.

::

    signed = check_signed(request)         # if the user says who must have signed the manifest
    if is_copy(folder):                    # a conversion has other bytes, and the same tensors
        verify_copy(...)                   # tensor by tensor, by the digests of the release's tensors
    else:
        verify_files(...)                  # file by file: digests, and the pieces of the kept torrent
        locate(...)                        # where damaged files are damaged: bytes, pieces, tensors

``magnetar.pipeline.verify`` is the one entry to all of it.
"""
