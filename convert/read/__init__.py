"""From a folder, or a path, to an opened checkpoint whose names and shapes were checked.

::

    open_folder(folder):                        # a folder of byte sources, wherever they lie
        files = find_weights(folder)             # by their names; part_names puts split files in order
        architecture = params.json, config.json or the metadata of GGUF
        checkpoint = formats.open_...(folder, files)
        layout = the one that the names tell
        check every name and shape; no tensor is read
        return CheckpointSource

``open_source(path)`` is the same for a path of this machine, and ``open_as_it_is`` for models of any kind.
``uncached_file`` has two kinds of local files that are read past the page cache.
"""
