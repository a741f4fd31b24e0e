"""What the release's own configuration states beyond what a conversion carries."""

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from magnetar.convert.derive.expected_files import Expected
from magnetar.convert.derive.json_document import parse_object
from magnetar.convert.derive.judge_config import CONTEXT, DTYPE, ROPE, judge_config, judge_own_keys
from magnetar.convert.derive.judgement import Judgement, harmless, right, same, unknown
from magnetar.convert.derive.known_keys import (
    CONFIG_ALLOWED,
    GENERATION_ALLOWED,
    PARAMS_ALLOWED,
    RUNS_CODE,
    TOKENIZER_CONFIG_ALLOWED,
)
from magnetar.convert.derive.release_files import ReleaseSmallFiles, parse_small
from magnetar.convert.read.checkpoint_source import CONFIG, PARAMS
from magnetar.manifests.checking.ledger import RowState

GENERATION, TOKENIZER_CONFIG = "generation_config.json", "tokenizer_config.json"


class ReleaseConfig:
    """The release's configurations beside those that are derived from them.

    Methods raise ``LayoutError`` where a file of the release is malformed.
    """

    def __init__(self, small: ReleaseSmallFiles, expected: Expected) -> None:
        self._small = small
        self._contexts = expected.contexts
        self._derived = parse_object(expected.transformers[0][CONFIG], CONFIG)
        self._params = parse_object(expected.publisher[PARAMS], PARAMS)
        self._stated = parse_small(small, CONFIG) or {}

    @cached_property
    def lost(self) -> tuple[Judgement, ...]:
        """The keys of the release's params.json and config.json that no conversion carries, as not checked."""
        params = parse_small(self._small, PARAMS) or {}
        judged = [*judge_own_keys(params, self._params, PARAMS_ALLOWED)]
        if self._stated:
            judged += judge_config(self._stated, self._derived, self._contexts)
        return tuple(
            unknown(each.name, f"the release states it, and the conversion does not carry it: {each.detail}")
            for each in judged
            if each.state is not RowState.PROVEN and not each.harmless and each.name not in (*DTYPE, CONTEXT)
        )

    @cached_property
    def generation(self) -> dict[str, Any]:
        """What the release's generation_config.json states, but who wrote it."""
        return _without_allowed(parse_small(self._small, GENERATION) or {}, GENERATION_ALLOWED)

    @cached_property
    def lost_generation(self) -> tuple[Judgement, ...]:
        """The keys of the release's generation_config.json that no conversion carries."""
        derived = {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": 2}
        return tuple(judge_own_keys(parse_small(self._small, GENERATION) or {}, derived, GENERATION_ALLOWED))

    def lost_tokenizer_config(self, derived: Mapping[str, Any]) -> tuple[Judgement, ...]:
        """The keys of the release's tokenizer_config.json that no conversion carries."""
        stated = parse_small(self._small, TOKENIZER_CONFIG) or {}
        return tuple(judge_own_keys(stated, derived, TOKENIZER_CONFIG_ALLOWED))

    @property
    def expected_params(self) -> Mapping[str, Any]:
        """The keys that a params.json should have."""
        return {**self._params, **_without_allowed(parse_small(self._small, PARAMS) or {}, PARAMS_ALLOWED)}

    def judge_config(self, found: Mapping[str, Any], *, states_dtype: bool) -> Iterator[Judgement]:
        """A config.json, by meaning. A key that the release's own file states in the same way is right.

        Without ``states_dtype``, the weights beside it say themselves in which format their numbers are.
        """
        kept = {key: value for key, value in self._stated.items() if key not in (*DTYPE, *ROPE, CONTEXT)}
        expected = {**self._derived, **_without_allowed(kept, CONFIG_ALLOWED)}
        for each in judge_config(found, expected, self._contexts):
            stated = each.name in self._stated and same(found.get(each.name), self._stated[each.name])
            if each.name in DTYPE and not states_dtype:
                yield harmless(each.name, "the weights state it themselves")
            elif stated and each.name not in DTYPE and not RUNS_CODE.fullmatch(each.name):
                yield right(each.name)
            else:
                yield each


def _without_allowed(stated: Mapping[str, Any], allowed: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in stated.items() if key not in allowed or not allowed[key].fits(value)}
