"""Draw the figures of a page, in HTML and SVG: curves by layer, the load of the experts, the text by expert."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from magnetar.characters import escape_hidden
from magnetar.model.boot.boot_report import RoutedText

WIDTH, HEIGHT = 640, 160
MIN_ERROR = 1e-8
"""The lower end of the scale of errors: what is below is rounding."""

GOLDEN_ANGLE = 137.508
"""Degrees of hue from one expert to the next: neighbours differ, however many there are."""

NEWLINE = "<0x0A>"
MAX_LEGEND_COLOURS = 32
"""Experts that the legend shows."""


def draw_curve(title: str, values: Sequence[float], what: str, *, allowed: float | None = None) -> Iterator[str]:
    """A curve from the first layer to the last. With ``allowed`` the scale is logarithmic, with a dashed line there."""
    if not values:
        return
    top = max(*values, allowed or 0.0, 0.0) or 1.0
    shares = [_scale_height(value, top, logarithmic=allowed is not None) for value in values]
    step = WIDTH / max(1, len(values) - 1)
    places = [(i * step, HEIGHT * (1 - share)) for i, share in enumerate(shares)]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = "".join(f"M{x:.1f},{y:.1f}h0" for x, y in places)
    line = ""
    if allowed is not None:
        y = HEIGHT * (1 - _scale_height(allowed, top, logarithmic=True))
        line = f'<path class="allowed" d="M0,{y:.1f}H{WIDTH}"/>'
    yield f"<h2>{escaped(title)}</h2><figure>"
    yield f'<p class="axis"><span>{top:.3g}</span></p>'
    yield f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escaped(title)}">'
    yield f'{line}<polyline points="{points}"/><path class="dots" d="{dots}"/></svg>'
    yield f'<p class="axis"><span>layer 0</span><span>layer {len(values) - 1}</span></p>'
    scale = f"{what}; the last {values[-1]:.3g}, the largest {max(values):.3g}"
    bounds = "from 0" if allowed is None else f"logarithmic from {MIN_ERROR:g}; dashed: what is allowed, {allowed:g}"
    yield f"<figcaption>{escaped(scale[0].upper() + scale[1:])}. The scale is {bounds}.</figcaption></figure>"


def _scale_height(value: float, top: float, *, logarithmic: bool) -> float:
    """The height of a value in the figure, 0 to 1."""
    if not math.isfinite(value):
        return 1.0
    if not logarithmic:
        return max(0.0, value / top)
    return math.log(max(value, MIN_ERROR) / MIN_ERROR) / math.log(max(top, 10 * MIN_ERROR) / MIN_ERROR)


def draw_load(load: Sequence[Sequence[float]]) -> Iterator[str]:
    """A heat map of the load: a row for each layer, a cell for each expert."""
    if not load:
        return
    heads = "".join(f"<th>{expert}</th>" for expert in range(len(load[0])))
    yield '<h2>Load of the experts</h2><div class="wide"><table class="heat">'
    yield f"<tr><th>layer</th>{heads}</tr>"
    for layer, shares in enumerate(load):
        yield f"<tr><th>{layer}</th>{''.join(_draw_share(share, 1 / len(shares)) for share in shares)}</tr>"
    yield "</table></div><p class='note'>Share of the answers of each layer, in per cent, expert by expert. "
    yield f"An even share is {100 / len(load[0]):.3g}: blue has more, orange less, grey none at all.</p>"


def _draw_share(share: float, even: float) -> str:
    if share == 0:
        return '<td class="none">0</td>'
    strength = 100 * min(1.0, math.sqrt(abs(share - even) / even))  # small differences are the usual ones
    side = "more" if share >= even else "less"
    return f'<td class="{side}" style="--share:{strength:.0f}%">{100 * share:.0f}</td>'


def draw_text(routed: RoutedText | None) -> Iterator[str]:
    """The head of the text, each token in the colour of its heaviest expert, for up to three layers."""
    if routed is None or not routed.chosen:
        return
    last = len(routed.chosen) - 1
    yield "<h2>The text by expert</h2>"
    yield _draw_legend(routed)
    for layer in sorted({0, last // 2, last}, reverse=True):
        shown = " open" if layer == last else ""
        spans = "".join(
            _draw_piece(piece, chosen) for piece, chosen in zip(routed.pieces, routed.chosen[layer], strict=False)
        )
        yield f'<details{shown}><summary>layer {layer}</summary><p class="text">{spans}</p></details>'


def _draw_legend(routed: RoutedText) -> str:
    experts = sorted({expert for layer in routed.chosen for token in layer for expert in token})
    chips = "".join(f'<span style="--hue:{_hue(expert)}">{expert}</span>' for expert in experts[:MAX_LEGEND_COLOURS])
    more = " …" if len(experts) > MAX_LEGEND_COLOURS else ""
    return f'<p class="text legend">expert {chips}{more}</p>'


def _draw_piece(piece: str, chosen: Sequence[int]) -> str:
    words = "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}\n" if piece == NEWLINE else escaped(piece)
    title = f"experts {', '.join(map(str, chosen))}"
    return f'<span style="--hue:{_hue(chosen[0])}" title="{title}">{words}</span>'


def _hue(expert: int) -> int:
    return round(210 + GOLDEN_ANGLE * expert) % 360


def escaped(text: str) -> str:
    """Foreign text for a page: markup means nothing, and every character but a line break can be seen."""
    return escape("\n".join(map(escape_hidden, text.split("\n"))))
