"""The numbers of a run, as the report has them. torch is imported only where there was a run."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from magnetar.model.architecture.tokenizer import Tokenizer
from magnetar.model.boot.report import BootReport, Conducted

if TYPE_CHECKING:
    from magnetar.model.run.measure_run import Examination


def take_down(
    report: BootReport, found: "Examination", ids: Sequence[int], tokenizer: Tokenizer | None, sample: str | None
) -> BootReport:
    """``report`` with what was measured on ``ids``, and the ``sample`` that was written."""
    from magnetar.model.run.scoring import routing_entropy

    size = tokenizer.count_bytes(ids) if tokenizer else 0
    shares = found.trace.shares
    return replace(
        report,
        bits_per_byte=found.bits / size if found.bits is not None and size and math.isfinite(found.bits) else None,
        tokens=len(ids),
        text_bytes=size,
        # drawn anew for every token, so the two passes have nothing to agree on
        decode_difference=None if report.routing == "random" else found.decode_difference,
        expert_load=shares,
        routing_entropy=routing_entropy(shares) if shares else None,
        sample=sample,
        tokens_per_second=len(ids) / found.seconds,
        early_bits=found.early_bits,
        late_bits=found.late_bits,
        residual_rms=tuple(found.trace.residual_rms),
        conducted=None if tokenizer is None else _show_conducted(found, ids, tokenizer),
    )


def _show_conducted(found: "Examination", ids: Sequence[int], tokenizer: Tokenizer) -> Conducted | None:
    chosen = tuple(tuple(tuple(token) for token in layer) for layer in found.trace.chosen)
    if not chosen:
        return None
    # the pieces that were read, of which <s> is the first; those of a fingerprint's text if that came first
    first = found.fingerprint.ids.tolist() if found.fingerprint is not None else list(ids)
    return Conducted(("<s>", *tokenizer.spell(first[: len(chosen[0]) - 1])), chosen)
