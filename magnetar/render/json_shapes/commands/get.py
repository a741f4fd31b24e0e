"""``magnetar get --json``: each step, and its result in the shape of the step's own command."""

from typing import Any

from pydantic import Field

from magnetar.render.json_shapes.base import OutcomeWord, Shape, Text
from magnetar.render.json_shapes.commands.boot import Booted
from magnetar.render.json_shapes.commands.convert import Converted
from magnetar.render.json_shapes.commands.fetch import Fetched
from magnetar.render.json_shapes.commands.verify import VerifiedFiles


class Step(Shape):
    """A step that was done: its verdict in a few words, and how long it took."""

    name: Text
    seconds: float
    verdict: Text


class Got(Shape):
    """The whole way. A step that was not asked for, or not reached, is null; ``not_done`` are those of the second kind.

    ``result`` is the folder that was wanted: the converted copy, or else the release as it was published.
    """

    outcome: OutcomeWord
    folder: Text
    result: Text
    steps: list[Step]
    not_done: list[Text]
    fetched: Fetched
    verified: VerifiedFiles | None = Field(validation_alias="report")
    converted: Converted | None
    booted: Booted | None = Field(validation_alias="boot")


RESULTS: dict[str, Any] = {"get": Got}
