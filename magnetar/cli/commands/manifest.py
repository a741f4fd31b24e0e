"""``magnetar manifest``: say what a release is."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from magnetar.cli.options.shared import ManifestChoice, Showing, finish, gathers, option

app = typer.Typer(
    help="Say what a release is: create, show, check, pin, import, export manifests.", rich_markup_mode="rich"
)

Algorithms = Annotated[
    list[str], option("--algorithm", "-a", metavar="NAME", help="md5, sha1, sha256, blake3 or bep52. Repeatable.")
]
Output = Annotated[Path | None, option("--output", "-o", help="Write there, not to stdout.", dir_okay=False)]
Named = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A release of the catalog, or a manifest.")]


@app.command(epilog="Example: magnetar manifest create my-model --publisher 'My Lab' --licence MIT -o my-model.toml")
@gathers("showing", Showing)
def create(
    showing: Showing,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the release.")],
    name: Annotated[str, option("--name", help="Its name; the default is that of the folder.")] = "",
    title: Annotated[str, option("--title", help="Its name as people say it.")] = "",
    publisher: Annotated[str, option("--publisher", help="Who publishes it.")] = "unknown",
    licence: Annotated[str, option("--licence", help="An SPDX identifier, such as Apache-2.0.")] = "unknown",
    layout: Annotated[str | None, option("--layout", help="How its tensors are named: mistral, hf, …")] = None,
    magnet: Annotated[str | None, option("--magnet", help="Its magnet link.")] = None,
    algorithm: Algorithms = ["sha256", "blake3"],  # noqa: B006  (typer copies the default of a list)
    output: Output = None,
) -> None:
    """Describe a folder: every file with its size and digests."""
    from magnetar.manifests.writing.create import plain_name
    from magnetar.pipeline.manifest import create as describe
    from magnetar.render.manifest import draw_written

    facts: dict[str, Any] = {
        "name": name or plain_name(folder.resolve().name),
        "title": title or folder.resolve().name,
        "publisher": publisher,
    }
    facts |= {"licence": licence, "layout": layout, "magnet": magnet}
    finish("manifest create", showing, lambda emit: describe(folder, facts, algorithm, output, emit), draw_written)


@app.command(epilog="Examples: magnetar manifest show mixtral-8x7b-v0.1; magnetar manifest show magnetar.toml")
@gathers("showing", Showing)
def show(showing: Showing, manifest: Named) -> None:
    """Everything that a manifest says."""
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.manifest import draw_manifest

    finish("manifest show", showing, lambda _: load_named(manifest), draw_manifest)


@app.command(epilog="Example: magnetar manifest check magnetar.toml")
@gathers("showing", Showing)
def check(showing: Showing, manifest: Named) -> None:
    """Whether a manifest is well-formed, and what it can prove. Exit 3: it is malformed."""
    from magnetar.manifests.writing.create import Strength, strength_of
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.manifest import draw_strength

    def work(_emit: object) -> Strength:
        return strength_of(load_named(manifest))

    finish("manifest check", showing, work, draw_strength)


@app.command(epilog="Example: magnetar manifest pin mixtral-8x7b-32kseqlen -o mixtral-pinned.toml")
@gathers("showing", Showing)
def pin(
    showing: Showing,
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a proven download.")],
    manifest: ManifestChoice = None,
    algorithm: Algorithms = ["sha256", "blake3"],  # noqa: B006
    output: Output = None,
) -> None:
    """Add the digests of a download that was proven by other means, such as an MD5 or its pieces."""
    from magnetar.pipeline.manifest import pin_release
    from magnetar.render.manifest import draw_written

    finish("manifest pin", showing, lambda emit: pin_release(folder, manifest, algorithm, output, emit), draw_written)


@app.command(
    "import", epilog="Examples: magnetar manifest import SHA256SUMS; magnetar manifest import a-clone -o a.toml"
)
@gathers("showing", Showing)
def import_(
    showing: Showing,
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="A checksum file, a RELEASE, a Git LFS pointer, or a clone of those.")
    ],
    output: Output = None,
) -> None:
    """Make a manifest of digests that others wrote down."""
    from magnetar.pipeline.manifest import import_release
    from magnetar.render.manifest import draw_written

    finish("manifest import", showing, lambda emit: import_release(source, output, emit), draw_written)


@app.command(epilog="Example: magnetar manifest tensors my-model -o my-model.tensors.json")
@gathers("showing", Showing)
def tensors(
    showing: Showing,
    source: Annotated[Path, typer.Argument(metavar="PATH", help="The release: a folder of weights, or a file.")],
    output: Annotated[Path, option("--output", "-o", help="The file to write.", dir_okay=False)],
    layout: Annotated[
        str | None, option("--layout", help="How the release names its tensors; the default is what is found.")
    ] = None,
) -> None:
    """Digest every tensor, so that copies in any format can be proven; say which lines go into the manifest."""
    from magnetar.pipeline.manifest import digest_tensors
    from magnetar.render.manifest import draw_tensor_digests

    finish("manifest tensors", showing, lambda emit: digest_tensors(source, layout, output, emit), draw_tensor_digests)


@app.command(epilog="Example: magnetar manifest export austen-moe > SHA256SUMS; sha256sum -c SHA256SUMS")
@gathers("showing", Showing)
def export(
    showing: Showing,
    manifest: Named,
    algorithm: Annotated[str, option("--algorithm", "-a", metavar="NAME", help="Which digests.")] = "sha256",
    form: Annotated[
        Literal["gnu", "bsd", "lfs"], option("--format", help="As sha256sum writes them, tagged, or Git LFS pointers.")
    ] = "gnu",
    folder: Annotated[
        Path | None, option("--dir", "-d", file_okay=False, help="A new folder for the pointers of Git LFS.")
    ] = None,
) -> None:
    """Write a manifest's digests as a checksum file, or as Git LFS pointers."""
    from magnetar.manifests.checksum_lists import write_checksums
    from magnetar.manifests.writing.lfs_pointers import export_pointers
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.manifest import draw_text

    if (form == "lfs") != (folder is not None):
        raise typer.BadParameter("--format lfs writes one pointer for each file, and needs --dir; nothing else does")

    def work(_emit: object) -> str:
        files = load_named(manifest).files or ()
        if folder is not None:
            return "\n".join(export_pointers(files, folder))
        return write_checksums(files, algorithm, tagged=form == "bsd")

    finish("manifest export", showing, work, draw_text)
