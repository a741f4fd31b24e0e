"""``magnetar catalog``: the releases that are known, and the user's own among them."""

from typing import Annotated, NoReturn

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.signer import SignerFlags

HELP = "Show the releases that Magnetar knows, and add signed ones. Without a command: list them."
app = typer.Typer(help=HELP, rich_markup_mode="rich")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of a release of the catalog.")]


@app.callback(invoke_without_command=True, epilog="Examples: magnetar catalog; magnetar catalog --json")
@flag_groups
def catalog(display: DisplayFlags, context: typer.Context) -> None:
    """Show the releases that Magnetar knows, and add signed ones. Without a command: list them."""
    if context.invoked_subcommand is None:
        _list(display)


@app.command("list", epilog="Example: magnetar catalog list")
@flag_groups
def list_releases(display: DisplayFlags) -> None:
    """List the releases with their sizes and licences: those that ship with Magnetar, then those that you added."""
    _list(display)


def _list(display: DisplayFlags) -> NoReturn:
    from magnetar.pipeline.catalog import list_catalog
    from magnetar.render.commands.catalog import draw_listing

    finish("catalog", display, lambda _: list_catalog(), draw_listing)


@app.command(epilog="Example: magnetar catalog show mixtral-8x7b-v0.1")
@flag_groups
def show(display: DisplayFlags, name: Name) -> None:
    """Show everything that is known of one release, and what is not known."""
    from magnetar.pipeline.catalog import entry_of
    from magnetar.render.commands.catalog import draw_entry

    finish("catalog show", display, lambda _: entry_of(name), draw_entry)


@app.command(
    epilog="Examples: magnetar catalog add https://lab.example/my-model.toml; "
    "magnetar catalog add my-model.toml --public-key lab.pub"
)
@flag_groups
def add(
    signer: SignerFlags,
    display: DisplayFlags,
    where: Annotated[
        str,
        typer.Argument(metavar="URL|FILE", help="A signed manifest. Its signature and side files are beside it."),
    ],
    proxy: Annotated[
        str,
        option("--proxy", metavar="URL", help="The HTTP proxy for URL. By default, that of the environment."),
    ] = "",
) -> None:
    """Add a signed release, and remember its signer. Exit 5: it is unsigned, or not signed by the same as before."""
    from magnetar.pipeline.catalog import add_release
    from magnetar.render.commands.catalog import draw_added

    finish(
        "catalog add", display, lambda emit: add_release(where, signer.expected(), proxy=proxy, emit=emit), draw_added
    )


@app.command(epilog="Example: magnetar catalog remove my-model")
@flag_groups
def remove(
    display: DisplayFlags,
    name: Name,
    forget_signer: Annotated[
        bool,
        option(
            "--forget-signer",
            help="Forget who signed it too: the next signer is then accepted, whoever it is. Ask the publisher first.",
        ),
    ] = False,
) -> None:
    """Remove a release that you added. Its signer stays remembered."""
    from magnetar.pipeline.catalog import remove_release
    from magnetar.render.commands.catalog import draw_removed

    finish("catalog remove", display, lambda _: remove_release(name, forget_signer=forget_signer), draw_removed)
