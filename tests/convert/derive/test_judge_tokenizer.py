"""Every piece, merge, special token and step of a tokenizer, held against the release's."""

import copy
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.derive.judge_config import Contexts
from magnetar.convert.derive.judge_tokenizer import (
    judge_added_pieces,
    judge_special_tokens,
    judge_tokenizer_config,
    judge_tokenizer_json,
)
from magnetar.convert.derive.judgement import Judgement
from magnetar.convert.write.side_files import tokenizer_files
from magnetar.manifests.checking.ledger import RowState
from tests.convert.derive.conftest import SMALL

PROVEN, WRONG, UNKNOWN = RowState.PROVEN, RowState.WRONG, RowState.NOT_CHECKED
FILES = tokenizer_files(SMALL.contents["tokenizer.model"], 512)[0]
DOCUMENT: dict[str, Any] = json.loads(FILES["tokenizer.json"])
SETTINGS: dict[str, Any] = json.loads(FILES["tokenizer_config.json"])
PIECES: dict[str, int] = DOCUMENT["model"]["vocab"]
CONTEXTS = Contexts(frozenset({512}), True)
Change = Callable[[Any], object]


def faults(judged: Any) -> dict[str, RowState]:
    found: list[Judgement] = list(judged)
    return {each.name: each.state for each in found if each.state is not PROVEN and not each.harmless}


def judge(change: Change) -> dict[str, RowState]:
    document = copy.deepcopy(DOCUMENT)
    change(document)
    return faults(judge_tokenizer_json(document, DOCUMENT))


def exchange(table: dict[str, int], one: str, other: str) -> None:
    table[one], table[other] = table[other], table[one]


def test_what_is_derived_is_right_part_by_part() -> None:
    assert judge(lambda document: None) == {}


def test_merges_as_text_and_pieces_in_another_order_are_the_same() -> None:
    def rewrite(document: Any) -> None:
        model = document["model"]
        model["merges"] = [" ".join(pair) for pair in model["merges"]]
        model["vocab"] = dict(reversed(model["vocab"].items()))
        document["added_tokens"].reverse()
        del model["ignore_merges"], model["dropout"]

    assert judge(rewrite) == {}


def test_merges_of_one_piece_have_no_order_among_themselves() -> None:
    merges = DOCUMENT["model"]["merges"]
    place = next(index for index, (one, other) in enumerate(pairwise(merges)) if "".join(one) == "".join(other))

    def swap(document: Any) -> None:
        found = document["model"]["merges"]
        found[place], found[place + 1] = found[place + 1], found[place]

    assert judge(swap) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: exchange(d["model"]["vocab"], "e", "t"), {"vocabulary": WRONG}),
        (lambda d: d["model"]["vocab"].pop("e"), {"vocabulary": WRONG}),
        (lambda d: d["model"]["vocab"].update(evil=1024), {"vocabulary": WRONG}),
        (lambda d: d["model"]["vocab"].update(e=True), {"vocabulary": WRONG}),
        (lambda d: d["model"].update(vocab=[]), {"vocabulary": WRONG}),
        (lambda d: d["model"]["merges"].pop(), {"merges": WRONG}),
        (lambda d: d["model"]["merges"].reverse(), {"merges": WRONG}),
        (lambda d: d["model"]["merges"].append(["a", "b"]), {"merges": WRONG}),
        (lambda d: d["model"]["merges"].append("a  b"), {"merges": WRONG}),
        (lambda d: d["model"]["merges"].append([1, 2]), {"merges": WRONG}),
        (lambda d: d["model"].update(merges=None), {"merges": WRONG}),
        (lambda d: d["model"].update(type="Unigram"), {"model.type": WRONG}),
        (lambda d: d["model"].update(byte_fallback=False), {"model.byte_fallback": WRONG}),
        (lambda d: d["model"].update(unk_token="<s>"), {"model.unk_token": WRONG}),
        (lambda d: d["model"].update(dropout=0.1), {"model.dropout": WRONG}),
        (lambda d: d["model"].update(novelty=1), {"model.novelty": UNKNOWN}),
        (lambda d: d.pop("model"), {"model": WRONG}),
        (lambda d: d.update(model="BPE"), {"model": WRONG}),
        (lambda d: d.update(novelty=1), {"novelty": UNKNOWN}),
        (lambda d: d.update(truncation={"max_length": 4}), {"truncation": UNKNOWN}),
        (lambda d: d.update(normalizer=None), {"normalizer": UNKNOWN}),
        (lambda d: d.update(pre_tokenizer={"type": "Metaspace"}), {"pre_tokenizer": UNKNOWN}),
        (lambda d: d["decoder"]["decoders"].pop(), {"decoder": UNKNOWN}),
        (lambda d: d.pop("post_processor"), {"post_processor": UNKNOWN}),
        (lambda d: d["added_tokens"].pop(), {"added_tokens": WRONG}),
        (lambda d: d["added_tokens"].append(d["added_tokens"][0]), {"added_tokens": WRONG}),
        (lambda d: d["added_tokens"][0].update(id=9), {"added_tokens": WRONG}),
        (lambda d: d["added_tokens"][0].update(id=[0]), {"added_tokens": WRONG}),
        (lambda d: d["added_tokens"][0].update(id="0"), {"added_tokens": UNKNOWN}),
        (lambda d: d["added_tokens"][0].update(special=False), {"added_tokens": UNKNOWN}),
        (lambda d: d.update(added_tokens=None), {"added_tokens": WRONG}),
        (lambda d: d.update(added_tokens=[1]), {"added_tokens": WRONG}),
    ],
)
def test_a_tokenizer_that_gives_other_ids_is_wrong_and_one_that_is_not_understood_is_named(
    change: Change, expected: dict[str, RowState]
) -> None:
    assert judge(change) == expected


def test_the_first_pieces_that_differ_are_named() -> None:
    document = copy.deepcopy(DOCUMENT)
    exchange(document["model"]["vocab"], "e", "t")
    (fault,) = [each for each in judge_tokenizer_json(document, DOCUMENT) if each.state is WRONG]
    ids = {piece: PIECES[piece] for piece in "et"}
    assert f'"e" is {ids["t"]}, not {ids["e"]}' in fault.detail
    assert fault.detail.startswith("2 pieces differ: ")


@settings(max_examples=100)
@given(st.data())
def test_any_two_pieces_exchanged_are_seen(data: st.DataObject) -> None:
    one, other = data.draw(st.lists(st.sampled_from(sorted(PIECES)), min_size=2, max_size=2, unique=True))
    assert judge(lambda document: exchange(document["model"]["vocab"], one, other)) == {"vocabulary": WRONG}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda d: d.update(tokenizer_class="TokenizersBackend", backend="tokenizers", is_local=True), {}),
        (lambda d: d.update(extra_special_tokens={}, additional_special_tokens=[], pad_token=None), {}),
        (lambda d: d.update(bos_token={"content": "<s>", "lstrip": False, "__type": "AddedToken"}), {}),
        (lambda d: d.update(added_tokens_decoder={"1": {"content": "<s>", "special": True}}), {}),
        (lambda d: d.update(bos_token="</s>"), {"bos_token": WRONG}),
        (lambda d: d.update(bos_token=None), {"bos_token": WRONG}),
        (lambda d: d.update(bos_token={"content": "<s>", "lstrip": True}), {"bos_token": UNKNOWN}),
        (lambda d: d.update(bos_token={"content": "<s>", "novelty": 1}), {"bos_token": UNKNOWN}),
        (lambda d: d.pop("eos_token"), {"eos_token": UNKNOWN}),
        (lambda d: d.update(add_bos_token=False), {"add_bos_token": WRONG}),
        (lambda d: d.update(split_special_tokens=False), {"split_special_tokens": WRONG}),
        (lambda d: d.update(tokenizer_class="EvilTokenizer"), {"tokenizer_class": UNKNOWN}),
        (lambda d: d.update(tokenizer_class=["x"]), {"tokenizer_class": UNKNOWN}),
        (lambda d: d.update(model_max_length=7), {"model_max_length": WRONG}),
        (lambda d: d.update(pad_token="<pad>"), {"pad_token": UNKNOWN}),
        (lambda d: d.update(chat_template="{{ evil }}"), {"chat_template": UNKNOWN}),
        (lambda d: d.update(auto_map={"AutoTokenizer": ["x.Y", None]}), {"auto_map": UNKNOWN}),
        (lambda d: d.update(novelty=1), {"novelty": UNKNOWN}),
        (lambda d: d.update(added_tokens_decoder={"2": {"content": "<s>"}}), {"added_tokens_decoder": WRONG}),
        (lambda d: d.update(added_tokens_decoder={"1": {"content": ["<s>"]}}), {"added_tokens_decoder": WRONG}),
        (lambda d: d.update(added_tokens_decoder={"9": None}), {"added_tokens_decoder": WRONG}),
        (lambda d: d.update(added_tokens_decoder=[1]), {"added_tokens_decoder": UNKNOWN}),
    ],
)
def test_the_settings_of_a_tokenizer_are_judged_key_by_key(change: Change, expected: dict[str, RowState]) -> None:
    found = copy.deepcopy(SETTINGS)
    change(found)
    assert faults(judge_tokenizer_config(found, SETTINGS, PIECES, CONTEXTS)) == expected


def test_special_and_added_tokens_may_repeat_what_is_there_and_add_nothing() -> None:
    assert faults(judge_special_tokens({"bos_token": "<s>", "unk_token": {"content": "<unk>"}}, SETTINGS)) == {}
    assert faults(judge_special_tokens({"bos_token": "x"}, SETTINGS)) == {"bos_token": WRONG}
    assert faults(judge_special_tokens({"mask_token": "<s>"}, SETTINGS)) == {"mask_token": UNKNOWN}
    assert faults(judge_added_pieces({"<s>": 1}, PIECES)) == {}
    assert faults(judge_added_pieces({"<s>": 2, "<evil>": 1024}, PIECES)) == {"<s>": WRONG, "<evil>": WRONG}
