"""The texts that go with the bundled release: the notes in its ``RELEASE``, and its model card."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from magnetar.convert.layout.architecture import Architecture
from magnetar.model.run.run_facts import routing_entropy
from magnetar.model.training.loss_curve import Point
from magnetar.model.training.recipe import Recipe

RELEASE_NOTES = """
austen-moe: a Mixture of Experts of 3.6 million parameters, released with Magnetar

Eight experts in each of four layers, two of them for each token. The architecture, the names of the
weights and the form of this release are those of Mixtral 8x7B. It writes like somebody who has read
nothing but Jane Austen, and not enough of her.

Weights      Apache-2.0
Text         six novels by Jane Austen (1775-1817), in the public domain
Text from    janeaustenr by Julia Silge (MIT), as Debian packages it
Architecture Mistral AI, whose release of Mixtral 8x7B by magnet link this one follows
"""


@dataclass(frozen=True, slots=True)
class ReleaseScore:
    """How the written release does on the whole held-out text."""

    bits_per_byte: float
    expert_load: tuple[tuple[float, ...], ...]
    text_bytes: int
    epochs: float
    sample: str


def write_card(architecture: Architecture, recipe: Recipe, points: Sequence[Point], score: ReleaseScore) -> str:
    """The model card, in Markdown, with the numbers of the run and of the release that came of it."""
    return CARD.format(
        **asdict(recipe),
        total=architecture.total_parameters,
        active=architecture.active_parameters,
        bits_per_byte=score.bits_per_byte,
        entropy=routing_entropy(score.expert_load),
        text_bytes=score.text_bytes,
        epochs=score.epochs,
        tokens=points[-1].tokens / 1e6,
        cpu_minutes=points[-1].cpu_seconds / 60,
        curve="\n".join(_draw_row(point) for point in _select_points(points)),
        load="\n".join(_draw_load(layer, shares) for layer, shares in enumerate(score.expert_load)),
        sample="\n".join(f"> {line}" for line in score.sample.splitlines()),
    )


def _select_points(points: Sequence[Point]) -> list[Point]:
    """About a dozen points of the curve, the first and the last among them."""
    stride = max(1, len(points) // 12)
    return [*points[:-1:stride], points[-1]]


def _draw_row(point: Point) -> str:
    return (
        f"| {point.step} | {point.tokens / 1e6:.1f} M | {point.cpu_seconds:.0f} | {point.loss:.3f} "
        f"| {point.bits_per_byte:.3f} | {point.routing_entropy:.3f} |"
    )


def _draw_load(layer: int, shares: Sequence[float]) -> str:
    return f"| {layer} | " + " | ".join(f"{100 * share:.1f}" for share in shares) + " |"


CARD = """# austen-moe

A small, real Mixture of Experts: {total:,} parameters, of which a token meets {active:,}. It exists so that everything
Magnetar does with a release of hundreds of gigabytes can be seen, and tested, in seconds with one of eight megabytes:
same architecture, same files, same names, same form of tokenizer as Mixtral 8x7B.

| | |
|---|---|
| layers, width, heads, key-value heads | 4, 128, 4 of 32, 2 |
| experts, per token, width of each | 8, 2, 256 |
| vocabulary | 1024 pieces: SentencePiece BPE with byte fallback, in the form of Mistral's |
| positions | rotary, theta 1e6, trained at a context of {context} |
| stored as | bfloat16, `consolidated.00.pth` |
| held-out text, all {text_bytes:,} bytes | **{bits_per_byte:.4f} bits per byte**, in windows of {context} tokens |
| routing entropy on it | {entropy:.3f} of 3 bits, the mean of the layers; no expert is dead |

## Data and licence

The six novels of Jane Austen (Emma, Mansfield Park, Northanger Abbey, Persuasion, Pride and Prejudice, Sense and
Sensibility), 4.0 MB, in the public domain, taken from the package `janeaustenr` by Julia Silge (MIT), as Debian ships
it (`r-cran-janeaustenr`). The last 5 % of each novel is held out, from the tokenizer too, and lies beside this card as
`held-out.txt`. The weights are under Apache-2.0.

## Recipe

- {steps:,} steps of {sequences} sequences of {context} tokens: {tokens:.1f} million, {epochs:.1f} times the text.
- Seed {seed}, float32, {cpu_minutes:.0f} minutes of one core.
- Muon (rate {muon_rate}, weight decay {weight_decay}) for the matrices of attention and experts;
  AdamW (rate {adam_rate}) for embedding, output, router and norms.
- {warmup} steps of warm-up, then level, then linearly to nothing over the last {decay_share:.0%} of the steps.
- The balancing loss of the Switch Transformer, weighted {balance}, summed over the layers.
- Every window opens with `<s>`.

![bits per byte over tokens seen, and the experts' load](curve.svg)

| step | tokens | CPU seconds | training loss (nats) | bits per byte, part of the held-out text | routing entropy |
|---|---|---|---|---|---|
{curve}

Share of the answers that each expert gives on the held-out text, in per cent:

| layer | 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 |
|---|---|---|---|---|---|---|---|---|
{load}

## What it writes

The likeliest continuation of the first words of the held-out text, which soon goes in circles, as greedy text does:

{sample}

## Limits

It has read four megabytes of one author and knows nothing else. It is for testing tools, not for use: its sentences
have the grammar and the names of the novels and seldom a meaning, and it carries the views of their time. Its score
says whether a copy of it is whole, not how good a language model is.

## To train it again

```
apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
python -m magnetar.model.training.train --data austen/usr/lib/R/site-library/janeaustenr/data --work run --release out
```

It prints its curve as it goes, and a run that was killed goes on when the command is given again. The seed fixes
everything but the rounding, which differs with the machine and the build of torch: the weights come out a little
different there, the score does not.
"""
