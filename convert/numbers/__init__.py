"""Number formats: what they are called, how many bytes they take, and how one is written as another.

``dtypes`` lists the formats of single numbers by their names in safetensors, ``block_formats`` the quantised blocks of
GGUF, where several numbers share a scale. ``recode`` does the arithmetic, in numpy, about 64 KiB at a time::

    numbers = decode(block, source)            # floats as they are, quantised blocks by the gguf library
    block, too_large = numbers as target       # rounded to nearest; counts what became infinite
"""
