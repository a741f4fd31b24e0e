"""Where the output comes from: the record inside its files, and the note CONVERSION.md beside them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.mapping import Move
from magnetar.convert.read.checkpoint_source import CheckpointSource
from magnetar.convert.write.journal import WrittenFile
from magnetar.convert.write.plan import Plan, list_steps
from magnetar.version import __version__

NOTE = "CONVERSION.md"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the weights come from, as far as the caller knows. Texts may be foreign, and empty.

    ``proven`` counts the tensors of the source that were read in this run, and have the digests that a manifest lists;
    ``listed_in`` says in words which manifest.
    """

    release: str = ""
    licence: str = ""
    proven: int = 0
    listed_in: str = ""


def record_provenance(specs: Mapping[str, TensorSpec], moves: Iterable[Move], target: str) -> dict[str, str]:
    """Entries for the metadata of an output file: the version of this program, and digests of source and plan.

    The digest of the source is over its table of tensors, with the checksums that its container states. The digest of
    the plan is over the source's, the target, and every step.
    """
    source = _digest([(spec.name, spec.dtype, spec.shape, spec.offset, spec.seal) for spec in specs.values()])
    plan = _digest([source, target, list_steps(moves)])
    return {"magnetar.version": __version__, "magnetar.source": source, "magnetar.plan": plan}


def conversion_note(
    source: CheckpointSource, target: str, plan: Plan, provenance: Provenance, written: Mapping[str, WrittenFile]
) -> bytes:
    """``CONVERSION.md``: what was changed, as the Apache licence demands (section 4b), with digests of the result.

    It says whose weights these are as far as ``provenance`` proves that. Foreign text in it cannot become markup.
    """
    rows = [f"| {_plain(name)} | {file.size:,} | `{file.sha256}` |" for name, file in sorted(written.items())]
    lines = [
        "# What was changed",
        "",
        f"These are the weights {_describe_origin(source, provenance)}. They were converted from the layout "
        f"`{source.layout}` to `{target}` by Magnetar {__version__}.",
        "",
        f"- Tensors: {plan.tensors:,}, {plan.payload:,} bytes, {plan.dtype}. {_describe_casts(plan)}",
        f"- {plan.turned:,} of them have their rows or columns in another order, as the layout wants; the others hold "
        "the publisher's numbers in their order.",
        f"- Licence of the weights: {_plain(provenance.licence or 'not known; see the release')}.",
        f"- {_describe_proof(source, provenance)}",
        "- Text that spells a control token, such as `<s>`, is encoded as text, as by the release's own tokenizer. For "
        "chat templates that spell them out, set `split_special_tokens` to false in tokenizer_config.json.",
        "",
        "| file | bytes | SHA-256 |",
        "|---|---|---|",
        *rows,
    ]
    return ("\n".join(lines) + "\n").encode()


def _describe_origin(source: CheckpointSource, provenance: Provenance) -> str:
    if provenance.release and provenance.proven == len(source.checkpoint.specs):
        return f"of {_plain(provenance.release)}, by the word of {_plain(provenance.listed_in)}"
    taken_for = f", taken for {_plain(provenance.release)}" if provenance.release else ""
    return f"in the folder {_plain(source.folder.name)}{taken_for}"


def _describe_proof(source: CheckpointSource, provenance: Provenance) -> str:
    """Only what the run that writes this has read."""
    total, proven = len(source.checkpoint.specs), provenance.proven
    if not proven:
        return "The tensors were not compared with the digests of any manifest."
    listed = f"the digests that {_plain(provenance.listed_in)} lists"
    if proven == total:
        return f"As they were read, all {total:,} tensors of the source had {listed}."
    others = "The others were not compared."
    return f"As they were read, {proven:,} of the {total:,} tensors of the source had {listed}. {others}"


def _describe_casts(plan: Plan) -> str:
    casts = plan.casts
    if not casts:
        return "No number was rounded, dropped or added."
    return f"Written in another format: {', '.join(f'{count} from {a} to {b}' for (a, b), count in casts.items())}."


def _digest(document: object) -> str:
    return "sha256:" + hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _plain(text: str) -> str:
    """Foreign text for Markdown: one line of at most 200 characters, with everything escaped that could be markup."""
    line = "".join(character if character.isprintable() else " " for character in text)[:200]
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~&])", r"\\\1", line)
