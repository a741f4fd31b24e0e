"""``magnetar boot --json``: how the weights ran; with other options, scores, a text, or a fingerprint."""

from typing import Any, Literal

from pydantic import Field, model_validator

from magnetar.render.json_shapes.base import Finding, Number, OutcomeWord, Shape, Text


class Allowance(Shape):
    """How far the weights may stray: mean KL in nats, NMSE, the share of positions that must agree, the score."""

    divergence: float
    nmse: float
    agreement: float
    score: float


class Comparison(Shape):
    """A run held against a fingerprint.

    ``divergence`` is the mean KL in nats, ``nmse`` the error of the logits, ``agreement`` the share of positions with
    the same likeliest piece. ``layer_errors`` are those of the residual stream after each layer, ``first_diverging``
    the first that is too large, or null.
    """

    divergence: Number
    nmse: Number
    agreement: Number
    layer_errors: list[Number]
    first_diverging: int | None
    allowance: Allowance


class Agreement(Shape):
    """These weights held against the answers of ``other`` to the same ``tokens`` tokens.

    ``other_dtype`` is that of most bytes of the other's weights, empty if unknown. Scores are in bits per byte, null if
    unknown. ``first_difference`` is the first position at which the likeliest pieces differ, or null.
    """

    other: Text
    other_dtype: Text = Field(validation_alias="kind")
    tokens: int
    bits_per_byte: Number | None
    other_bits_per_byte: Number | None
    first_difference: int | None
    comparison: Comparison


class Level(Shape):
    """One of the levels, in the order in which they were asked. One that was skipped is ``unknown``; see ``remark``."""

    name: Text
    outcome: OutcomeWord
    findings: list[Finding]
    remark: Text


class Cure(Shape):
    """A known mistake that was undone: the score in bits per byte with it undone, and ``before``."""

    name: Text
    advice: Text
    bits_per_byte: Number
    before: Number | None


class Diagnosis(Shape):
    """The cures that were tried. ``cure`` restores the score; if none does, ``nearest`` comes closest."""

    cure: Cure | None
    tried: list[Text]
    nearest: Cure | None


class RoutedText(Shape):
    """The tokens at the head of the text, and the experts that answered: ``chosen`` by layer and token."""

    pieces: list[Text]
    chosen: list[list[list[int]]]


class Booted(Shape):
    """The verdict on weights that were run, and what it rests on. What was not measured is null, empty or 0.

    ``reasons`` say why the weights are not healthy. ``bits_per_byte`` is the score on ``tokens`` tokens, ``text_bytes``
    bytes of text; ``expected`` is the release's. ``decode_difference`` is between decoding with a cache and one full
    pass, as a share of the largest logit. ``expert_load`` has for each layer each expert's share of the answers;
    ``routing_entropy`` is in bits. ``early_bits`` and ``late_bits`` are bits per token at the first 16 and the last 64
    positions. ``residual_rms`` is after each layer. ``peak_memory`` is in bytes. ``dtype`` is that of most bytes of
    the ``files``. ``weights_digest`` is over all tensors, and the same for every exact copy in whatever layout.
    ``assumptions`` were taken as given.
    """

    # The alias is no attribute's name: ``kind`` of the result is the dtype.
    kind: Literal["boot"] = Field(default="boot", validation_alias="<constant>")
    healthy: bool
    outcome: OutcomeWord
    reasons: list[Text]
    levels: list[Level]
    bits_per_byte: Number | None
    expected: Number | None
    tokens: int
    text_bytes: int
    decode_difference: Number | None
    early_bits: Number | None
    late_bits: Number | None
    expert_load: list[list[Number]]
    routing: Text
    routing_entropy: Number | None
    residual_rms: list[Number]
    sample: Text | None
    routed_text: RoutedText | None
    golden: Comparison | None
    agreement: Agreement | None
    diagnosis: Diagnosis | None
    layout: Text
    total_parameters: int
    active_parameters: int | None
    files: list[Text]
    dtype: Text = Field(validation_alias="kind")
    weights_digest: Text = Field(validation_alias="weights")
    seconds: float
    tokens_per_second: Number
    peak_memory: int | None
    assumptions: list[Text]


class RoutingScore(Shape):
    """The score under one routing, in bits per byte; null where a logit was not finite.

    ``expert_flops`` is a multiple of what the trained routing takes. ``trained`` says that this is how the model was
    trained.
    """

    strategy: Text
    bits_per_byte: Number | None
    expert_flops: float
    tokens_per_second: Number
    trained: bool


class Routings(Shape):
    """``--routing all``: the same weights under each routing."""

    kind: Literal["routings"] = "routings"
    routings: list[RoutingScore]

    @model_validator(mode="before")
    @classmethod
    def _name_them(cls, value: Any) -> Any:
        return {"routings": value} if isinstance(value, tuple) else value


class WrittenText(Shape):
    """``--prompt``: the ``text`` of ``tokens`` tokens that the model wrote after ``prompt``, in ``seconds``."""

    kind: Literal["text"] = "text"
    prompt: Text
    text: Text
    tokens: int
    seconds: float


class WrittenFingerprint(Shape):
    """``--make-golden``: the file with the fingerprint, and its size in bytes."""

    kind: Literal["fingerprint"] = "fingerprint"
    path: Text
    size: int


RESULTS: dict[str, Any] = {"boot": Booted | Routings | WrittenText | WrittenFingerprint}
