"""``magnetar convert``: weights rewritten for another runtime."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from magnetar.cli.options.amounts import parse_amount
from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import TargetFormat

if TYPE_CHECKING:
    from magnetar.convert.write.convert_request import ConvertRequest

EXAMPLES = "Example: magnetar convert mixtral-8x7b-32kseqlen mixtral-gguf --to gguf --dtype q8_0"


@dataclass(frozen=True, slots=True)
class ConversionFlags:
    """What to write, and how thoroughly to check it."""

    to: TargetFormat = "hf"
    from_layout: Annotated[
        str | None,
        option(
            "--from-layout",
            metavar="LAYOUT",
            help="How the tensors of SRC are named: mistral, hf, … By default, it is found by their names and shapes.",
        ),
    ] = None
    dtype: Annotated[
        str | None,
        option(
            "--dtype",
            metavar="DTYPE",
            help="Write the numbers in this format: f32, f16, bf16; in GGUF also q8_0 and others (docs/convert.md). "
            "By default, they stay as they are.",
        ),
    ] = None
    allow_overflow: Annotated[
        bool, option("--allow-overflow", help="Write numbers that are too large for --dtype as infinity.")
    ] = False
    shard_size: Annotated[
        int | None,
        option(
            "--shard-size",
            parser=parse_amount,
            metavar="SIZE",
            help="Write files of at most this many bytes, like 5G. By default, as is usual for the format.",
        ),
    ] = None
    no_compare: Annotated[
        bool, option("--no-compare", help="Do not read the output back to compare it with the source.")
    ] = False
    no_check: Annotated[
        bool,
        option("--no-check", help="Do not check the checksums in SRC, and compute no digests of the output. Faster."),
    ] = False

    def request(self, source: Path, destination: Path) -> "ConvertRequest":
        """The conversion that is asked for."""
        from magnetar.convert.write.convert_request import ConvertRequest

        return ConvertRequest(
            source,
            destination,
            target=self.to,
            from_layout=self.from_layout,
            shard_size=self.shard_size,
            dtype=self.dtype,
            allow_overflow=self.allow_overflow,
            verify=not self.no_compare,
            check=not self.no_check,
        )


@flag_groups
def convert(
    conversion: ConversionFlags,
    display: DisplayFlags,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of weights, or one checkpoint file.")],
    destination: Annotated[
        Path, typer.Argument(metavar="DST", file_okay=False, help="The folder to write. It must be new or empty.")
    ],
    dry_run: Annotated[bool, option("--dry-run", help="Show what would be written, and write nothing.")] = False,
) -> None:
    """Rewrite a checkpoint for another runtime: bit for bit, without executing a pickle, in little memory."""
    from magnetar.pipeline.convert import convert_release, forecast_release
    from magnetar.render.commands.convert import draw_converted, draw_forecast

    request = conversion.request(source, destination)
    if dry_run:
        finish("convert", display, lambda _: forecast_release(request), draw_forecast)
    finish("convert", display, lambda emit: convert_release(request, emit=emit), draw_converted)
