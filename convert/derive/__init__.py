"""Derive again: what a conversion adds beside the tensors is a function of the release's small files.

``check_beside`` is the entry. It derives the small files that this version would write for a copy, from the release's
own, and holds those that are there against them::

    small = ReleaseSmallFiles(...)                    # release_files: what the caller has proven by digest
    architecture = architecture_of(small)             # None where the manifest has neither configuration
    for each file beside the weights:                 # check_beside, expected_files
        the release's own bytes, or the derived ones, prove it whole
        else every key of it is judged by meaning     # judge_config, judge_tokenizer, judge_modelfile, json_document
    for each file of weights:
        every key of its metadata is judged           # judge_gguf, judge_safetensors
    return rows of the ledger                         # judgement

What a key means is data: ``known_keys`` says which change nothing, which can run code, and what transformers and
llama.cpp take where one is left out. A key that is in none of these tables is *not checked*, by its name.
"""
