"""The verdict as a pure function of the rows: properties over any rows."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from magnetar.findings import Outcome
from magnetar.manifests.checking.ledger import (
    INDEPENDENT,
    Ledger,
    Means,
    Row,
    RowState,
    Subject,
    Verdict,
    Voucher,
    find_verdict,
    judge_rows,
)

GOODNESS = {Outcome.BAD: 0, Outcome.FAILED: 1, Outcome.UNKNOWN: 2, Outcome.GOOD: 3}
PROVEN = (RowState.PROVEN, RowState.UNCHANGED)


@st.composite
def rows_of(draw: st.DrawFn) -> Row:
    state = draw(st.sampled_from(RowState))
    proven = state in PROVEN
    return Row(
        subject=draw(st.sampled_from(Subject)),
        name=draw(st.text(max_size=3)),
        file="f",
        state=state,
        loadable=draw(st.booleans()),
        means=draw(st.sampled_from(Means)) if proven else None,
        voucher=draw(st.sampled_from(Voucher)) if proven else None,
        weak=draw(st.booleans()),
    )


ROWS = st.lists(rows_of(), max_size=6)


@given(ROWS)
def test_the_release_means_that_everything_loadable_is_proven_by_an_independent_word(rows: list[Row]) -> None:
    if find_verdict(rows) is Verdict.RELEASE:
        loadable = [row for row in rows if row.loadable]
        assert loadable
        assert all(row.state is RowState.PROVEN and row.voucher in INDEPENDENT and not row.weak for row in loadable)
        assert all(row.state not in (RowState.WRONG, RowState.UNREADABLE) for row in rows)


@given(ROWS, rows_of())
def test_one_more_row_that_is_not_proven_never_makes_a_verdict_better(rows: list[Row], more: Row) -> None:
    if more.state not in PROVEN:
        assert GOODNESS[judge_rows([*rows, more])] <= GOODNESS[judge_rows(rows)]


@given(ROWS)
def test_a_wrong_row_decides_and_a_row_that_could_not_be_read_comes_next(rows: list[Row]) -> None:
    states = {row.state for row in rows}
    if RowState.WRONG in states:
        assert judge_rows(rows) is Outcome.BAD
    elif RowState.UNREADABLE in states:
        assert judge_rows(rows) is Outcome.FAILED
    else:
        assert judge_rows(rows) in (Outcome.GOOD, Outcome.UNKNOWN)


@given(ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_makes_no_difference(rows: list[Row], order: object) -> None:
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert (judge_rows(shuffled), find_verdict(shuffled)) == (judge_rows(rows), find_verdict(rows))


@given(ROWS)
def test_a_file_that_no_runtime_loads_never_makes_a_verdict_less_than_good_by_being_unchecked(rows: list[Row]) -> None:
    readme = Row(subject=Subject.FILE, name="README.md", file="README.md", state=RowState.NOT_CHECKED, loadable=False)
    assert judge_rows([*rows, readme]) is judge_rows(rows)
    assert find_verdict([*rows, readme]) is find_verdict(rows)


@given(ROWS)
def test_the_words_agree_with_the_outcome(rows: list[Row]) -> None:
    good = {Verdict.RELEASE, Verdict.UNDAMAGED, Verdict.WEAK, Verdict.UNCHANGED}
    assert (find_verdict(rows) in good) is (judge_rows(rows) is Outcome.GOOD)
    assert (find_verdict(rows) is Verdict.WRONG) is (judge_rows(rows) is Outcome.BAD)
    ledger = Ledger(tuple(rows))
    assert (ledger.outcome, ledger.verdict) == (judge_rows(rows), find_verdict(rows))


@given(ROWS)
def test_a_better_word_never_makes_a_verdict_worse(rows: list[Row]) -> None:
    better = [replace(row, voucher=Voucher.SIGNER) if row.voucher else row for row in rows]
    assert judge_rows(better) is judge_rows(rows)
    if find_verdict(rows) is Verdict.RELEASE:
        assert find_verdict(better) is Verdict.RELEASE


def test_nothing_at_all_is_not_good() -> None:
    assert judge_rows([]) is Outcome.UNKNOWN
    readme = Row(
        subject=Subject.FILE,
        name="README.md",
        file="README.md",
        state=RowState.PROVEN,
        loadable=False,
        means=Means.FILE_DIGEST,
        voucher=Voucher.CATALOG,
    )
    assert judge_rows([readme]) is Outcome.UNKNOWN


def test_tensors_alone_are_named_as_that() -> None:
    tensor = Row(
        subject=Subject.TENSOR,
        name="norm.weight",
        file="model.safetensors",
        state=RowState.PROVEN,
        means=Means.TENSOR_DIGEST,
        voucher=Voucher.CATALOG,
    )
    code = Row(subject=Subject.FILE, name="modeling_evil.py", file="modeling_evil.py", state=RowState.NOT_CHECKED)
    assert find_verdict([tensor, code]) is Verdict.SAME_TENSORS
    assert Ledger((tensor, code)).not_checked == (code,)
    other = replace(tensor, name="x", state=RowState.NOT_CHECKED, means=None, voucher=None)
    assert find_verdict([tensor, code, other]) is Verdict.NOT_ALL
