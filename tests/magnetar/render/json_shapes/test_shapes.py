"""The declared shapes: every word and every event of the parts has a place in them, and the schemas in docs/ say so."""

import inspect
import json
import math
import runpy
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from pydantic import TypeAdapter

import magnetar.errors
from magnetar import events
from magnetar.cli.app import build_app
from magnetar.convert.compare.comparison_report import How
from magnetar.convert.compare.proof import Standing
from magnetar.findings import Finding, Outcome
from magnetar.manifests.checking.ledger import Means, RowState, Subject, Verdict, Voucher
from magnetar.manifests.checking.verify_report import FileState
from magnetar.manifests.identity.evidence import Certainty
from magnetar.manifests.schema import Manifest
from magnetar.render.json_shapes import base, documents, progress
from magnetar.render.json_shapes.commands import identify, same, verify
from magnetar.render.json_shapes.commands.manifest import Manifest as ManifestShape

ROOT = Path(__file__).parents[4]
EXPORTED: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "export_schema.py"))


def test_the_schemas_in_the_documentation_are_those_of_the_shapes() -> None:
    written = EXPORTED["all_schemas"]()
    assert {path for path in written if path.read_text() != written[path]} == set(), "run docs/export_schema.py"
    assert set((ROOT / "docs" / "json").iterdir()) <= set(written)


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "json").glob("*.json")), ids=lambda path: path.name)
def test_every_schema_is_one(path: Path) -> None:
    schema = json.loads(path.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "format 1" in schema["title"]


def test_every_command_has_a_shape() -> None:
    app = build_app()
    names = {command.name for command in app.registered_commands}
    for group in app.registered_groups:
        inner = group.typer_instance.registered_commands if group.typer_instance else []
        names |= {f"{group.name} {command.name or getattr(command.callback, '__name__', '')}" for command in inner}
    assert names - {"catalog list"} == set(documents.COMMANDS) - {"catalog"}


@pytest.mark.parametrize(
    ("words", "declared"),
    [
        (Outcome, base.OutcomeWord),
        (FileState, verify.StateWord),
        (Standing, verify.StandingWord),
        (Verdict, verify.VerdictWord),
        (Voucher, verify.VoucherWord),
        (Subject, verify.SubjectWord),
        (RowState, verify.RowStateWord),
        (Means, verify.MeansWord),
        (How, same.DifferenceWord),
        (Certainty, identify.CertaintyWord),
        (events.Step, progress.StepWord),
    ],
)
def test_every_word_of_an_enumeration_is_declared(words: type[StrEnum], declared: Any) -> None:
    assert {word.value for word in words} == set(get_args(declared))


def test_every_unit_is_declared() -> None:
    assert get_args(events.Unit) == get_args(progress.UnitWord)


def test_every_event_is_declared_with_all_of_its_fields() -> None:
    assert set(progress.SHAPES) == set(get_args(events.Event))
    assert set(progress.SHAPES.values()) == set(get_args(progress.Line))
    for event, shape in progress.SHAPES.items():
        assert {field.name for field in fields(event)} == set(shape.model_fields) - {"format", "event"}
    names = [shape.model_fields["event"].default for shape in progress.SHAPES.values()]
    assert len(set(names)) == len(names)


def test_every_fact_of_an_error_is_declared() -> None:
    errors = [error for error in vars(magnetar.errors).values() if inspect.isclass(error)]
    facts: set[str] = set()
    for error in errors:
        if issubclass(error, magnetar.errors.MagnetarError):
            facts |= set(inspect.signature(error).parameters)
    assert facts - {"message", "hint"} == set(documents.ErrorDetails.model_fields)


def test_a_manifest_is_printed_with_every_key_that_it_may_have() -> None:
    assert set(ManifestShape.model_fields) == set(Manifest.model_fields)


def test_an_event_line_is_what_its_schema_says() -> None:
    schema = json.loads((ROOT / "docs" / "json" / "progress.schema.json").read_text())
    for event in (
        events.Began(events.Step.CHECK, None),
        events.FoundWrong(Finding("missing", "a\udcff", "there is no such file")),
        events.FileSeen("a\udcff", 1, 2),
    ):
        jsonschema.validate(json.loads(progress.event_line(event)), schema)


@pytest.mark.parametrize(("number", "printed"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (1, 1.0)])
def test_numbers_that_json_cannot_hold_are_printed_as_words(number: float, printed: object) -> None:
    shape = TypeAdapter[Any](base.Number)
    assert shape.dump_python(shape.validate_python(number), mode="json") == printed
