"""``magnetar convert`` and ``magnetar inspect``: weights rewritten, and looked at."""

from pathlib import Path
from typing import Annotated

import typer

from magnetar.cli.options.shared import Showing, TargetFormat, finish, gathers, option, parse_amount

EXAMPLES = "Example: magnetar convert mixtral-8x7b-32kseqlen mixtral-gguf --to gguf --dtype q8_0"


@gathers("showing", Showing)
def convert(
    showing: Showing,
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A folder of weights, or one checkpoint file.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="The folder to write.", file_okay=False)],
    to: TargetFormat = "hf",
    from_layout: Annotated[
        str | None, option("--from-layout", metavar="LAYOUT", help="Insist on this layout of the source.")
    ] = None,
    dtype: Annotated[
        str | None, option("--dtype", metavar="DTYPE", help="Write the numbers as f32, f16, bf16, q8_0, …")
    ] = None,
    allow_overflow: Annotated[
        bool, option("--allow-overflow", help="Numbers too large for --dtype become infinite.")
    ] = False,
    shard_size: Annotated[
        int | None, option("--shard-size", parser=parse_amount, metavar="SIZE", help="Largest file, like 5G.")
    ] = None,
    dry_run: Annotated[bool, option("--dry-run", help="Show what would be written, and write nothing.")] = False,
    no_compare: Annotated[
        bool, option("--no-compare", help="Do not read the output back to compare it with the source.")
    ] = False,
    no_check: Annotated[
        bool, option("--no-check", help="Believe the source: leave its checksums and our digests out.")
    ] = False,
) -> None:
    """Rewrite a checkpoint for another runtime: bit-exact, no pickle executed, in little memory."""
    from magnetar.convert.write.convert_request import ConvertRequest
    from magnetar.pipeline.convert import convert_release, forecast_release
    from magnetar.render.convert import draw_converted, draw_forecast

    request = ConvertRequest(
        source,
        destination,
        target=to,
        from_layout=from_layout,
        shard_size=shard_size,
        dtype=dtype,
        allow_overflow=allow_overflow,
        verify=not no_compare,
        check=not no_check,
    )
    if dry_run:
        finish("convert", showing, lambda _: forecast_release(request), draw_forecast)
    finish("convert", showing, lambda emit: convert_release(request, emit=emit), draw_converted)
