"""Readers of files of weights. Each turns one byte source into a ``Checkpoint``: a table of ranges of bytes.

These readers meet hostile bytes. They execute nothing, check every size and offset before they use it, hold each count
against a limit (``MAX_...``), and refuse what the usual writers never write::

    read_checkpoint(source):
        look at the first bytes:   GGUF, safetensors, zip of torch, older torch, or zip of numpy
        read the header only:      zip_reader, pickle_reader and state_dict never run a pickle
        check that the tensors lie inside the file
        return Checkpoint(sources, specs)     # no tensor has been read

``detect`` also opens shards by their index, and split files. ``merge_ranks`` unites several files into one checkpoint.
The checksums of a container are compared when the bytes of a tensor are read, by ``Checkpoint``.
"""
