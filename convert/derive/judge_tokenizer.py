"""Judge the tokenizer files beside a copy by meaning, against the release's ``tokenizer.model``."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from magnetar.convert.derive.judge_config import Contexts, judge_plain
from magnetar.convert.derive.judgement import Judgement, differs, right, same, show, unknown, wrong
from magnetar.convert.derive.known_keys import TOKENIZER_CLASSES
from magnetar.convert.write.tokenizer_json import Vocabulary
from magnetar.manifests.checking.ledger import RowState, Subject

NAMED = 3
"""Pieces that are named where two vocabularies differ."""

PIPELINE = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
"""The parts of tokenizer.json that change text before and after the vocabulary."""

SPECIAL = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown"}
"""Names of special tokens, and of their ids in a ``Vocabulary``."""

MODEL_DEFAULTS: Mapping[str, Any] = {
    "dropout": None,
    "continuing_subword_prefix": None,
    "end_of_word_suffix": None,
    "ignore_merges": False,
}
"""What the tokenizers library takes for what its model leaves out."""


def judge_tokenizer_json(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Judgement]:
    """A tokenizer.json, held against the one that a conversion writes: every piece, merge, special token and step."""
    for name in (*PIPELINE, "truncation", "padding", "version"):
        if same(found.get(name), expected[name]):
            yield right(name)
        else:
            yield unknown(name, f"is another than the conversion writes: {show(found.get(name))}")
    yield from (unknown(name, f"is not known; it is {show(found[name])}") for name in found if name not in expected)
    yield _judge_added_tokens(found.get("added_tokens"), expected["added_tokens"])
    model = found.get("model")
    if not isinstance(model, dict):
        yield wrong("model", "is missing")
        return
    wanted = expected["model"]
    for name in wanted:
        if name not in ("vocab", "merges"):
            value = model.get(name, MODEL_DEFAULTS.get(name))
            if same(value, wanted[name]):
                yield right(f"model.{name}")
            else:
                yield wrong(f"model.{name}", differs(value, wanted[name]))
    yield from (
        unknown(f"model.{name}", f"is not known; it is {show(model[name])}") for name in model if name not in wanted
    )
    yield compare_pieces(model.get("vocab"), wanted["vocab"])
    yield _judge_merges(model.get("merges"), wanted["merges"])


def compare_pieces(found: Any, expected: Mapping[str, int]) -> Judgement:
    """Two vocabularies, id by piece."""
    if not isinstance(found, dict):
        return vocabulary("is missing")
    keys = {**expected, **found}
    different = [key for key in keys if not same(found.get(key), expected.get(key))]
    if not different:
        return vocabulary()
    named = ", ".join(f"{show(key)} {differs(found.get(key), expected.get(key))}" for key in different[:NAMED])
    return vocabulary(f"{len(different)} pieces differ: {named}")


def vocabulary(fault: str = "", name: str = "vocabulary") -> Judgement:
    """The judgement of a vocabulary, which is right where there is no ``fault``."""
    return Judgement(name, RowState.WRONG if fault else RowState.PROVEN, fault, subject=Subject.VOCABULARY)


def judge_tokenizer_config(
    found: Mapping[str, Any], expected: Mapping[str, Any], pieces: Mapping[str, int], contexts: Contexts
) -> Iterator[Judgement]:
    """A tokenizer_config.json, held against the one that a conversion writes. ``pieces`` has the ids by the texts."""
    for name, value in found.items():
        if name == "model_max_length":
            yield contexts.judge(name, value)
        elif name == "tokenizer_class":
            yield right(name) if value in TOKENIZER_CLASSES else unknown(name, f"is {show(value)}")
        elif name == "added_tokens_decoder":
            yield _judge_decoder(name, value, pieces)
        elif name in SPECIAL and name in expected:
            yield _judge_special(name, value, expected[name])
        elif name in expected:
            yield right(name) if same(value, expected[name]) else wrong(name, differs(value, expected[name]))
        else:
            yield judge_plain(name, value)
    for name, value in expected.items():
        # The post_processor of tokenizer.json says what is put before and after a text; these repeat it.
        if name not in found and name not in ("add_bos_token", "add_eos_token"):
            yield unknown(name, f"is missing; it should be {show(value)}")


def judge_special_tokens(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Judgement]:
    """A special_tokens_map.json, held against the special tokens of a tokenizer_config.json that is derived."""
    for name, value in found.items():
        if name in SPECIAL and name in expected:
            yield _judge_special(name, value, expected[name])
        else:
            yield judge_plain(name, value)


def judge_added_pieces(found: Mapping[str, Any], pieces: Mapping[str, int]) -> Iterator[Judgement]:
    """An added_tokens.json: it may repeat pieces, and not add any."""
    for name, value in found.items():
        if name in pieces and same(value, pieces[name]):
            yield right(name)
        else:
            yield wrong(
                name,
                f"is {show(value)}, not {show(pieces[name])}" if name in pieces else "the release has no such piece",
            )


def describe_different_pieces(found: Vocabulary, expected: Vocabulary) -> str:
    """How another tokenizer.model differs from the release's, in words."""
    if len(found.pieces) != len(expected.pieces):
        return f"has {len(found.pieces):,} pieces, not {len(expected.pieces):,}"
    pairs = enumerate(zip(found.pieces, expected.pieces, strict=True))
    different = [(index, ours.text, theirs.text) for index, (ours, theirs) in pairs if ours != theirs]
    if different:
        named = ", ".join(f"{index} is {show(ours)}, not {show(theirs)}" for index, ours, theirs in different[:NAMED])
        return f"{len(different):,} pieces differ: {named}"
    return "has the release's pieces, and differs in another part"


def _judge_special(name: str, found: Any, expected: str) -> Judgement:
    """A special token, as text, or as an object with its text."""
    text = found.get("content") if isinstance(found, dict) else found
    if text != expected:
        return wrong(name, differs(text, expected))
    flags = {key: value for key, value in found.items() if key != "content"} if isinstance(found, dict) else {}
    return _judge_flags(name, flags)


def _judge_flags(name: str, flags: Mapping[str, Any]) -> Judgement:
    allowed = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
    odd = {key: value for key, value in flags.items() if key != "__type" and not same(value, allowed.get(key))}
    return unknown(name, f"has what is not known: {show(odd)}") if odd else right(name)


def _judge_decoder(name: str, found: Any, pieces: Mapping[str, int]) -> Judgement:
    """The special tokens by their ids, as transformers 4 repeats them."""
    if not isinstance(found, dict):
        return unknown(name, f"is {show(found)}")
    for index, token in found.items():
        text = token.get("content") if isinstance(token, dict) else None
        if not isinstance(text, str) or str(pieces.get(text)) != index:
            return wrong(name, f"has {show(text)} as {show(index)}")
        flags = _judge_flags(name, {key: value for key, value in token.items() if key != "content"})
        if flags.state is not RowState.PROVEN:
            return flags
    return right(name)


def _judge_added_tokens(found: Any, expected: Sequence[Mapping[str, Any]]) -> Judgement:
    name = "added_tokens"
    if not isinstance(found, list) or not all(isinstance(token, dict) for token in found):
        return wrong(name, f"is {show(found)}")
    wanted = {token["id"]: token for token in expected}
    identities = sorted((str(token.get("id")), str(token.get("content"))) for token in found)
    if identities != sorted((str(index), token["content"]) for index, token in wanted.items()):
        return wrong(name, "has other special tokens than the release")
    odd = [token for token in found if not same(token, wanted.get(token.get("id")))]
    return unknown(name, f"has what is not known: {show(odd[0])}") if odd else right(name)


def _judge_merges(found: Any, expected: Sequence[Sequence[str]]) -> Judgement:
    """Merges by the piece that they make. Those of one piece have no order among themselves (``list_merges``)."""
    name = "merges"
    pairs = (
        [merge.split(" ") if isinstance(merge, str) else merge for merge in found] if isinstance(found, list) else None
    )
    if pairs is None or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs
    ):
        return vocabulary("is no list of pairs", name)
    if _group_merges(pairs) == _group_merges(expected):
        return vocabulary("", name)
    return vocabulary(f"differ: {len(pairs):,} are here, {len(expected):,} should be", name)


def _group_merges(pairs: Sequence[Sequence[str]]) -> list[tuple[str, list[tuple[str, ...]]]]:
    return [(piece, sorted(map(tuple, group))) for piece, group in groupby(pairs, key="".join)]
