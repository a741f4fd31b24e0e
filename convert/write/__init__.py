"""Write a checkpoint for another program. ``convert`` is the entry::

plan(request):
    open the source; find the target                  # targets: layout, container, side files
    map each tensor, and pack tensors into files      # plan, gguf_target
    check that the destination may be written         # destination
carry_out(planned):
    lock the destination; check the disk space
    keep what an earlier run wrote                    # journal, resume
    for each file that is missing:                    # engine
        stream its tensors into the file              # writer, copy_range: past the page cache
            and hold them against the listed digests  # compare.source_digests
        put it in its place, and note it in the journal
    read all files back from the disk, and compare them with the source
    write the small files, the configuration last     # side_files, tokenizer_json, gguf_metadata, provenance
"""
