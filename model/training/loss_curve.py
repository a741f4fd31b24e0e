"""The loss curve of a training run, and its picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 760, 560
LEFT, RIGHT, TOP, BOTTOM = 64, 736, 48, 320
MIN_SHOWN, MAX_SHOWN = 1.3, 2.3
"""Bits per byte at the bottom and at the top of the picture; points above are left out."""


@dataclass(frozen=True, slots=True)
class Point:
    """One evaluation during the run. ``loss`` is of training, in nats per token; the rest is of held-out text."""

    step: int
    tokens: int
    cpu_seconds: float
    loss: float
    bits_per_byte: float
    routing_entropy: float

    @property
    def line(self) -> str:
        """The point in one line of text."""
        return (
            f"step {self.step:5d}  tokens {self.tokens:9d}  cpu {self.cpu_seconds:6.0f} s  loss {self.loss:.4f}  "
            f"held-out {self.bits_per_byte:.4f} bits/byte  routing {self.routing_entropy:.3f} bits"
        )


def draw_curve(points: Sequence[Point], shares: Sequence[Sequence[float]]) -> str:
    """An SVG: held-out bits per byte over tokens seen, and below it the experts' load, one row for each layer."""
    return "\n".join((_HEAD, *_draw_axes(points[-1].tokens), _draw_line(points), *_draw_load(shares), "</svg>", ""))


_HEAD = f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>"""


def _draw_axes(tokens: int) -> list[str]:
    marks = [_text(LEFT, 28, "Bits per byte on held-out text, over tokens seen", weight="bold")]
    for tenth in range(round(MIN_SHOWN * 10), round(MAX_SHOWN * 10) + 1, 2):
        y = _height(tenth / 10)
        marks.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="#dddddd"/>')
        marks.append(_text(LEFT - 8, y + 4, f"{tenth / 10:.1f}", anchor="end"))
    for million in range(0, tokens // 1_000_000 + 1, 2):
        x = LEFT + (RIGHT - LEFT) * million * 1_000_000 / tokens
        marks.append(_text(x, BOTTOM + 20, f"{million} M", anchor="middle"))
    return marks


def _draw_line(points: Sequence[Point]) -> str:
    places = [
        f"{LEFT + (RIGHT - LEFT) * point.tokens / points[-1].tokens:.1f},{_height(point.bits_per_byte):.1f}"
        for point in points
        if point.bits_per_byte <= MAX_SHOWN
    ]
    return f'<polyline fill="none" stroke="#0b6e99" stroke-width="2" points="{" ".join(places)}"/>'


def _draw_load(shares: Sequence[Sequence[float]]) -> list[str]:
    """A cell for each expert, darker for a larger share of the answers; an even share is the middle of the scale."""
    marks = [_text(LEFT, BOTTOM + 60, "Share of the answers that each expert gives, in per cent", weight="bold")]
    for layer, row in enumerate(shares):
        y = BOTTOM + 76 + 36 * layer
        marks.append(_text(LEFT - 8, y + 21, f"layer {layer}", anchor="end"))
        width = (RIGHT - LEFT) / len(row)
        for expert, share in enumerate(row):
            x, depth = LEFT + width * expert, min(1.0, share * len(row) / 2)
            box = f'x="{x:.1f}" y="{y}" width="{width - 3:.1f}" height="33"'
            marks.append(f'<rect {box} fill="#0b6e99" fill-opacity="{depth:.2f}"/>')
            ink = "#ffffff" if depth > 0.75 else "#000000"
            marks.append(_text(x + width / 2, y + 21, f"{100 * share:.1f}", anchor="middle", fill=ink))
    return marks


def _height(bits_per_byte: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * (bits_per_byte - MIN_SHOWN) / (MAX_SHOWN - MIN_SHOWN)


def _text(x: float, y: float, text: str, anchor: str = "start", weight: str = "normal", fill: str = "#222222") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="{fill}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
