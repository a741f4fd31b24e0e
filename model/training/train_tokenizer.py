"""Training the tokenizer of the bundled release."""

import io
from collections.abc import Iterable

from magnetar.model.architecture.tokenizer import BEGIN, END, UNKNOWN


def train_pieces(lines: Iterable[str], vocab_size: int) -> bytes:
    """Train a ``tokenizer.model`` in the form of Mistral's: BPE with byte fallback, nothing normalised.

    Ids: 0 ``<unk>``, 1 ``<s>``, 2 ``</s>``, 3 to 258 the bytes, then the merged pieces, then the characters.
    A newline is no character of any line, so it is always the byte ``<0x0A>``, as in Mistral's own.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        byte_fallback=True,
        character_coverage=0.99995,
        normalization_rule_name="identity",
        add_dummy_prefix=True,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        unk_id=UNKNOWN,
        bos_id=BEGIN,
        eos_id=END,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()
