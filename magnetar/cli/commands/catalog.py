"""``magnetar catalog``: the releases that are known, and adding to them."""

from typing import Annotated, NoReturn

import typer

from magnetar.cli.options.shared import Showing, finish, gathers, option
from magnetar.cli.options.signer import Signed

app = typer.Typer(help="The releases that Magnetar knows. Alone: list them.", rich_markup_mode="rich")

Name = Annotated[str, typer.Argument(metavar="NAME", help="A release of the catalog.")]


@app.callback(invoke_without_command=True)
@gathers("showing", Showing)
def catalog(context: typer.Context, showing: Showing) -> None:
    """The releases that Magnetar knows. Alone: list them."""
    if context.invoked_subcommand is None:
        _list(showing)


@app.command("list")
@gathers("showing", Showing)
def list_releases(showing: Showing) -> None:
    """List the releases, with their sizes and licences: those that ship with Magnetar, then yours."""
    _list(showing)


def _list(showing: Showing) -> NoReturn:
    from magnetar.pipeline.catalog import list_catalog
    from magnetar.render.catalog import draw_listing

    finish("catalog", showing, lambda _: list_catalog(), draw_listing)


@app.command(epilog="Example: magnetar catalog show mixtral-8x7b-v0.1")
@gathers("showing", Showing)
def show(showing: Showing, name: Name) -> None:
    """Everything that is known of one release, and what is not."""
    from magnetar.pipeline.catalog import entry_of
    from magnetar.render.catalog import draw_entry

    finish("catalog show", showing, lambda _: entry_of(name), draw_entry)


@app.command(
    epilog="Examples: magnetar catalog add https://lab.example/my-model.toml; "
    "magnetar catalog add my-model.toml --public-key lab.pub"
)
@gathers("showing", Showing)
@gathers("signed", Signed)
def add(
    showing: Showing,
    signed: Signed,
    where: Annotated[str, typer.Argument(metavar="URL|FILE", help="A signed manifest; its signature lies beside it.")],
    proxy: Annotated[str, option("--proxy", metavar="URL", help="An HTTP proxy; else that of the environment.")] = "",
) -> None:
    """Add a signed release. Its signer is remembered. Exit 5: it is unsigned, or by another than before."""
    from magnetar.pipeline.catalog import add_release
    from magnetar.render.catalog import draw_added

    finish(
        "catalog add",
        showing,
        lambda emit: add_release(where, signed.expected(), proxy=proxy, emit=emit),
        draw_added,
    )


@app.command(epilog="Example: magnetar catalog remove my-model")
@gathers("showing", Showing)
def remove(
    showing: Showing,
    name: Name,
    forget_signer: Annotated[
        bool, option("--forget-signer", help="Believe whoever signs it next. Ask the publisher first.")
    ] = False,
) -> None:
    """Remove a release that you added. Who signed it stays remembered."""
    from magnetar.pipeline.catalog import remove_release
    from magnetar.render.catalog import draw_removed

    finish("catalog remove", showing, lambda _: remove_release(name, forget_signer=forget_signer), draw_removed)
