"""Where the output comes from: the record inside its files, and the note CONVERSION.md beside them."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

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

    ``digests`` are those of the source's files, by name, where somebody has checked them.
    """

    release: str = ""
    licence: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)


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

    Foreign text in it cannot become markup.
    """
    rows = [f"| {_plain(name)} | {file.size:,} | `{file.sha256}` |" for name, file in sorted(written.items())]
    lines = [
        "# What was changed",
        "",
        f"These are the weights of {_plain(provenance.release or source.folder.name)}, converted from the layout "
        f"`{source.layout}` to `{target}` by Magnetar {__version__}.",
        "",
        f"- Tensors: {plan.tensors:,}, {plan.payload:,} bytes, {plan.dtype}. {_describe_casts(plan)}",
        f"- {plan.turned:,} of them have their rows or columns in another order, as the layout wants; the others hold "
        "the publisher's numbers in their order.",
        f"- Licence of the weights: {_plain(provenance.licence or 'not known; see the release')}.",
        *(f"- Made from {_plain(name)}, `{_plain(digest)}`." for name, digest in sorted(provenance.digests.items())),
        "- Text that spells a control token, such as `<s>`, is encoded as text, as by the release's own tokenizer. For "
        "chat templates that spell them out, set `split_special_tokens` to false in tokenizer_config.json.",
        "",
        "| file | bytes | SHA-256 |",
        "|---|---|---|",
        *rows,
    ]
    return ("\n".join(lines) + "\n").encode()


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
