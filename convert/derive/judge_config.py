"""Judge the configuration beside a copy by meaning, key by key: config.json, params.json, generation_config.json."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from magnetar.convert.derive.judgement import Judgement, differs, harmless, right, same, show, unknown, wrong
from magnetar.convert.derive.known_keys import (
    CONFIG_ALLOWED,
    CONFIG_DEFAULTS,
    CONFIG_LEFT_OUT,
    CONFIG_REFUSED,
    GENERATION_ALLOWED,
    PARAMS_ALLOWED,
    RUNS_CODE,
    TOKENIZER_CONFIG_ALLOWED,
    Allowed,
)
from magnetar.convert.write.side_files import WeightFacts

RUNS = "a runtime can run code by it"
NOT_STATED = "the release does not state it"
ROPE = ("rope_theta", "rope_parameters", "rope_scaling")
DTYPE = ("dtype", "torch_dtype")
CONTEXT = "max_position_embeddings"


@dataclass(frozen=True, slots=True)
class Contexts:
    """The longest contexts, in tokens, that the release's files and its manifest lead to.

    ``stated``: one of them says so; else it is only what a conversion writes where nothing is known.
    """

    lengths: frozenset[int]
    stated: bool

    def judge(self, name: str, found: Any) -> Judgement:
        """Hold a value against them."""
        if type(found) is int and found in self.lengths:
            return right(name, "" if self.stated else "as a conversion writes it; the release states none")
        expected = " or ".join(map(str, sorted(self.lengths)))
        return wrong(name, f"is {show(found)}, not {expected}") if self.stated else unknown(name, NOT_STATED)


def judge_config(found: Mapping[str, Any], expected: Mapping[str, Any], contexts: Contexts) -> Iterator[Judgement]:
    """The keys of a config.json, held against those that it should have for this release and this dtype.

    ``expected`` has every key that a conversion writes, or that the release's own file states.
    """
    defaults = CONFIG_DEFAULTS.get(str(expected.get("model_type")), {})
    yield from _judge_rope(found, expected["rope_theta"], defaults.get("rope_theta"))
    yield from _judge_dtype(found, expected["torch_dtype"])
    for name, value in found.items():
        if name in ROPE or name in DTYPE:
            continue
        if name == CONTEXT:
            yield contexts.judge(name, value)
        elif name == "layer_types":
            yield _judge_layers(name, value, expected)
        elif name in expected:
            yield _compare(name, value, expected[name])
        else:
            yield _judge_foreign(name, value, CONFIG_ALLOWED, CONFIG_REFUSED)
    for name, value in expected.items():
        if name not in found and name not in (*ROPE, *DTYPE):
            yield _judge_absent(name, value, {**defaults, "head_dim": _default_head(found)}, contexts)


def judge_params(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Judgement]:
    """The keys of a params.json, held against those that a conversion writes, or that the release states."""
    for name, value in found.items():
        if name in expected:
            yield _compare(name, value, expected[name])
        else:
            yield _judge_foreign(name, value, PARAMS_ALLOWED)
    for name, value in expected.items():
        if name not in found and value is not None:
            yield wrong(name, f"is missing; it should be {show(value)}")


def judge_generation(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[Judgement]:
    """The keys of a generation_config.json. How text is chosen is not in the release, so such keys are unknown."""
    for name, value in found.items():
        if name in expected:
            yield _compare(name, value, expected[name])
        else:
            yield _judge_foreign(name, value, GENERATION_ALLOWED)
    for name, value in expected.items():
        if name not in found:
            yield unknown(name, f"is missing; it should be {show(value)}")


def judge_index(found: Mapping[str, Any], weights: WeightFacts) -> Iterator[Judgement]:
    """An index of shards, held against the files that the tensors are in."""
    for name, value in found.items():
        if name == "weight_map":
            fits = isinstance(value, dict) and value == weights.places
            yield right(name) if fits else wrong(name, "does not say in which files these tensors are")
        elif name == "metadata" and isinstance(value, dict):
            facts = {"total_size": weights.nbytes, "total_parameters": weights.elements}
            for key, number in value.items():
                if key in facts:
                    yield _compare(f"metadata.{key}", number, facts[key])
                else:
                    yield unknown(f"metadata.{key}", f"is not known; it is {show(number)}")
        else:
            yield unknown(name, f"is not known; it is {show(value)}")
    if "weight_map" not in found:
        yield wrong("weight_map", "is missing")


def judge_plain(name: str, value: Any, allowed: Mapping[str, Allowed] = TOKENIZER_CONFIG_ALLOWED) -> Judgement:
    """A key that no conversion writes, by the table of its file."""
    return _judge_foreign(name, value, allowed)


def judge_own_keys(
    stated: Mapping[str, Any], carried: Mapping[str, Any], allowed: Mapping[str, Allowed]
) -> Iterator[Judgement]:
    """The keys of the release's own configuration that a conversion does not carry, by name.

    ``carried`` is what the conversion writes for them. A copy that was derived again has then not all of the release.
    """
    for name, value in stated.items():
        if name in carried:
            if not same(_unquoted(value), carried[name]):
                yield unknown(name, f"the release states {show(value)}, and the conversion {show(carried[name])}")
        elif value not in (None, {}) and not (name in allowed and allowed[name].fits(value)):
            yield unknown(name, f"the release states {show(value)}, which the conversion does not carry")


def _unquoted(value: Any) -> Any:
    """Some params.json quote their window."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value


def _compare(name: str, found: Any, expected: Any) -> Judgement:
    return right(name) if same(found, expected) else wrong(name, differs(found, expected))


def _judge_foreign(name: str, value: Any, allowed: Mapping[str, Allowed], refused: Set[str] = frozenset()) -> Judgement:
    if RUNS_CODE.fullmatch(name):
        return right(name, "is empty") if value is None else unknown(name, RUNS)
    rule = allowed.get(name)
    if rule is None:
        return unknown(name, f"is not known; it is {show(value)}")
    if rule.fits(value):
        return right(name, rule.why) if rule.exact else harmless(name, rule.why)
    if name in refused:
        return wrong(name, f"is {show(value)}, and the release has none")
    return unknown(name, f"is {show(value)}, which is not known to change nothing")


def _judge_absent(name: str, expected: Any, defaults: Mapping[str, Any], contexts: Contexts) -> Judgement:
    missing = f"is missing; it should be {show(expected)}"
    if name == CONTEXT and not contexts.stated:
        return unknown(name, NOT_STATED)
    if name not in defaults:
        return wrong(name, missing) if name == "model_type" else unknown(name, missing)
    if same(defaults[name], expected) or (name == CONTEXT and defaults[name] in contexts.lengths):
        if name in CONFIG_LEFT_OUT:
            return right(name, "is left out, and every program takes the same")
        return unknown(name, f"is left out; transformers takes {show(expected)}, other programs may not")
    return wrong(name, f"{missing}, and transformers takes {show(defaults[name])}")


def _default_head(config: Mapping[str, Any]) -> Any:
    heads, size = config.get("num_attention_heads"), config.get("hidden_size")
    return size // heads if type(heads) is int and type(size) is int and heads > 0 else None


def _judge_layers(name: str, found: Any, expected: Mapping[str, Any]) -> Judgement:
    """In this family either all layers see everything, or all a window."""
    kind = "full_attention" if expected.get("sliding_window") is None else "sliding_attention"
    layers = expected.get("layer_types") or [kind] * int(expected["num_hidden_layers"])
    return right(name) if found is None else _compare(name, found, layers)


def _judge_dtype(found: Mapping[str, Any], expected: str) -> Iterator[Judgement]:
    """Transformers 5 reads ``dtype``, older versions ``torch_dtype``."""
    stated = [name for name in DTYPE if name in found]
    for name in stated:
        if found[name] == expected:
            yield right(name)
        else:
            yield wrong(name, f"is {show(found[name])}, and the tensors are {expected}")
    if not stated:
        yield unknown("dtype", f"is missing; it should be {show(expected)}")


def _judge_rope(found: Mapping[str, Any], theta: float, default: float | None) -> Iterator[Judgement]:
    """Rotary positions. ``rope_parameters`` is read by transformers 5, ``rope_theta`` by older programs and others."""
    parameters, scaling = found.get("rope_parameters"), found.get("rope_scaling")
    if "rope_parameters" in found:
        yield _judge_parameters("rope_parameters", parameters, theta, default)
    if "rope_scaling" in found:
        yield _judge_scaling("rope_scaling", scaling, theta)
    if "rope_theta" in found:
        yield _compare("rope_theta", found["rope_theta"], theta)
    elif isinstance(parameters, dict) and same(theta, default):
        yield right("rope_theta", "is left out; what does not read rope_parameters takes the same")
    elif isinstance(parameters, dict):
        yield unknown("rope_theta", f"is left out; what does not read rope_parameters takes {show(default)}")
    elif same(theta, default):
        yield unknown("rope_theta", f"is left out; transformers takes {show(theta)}, other programs may not")
    else:
        yield wrong("rope_theta", f"is missing; it should be {show(theta)}")


def _judge_parameters(name: str, found: Any, theta: float, default: float | None) -> Judgement:
    if found is None:
        return right(name, "is empty")
    if not isinstance(found, dict):
        return wrong(name, f"is {show(found)}")
    kind = found.get("rope_type", found.get("type", "default"))
    if kind != "default" or found.get("type", kind) != kind:
        return wrong(name, f"scales positions: {show(found)}")
    if "rope_theta" not in found and same(default, theta):
        return unknown(name, f"has no rope_theta; transformers takes {show(theta)}, other programs may not")
    if not same(found.get("rope_theta"), theta):
        return wrong(name, f"has a rope_theta that {differs(found.get('rope_theta'), theta)}")
    more = set(found) - {"rope_type", "type", "rope_theta"}
    if more and not (more == {"partial_rotary_factor"} and same(found["partial_rotary_factor"], 1.0)):
        return unknown(name, f"has what is not known: {show(sorted(more))}")
    return right(name)


def _judge_scaling(name: str, found: Any, theta: float) -> Judgement:
    if found is None:
        return right(name, "nothing is scaled")
    if isinstance(found, dict) and found and found.get("rope_type", found.get("type")) == "default":
        return _judge_parameters(name, {"rope_theta": theta, **found}, theta, theta)
    return wrong(name, f"scales positions: {show(found)}")
