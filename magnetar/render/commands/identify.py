"""Which release some weights are, and by what."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.filesize import decimal
from rich.text import Text

from magnetar.manifests.identity.evidence import Certainty
from magnetar.render.text import BAD, GOOD, MAX_ROWS, UNSURE, clean, new_table, note, several, verdict

if TYPE_CHECKING:
    from magnetar.pipeline.folder.look_at_weights import IdentifiedSet
    from magnetar.pipeline.identify import Identity

STYLES = {Certainty.IS: GOOD, Certainty.IS_NOT_QUITE: BAD}
WORDS = {
    Certainty.IS: "the weights are {name}",
    Certainty.IS_NOT_QUITE: "is not quite {name}",
    Certainty.CANDIDATE: "candidate of {name}",
    Certainty.RELATED: "related to {name}, and not shown to be it",
    Certainty.ALIKE: "looks like {name}",
    Certainty.UNKNOWN: "unknown",
}
MAX_OTHERS = 3


def draw_identity(found: "Identity") -> RenderableType:
    """Each set of weights with its evidence, then the verdict."""
    parts = [part for weights in found.sets for part in _draw_set(weights)]
    word = WORDS[found.certainty].format(name=found.release or "any")
    if found.release and found.certainty is Certainty.UNKNOWN:
        word = f"unknown: not all of it is known to be {found.release}"
    rest = f"{decimal(found.read)} were read" + ("" if found.full else "; --full reads everything, and proves it")
    if not found.sets:
        rest = "there are no weights in it"
    elif found.share is not None:
        rest = f"{100 * found.share:.4g} % of the release's bytes agree; {rest}"
    if found.certainty is Certainty.IS:
        rest += "; what lies beside the weights was not checked: magnetar verify does"
    return Group(*parts, verdict(clean(word), STYLES.get(found.certainty, UNSURE), rest))


def _draw_set(found: "IdentifiedSet") -> Iterable[RenderableType]:
    names = ", ".join(found.files[:3]) + (f" and {len(found.files) - 3} more" if len(found.files) > 3 else "")
    layout = f" ({found.layout})" if found.layout else ""
    yield Text(clean(f"{names}{layout}"))
    if found.reason:
        yield note(found.reason)
    for candidate in found.candidates[: MAX_OTHERS + 1]:
        yield note(f"{candidate.release}, {candidate.certainty}: {'; '.join(candidate.reasons())}")
    if found.candidates and found.best is None:
        yield note("nothing that was read tells these apart")
    if found.proof is not None and found.proof.differences:
        table = new_table("tensor", "standing", "")
        for tensor in found.proof.differences[:MAX_ROWS]:
            table.add_row(Text(clean(tensor.name)), Text(str(tensor.standing)), Text(clean(tensor.detail)))
        yield table
        if len(found.proof.differences) > MAX_ROWS:
            yield note(f"and {several(len(found.proof.differences) - MAX_ROWS, 'tensor')} more")
