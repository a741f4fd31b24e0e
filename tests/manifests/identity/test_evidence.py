import random
import runpy
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from magnetar.manifests.identity.evidence import (
    ORDER,
    Agreement,
    Candidate,
    Certainty,
    Tally,
    describe,
    is_ambiguous,
    judge,
    rank,
)

ROOT = Path(__file__).parents[3]


@st.composite
def tallies(draw: st.DrawFn) -> Tally:
    of = draw(st.integers(0, 30))
    return Tally(draw(st.integers(0, of)), of)


AGREEMENTS = st.builds(
    Agreement,
    small=tallies(),
    slices=tallies(),
    rounded=st.integers(0, 24),
    absent=st.integers(0, 24),
    shapes=tallies(),
    parameters=st.booleans(),
    sizes=tallies(),
    files=tallies(),
    tokenizer=st.booleans(),
)


def test_norms_alone_prove_nothing() -> None:
    assert judge(Agreement(small=Tally(36, 36))) is Certainty.RELATED
    assert judge(Agreement(small=Tally(36, 36), slices=Tally(0, 24))) is Certainty.RELATED
    assert judge(Agreement(small=Tally(36, 36), slices=Tally(12, 24))) is Certainty.RELATED


def test_most_slices_make_a_candidate_although_a_tensor_was_changed() -> None:
    assert judge(Agreement(small=Tally(36, 36), slices=Tally(23, 24))) is Certainty.CANDIDATE
    assert judge(Agreement(small=Tally(0, 36), slices=Tally(24, 24))) is Certainty.CANDIDATE


def test_one_slice_makes_no_candidate() -> None:
    assert judge(Agreement(slices=Tally(1, 1))) is Certainty.RELATED


def test_quantised_weights_whose_norms_agree_are_related() -> None:
    agreement = Agreement(small=Tally(30, 30), rounded=24)
    assert judge(agreement) is Certainty.RELATED
    assert "24 slices were rounded or quantised, and cannot be compared" in describe(agreement)


def test_weights_without_digests_of_tensors_are_alike_by_what_agrees_and_the_words_say_so() -> None:
    agreement = Agreement(parameters=True, files=Tally(1, 2), tokenizer=True)
    assert judge(agreement) is Certainty.ALIKE
    assert describe(agreement) == ("by shapes and tokenizer only: no digests of its tensors are known",)
    assert judge(Agreement(files=Tally(1, 2), tokenizer=True)) is Certainty.UNKNOWN


def test_weights_whose_tensors_all_differ_are_not_alike_for_having_as_many() -> None:
    assert judge(Agreement(small=Tally(0, 36), slices=Tally(0, 24), parameters=True)) is Certainty.UNKNOWN


def test_as_many_numbers_in_other_shapes_are_not_alike() -> None:
    assert judge(Agreement(parameters=True, shapes=Tally(0, 127))) is Certainty.UNKNOWN
    assert judge(Agreement(parameters=True, shapes=Tally(127, 127))) is Certainty.ALIKE


@given(AGREEMENTS)
def test_a_little_reading_never_says_more_than_candidate(agreement: Agreement) -> None:
    certainty = judge(agreement)
    assert ORDER.index(certainty) >= ORDER.index(Certainty.CANDIDATE)
    if certainty is Certainty.CANDIDATE:
        assert 2 * agreement.slices.agree > agreement.slices.of


@given(st.dictionaries(st.sampled_from("abcde"), AGREEMENTS))
def test_the_most_certain_comes_first(agreements: dict[str, Agreement]) -> None:
    ranked = rank(agreements.items())
    assert {one.release for one in ranked} == {one.release for one in rank(reversed(agreements.items()))}
    places = [ORDER.index(candidate.certainty) for candidate in ranked]
    assert places == sorted(places)


def test_of_one_release_under_two_names_the_first_is_taken() -> None:
    same = Agreement(small=Tally(3, 3), slices=Tally(24, 24))
    ranked = rank([("b", same), ("a", same)])
    assert [candidate.release for candidate in ranked] == ["b", "a"]
    assert not is_ambiguous(ranked)


def test_two_releases_that_are_alike_equally_are_ambiguous() -> None:
    same = Agreement(parameters=True)
    assert is_ambiguous(rank([("a", same), ("b", same)]))
    assert not is_ambiguous(rank([("a", same), ("b", Agreement(parameters=True, files=Tally(1, 1)))]))
    assert not is_ambiguous((Candidate("a", Certainty.CANDIDATE, same),))


def test_none_of_ten_thousand_mixed_pairs_of_digests_gets_a_wrong_answer() -> None:
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "identify.py"))
    assert benchmark["count_wrong"](10_000, random.Random(11)) == 0
