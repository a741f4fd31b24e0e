"""Which keys of a configuration change the model, which change nothing, and which are not known."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.derive.judge_config import Contexts, judge_config, judge_generation, judge_index, judge_params
from magnetar.convert.derive.judgement import Judgement, same, show
from magnetar.convert.derive.known_keys import CONFIG_DEFAULTS
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.write.side_files import WeightFacts
from magnetar.manifests.checking.ledger import RowState
from tests import needs
from tests.convert.forge import DENSE, MOE

PROVEN, WRONG, UNKNOWN = RowState.PROVEN, RowState.WRONG, RowState.NOT_CHECKED
MODEL = replace(MOE, context_length=512)
SMALL_THETA = replace(MODEL, rope_theta=1e4)
CONTEXTS = Contexts(frozenset({512}), True)
GONE = "this key is taken away"


def judge(keys: dict[str, Any], architecture: Architecture = MODEL) -> dict[str, Judgement]:
    """A config.json with these keys changed, held against the derived one. ``GONE`` removes a key."""
    expected = architecture.to_config("bfloat16")
    found = {key: value for key, value in {**expected, **keys}.items() if value is not GONE}
    return {each.name: each for each in judge_config(found, expected, CONTEXTS)}


def faults(judged: dict[str, Judgement]) -> dict[str, RowState]:
    return {name: each.state for name, each in judged.items() if each.state is not PROVEN and not each.harmless}


@pytest.mark.parametrize("architecture", [MODEL, SMALL_THETA, replace(DENSE, context_length=512, sliding_window=8)])
def test_what_is_derived_is_right_key_by_key(architecture: Architecture) -> None:
    assert faults(judge({}, architecture)) == {}


@pytest.mark.parametrize(
    "keys",
    [
        {"transformers_version": "4.36.0.dev0"},
        {"_name_or_path": "mistralai/Mixtral-8x7B-v0.1"},
        {"router_aux_loss_coef": 0.02, "output_router_logits": False, "router_jitter_noise": 0.0},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_parameters": GONE, "torch_dtype": GONE},
        {"rope_theta": GONE, "dtype": GONE},
        {"rope_theta": 1000000},
        {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default", "partial_rotary_factor": 1.0}},
        {"layer_types": None},
        {"layer_types": ["full_attention"] * 2},
        {"pad_token_id": None, "attention_bias": False, "quantization_config": None, "pretraining_tp": 1},
        {"head_dim": GONE, "attention_dropout": GONE, "hidden_size": 32, "num_attention_heads": 4},
        {"auto_map": None},
    ],
    ids=str,
)
def test_forms_that_other_programs_write_are_right(keys: dict[str, Any]) -> None:
    architecture = replace(MODEL, dim=32) if "hidden_size" in keys else MODEL
    assert faults(judge(keys, architecture)) == {}


@pytest.mark.parametrize(
    ("keys", "name", "state"),
    [
        ({"hidden_act": "gelu"}, "hidden_act", WRONG),
        ({"rms_norm_eps": 1e-6}, "rms_norm_eps", WRONG),
        ({"rms_norm_eps": True}, "rms_norm_eps", WRONG),
        ({"num_hidden_layers": "2"}, "num_hidden_layers", WRONG),
        ({"num_hidden_layers": 1}, "num_hidden_layers", WRONG),
        ({"tie_word_embeddings": True}, "tie_word_embeddings", WRONG),
        ({"tie_word_embeddings": 0}, "tie_word_embeddings", WRONG),
        ({"sliding_window": 4}, "sliding_window", WRONG),
        ({"layer_types": ["sliding_attention", "full_attention"]}, "layer_types", WRONG),
        ({"layer_types": ["full_attention"]}, "layer_types", WRONG),
        ({"rope_theta": 1e4}, "rope_theta", WRONG),
        ({"rope_theta": None}, "rope_theta", WRONG),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling", WRONG),
        ({"rope_scaling": {"rope_type": "default", "rope_theta": 3.0}}, "rope_scaling", WRONG),
        ({"rope_scaling": "yarn"}, "rope_scaling", WRONG),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "llama3"}}, "rope_parameters", WRONG),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default", "type": "yarn"}}, "rope_parameters", WRONG),
        ({"rope_parameters": {"rope_theta": 1e5, "rope_type": "default"}}, "rope_parameters", WRONG),
        ({"rope_parameters": {"rope_theta": 1e6, "factor": 8}}, "rope_parameters", UNKNOWN),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "rope_parameters", UNKNOWN),
        ({"rope_parameters": {}}, "rope_parameters", UNKNOWN),
        ({"rope_parameters": []}, "rope_parameters", WRONG),
        ({"rope_theta": GONE, "rope_parameters": GONE}, "rope_theta", UNKNOWN),
        ({"dtype": "float16"}, "dtype", WRONG),
        ({"torch_dtype": None}, "torch_dtype", WRONG),
        ({"dtype": GONE, "torch_dtype": GONE}, "dtype", UNKNOWN),
        ({"architectures": ["MixtralForSequenceClassification"]}, "architectures", WRONG),
        ({"model_type": "mistral"}, "model_type", WRONG),
        ({"model_type": GONE}, "model_type", WRONG),
        ({"vocab_size": GONE}, "vocab_size", WRONG),
        ({"hidden_act": GONE}, "hidden_act", UNKNOWN),
        ({"head_dim": GONE}, "head_dim", WRONG),
        ({"head_dim": GONE, "num_attention_heads": 0}, "head_dim", WRONG),
        ({"max_position_embeddings": 1024}, "max_position_embeddings", WRONG),
        ({"max_position_embeddings": GONE}, "max_position_embeddings", WRONG),
        ({"quantization_config": {"bits": 4}}, "quantization_config", WRONG),
        ({"quantization": {"bits": 4}}, "quantization", WRONG),
        ({"attention_bias": True}, "attention_bias", WRONG),
        ({"pad_token_id": 3}, "pad_token_id", UNKNOWN),
        ({"auto_map": {"AutoModel": "x.Y"}}, "auto_map", UNKNOWN),
        ({"trust_remote_code": True}, "trust_remote_code", UNKNOWN),
        ({"chat_template": "{{ evil }}"}, "chat_template", UNKNOWN),
        ({"_attn_implementation": "someone/kernel"}, "_attn_implementation", UNKNOWN),
        ({"transformers_version": {"a": 1}}, "transformers_version", UNKNOWN),
        ({"router_aux_loss_coef": "x"}, "router_aux_loss_coef", UNKNOWN),
        ({"norm_topk_prob": True}, "norm_topk_prob", UNKNOWN),
        ({"": None}, "", UNKNOWN),
    ],
    ids=str,
)  # fmt: skip
def test_a_key_that_changes_the_model_is_wrong_and_one_that_is_not_known_is_named(
    keys: dict[str, Any], name: str, state: RowState
) -> None:
    judged = judge(keys)
    assert judged[name].state is state
    assert not judged[name].harmless
    assert judged[name].detail


def test_a_theta_that_only_transformers_5_reads_is_not_proven_for_all() -> None:
    assert faults(judge({"rope_theta": GONE}, SMALL_THETA)) == {"rope_theta": UNKNOWN}
    assert faults(judge({"rope_theta": GONE, "rope_parameters": GONE}, SMALL_THETA)) == {"rope_theta": WRONG}
    without = {"rope_parameters": {"rope_type": "default"}}
    assert faults(judge(without, SMALL_THETA)) == {"rope_parameters": WRONG}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=300)
@given(st.sampled_from(sorted(MODEL.to_config("bfloat16"))), VALUES)
def test_no_other_value_of_a_key_that_a_conversion_writes_is_right(name: str, value: Any) -> None:
    expected = MODEL.to_config("bfloat16")[name]
    judged = judge({name: value})[name]
    harmless_forms = name == "rope_parameters" and value is None
    if not same(value, expected) and not harmless_forms:
        assert judged.state is not PROVEN
        assert not judged.harmless


@settings(max_examples=200)
@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=3))
def test_a_key_that_nobody_knows_is_never_right(keys: dict[str, Any]) -> None:
    keys = {f"new_{key}": value for key, value in keys.items()}
    assert faults(judge(keys)) == dict.fromkeys(keys, UNKNOWN)


@pytest.mark.parametrize("kind", sorted(CONFIG_DEFAULTS))
def test_the_defaults_are_those_of_transformers(kind: str) -> None:
    needs.package("transformers", "transformers")
    from transformers import AutoConfig

    theirs = AutoConfig.for_model(kind).to_dict()
    theirs["rope_theta"] = theirs["rope_parameters"]["rope_theta"]
    assert {key: theirs[key] for key in CONFIG_DEFAULTS[kind]} == CONFIG_DEFAULTS[kind]


def test_params_are_judged_key_by_key() -> None:
    expected = {**MODEL.to_params(), "rope_theta": MODEL.rope_theta}

    def judged(**keys: Any) -> dict[str, RowState]:
        found = {key: value for key, value in {**expected, **keys}.items() if value is not GONE}
        return faults({each.name: each for each in judge_params(found, expected)})

    assert judged() == {}
    assert judged(max_batch_size=4) == {}
    assert judged(rope_theta=1e4) == {"rope_theta": WRONG}
    assert judged(rope_theta=GONE) == {"rope_theta": WRONG}
    assert judged(moe={"num_experts": 3, "num_experts_per_tok": 1}) == {"moe": WRONG}
    assert judged(moe={"num_experts": 3, "num_experts_per_tok": 2, "x": 1}) == {"moe": WRONG}
    assert judged(_sliding_window=4, yarn={}) == {"_sliding_window": UNKNOWN, "yarn": UNKNOWN}


def test_how_text_is_chosen_is_not_in_a_release() -> None:
    expected = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}

    def judged(found: dict[str, Any]) -> dict[str, RowState]:
        return faults({each.name: each for each in judge_generation(found, expected)})

    assert judged({**expected, "transformers_version": "4.36.0"}) == {}
    assert judged({**expected, "temperature": 2.0}) == {"temperature": UNKNOWN}
    assert judged({**expected, "custom_generate": "x"}) == {"custom_generate": UNKNOWN}
    assert judged({**expected, "eos_token_id": 3}) == {"eos_token_id": WRONG}
    assert judged({"bos_token_id": 1, "eos_token_id": 2}) == {"_from_model_config": UNKNOWN}


def test_an_index_names_every_tensor_in_its_file() -> None:
    weights = WeightFacts("BF16", {"a": "1.safetensors", "b": "2.safetensors"}, 10, 20)
    right = {"metadata": {"total_size": 20}, "weight_map": weights.places}

    def judged(**keys: Any) -> dict[str, RowState]:
        found = {key: value for key, value in {**right, **keys}.items() if value is not GONE}
        return faults({each.name: each for each in judge_index(found, weights)})

    assert judged() == {}
    assert judged(metadata={}) == {}
    assert judged(metadata={"total_size": 21}) == {"metadata.total_size": WRONG}
    assert judged(metadata={"x": 1}) == {"metadata.x": UNKNOWN}
    assert judged(metadata=[]) == {"metadata": UNKNOWN}
    assert judged(weight_map={"a": "1.safetensors"}) == {"weight_map": WRONG}
    assert judged(weight_map=GONE) == {"weight_map": WRONG}
    assert judged(y=1) == {"y": UNKNOWN}


@given(VALUES, VALUES)
def test_values_are_the_same_only_where_json_says_so(one: Any, other: Any) -> None:
    if same(one, other):
        assert one == other
        assert same(other, one)
    assert not same(True, 1)
    assert same(1, 1.0)
    assert not same([1], [True])


def test_a_value_is_shown_in_one_short_line() -> None:
    assert show({"a": "\n\x1b[31m\u202e" * 50}).isprintable()
    assert len(show("x" * 1000)) == 60
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    assert show(nested).startswith("a list")
    while nested:  # emptied from outside, since deleting it at once would recurse
        nested = nested.pop()
