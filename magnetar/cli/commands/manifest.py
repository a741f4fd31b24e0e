"""``magnetar manifest``: documents that say what a release is."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from magnetar.cli.options.display import DisplayFlags, finish
from magnetar.cli.options.groups import flag_groups, option
from magnetar.cli.options.shared import ManifestChoice

app = typer.Typer(
    help="Create, show, check, complete, import and export manifests: documents that say what a release is.",
    rich_markup_mode="rich",
)

Algorithms = Annotated[
    list[str],
    option(
        "--algorithm",
        "-a",
        metavar="NAME",
        help="Compute this digest of each file: md5, sha1, sha256, blake3 or bep52. Repeatable.",
    ),
]
OutputFile = Annotated[
    Path | None,
    option("--output", "-o", metavar="FILE", dir_okay=False, help="Write to this file. By default, to stdout."),
]
Named = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A manifest: a name of the catalog, or a file in TOML.")
]


@app.command(epilog="Example: magnetar manifest create my-model --publisher 'My Lab' --licence MIT -o my-model.toml")
@flag_groups
def create(
    display: DisplayFlags,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the release.")],
    name: Annotated[
        str,
        option("--name", help="The name of the release. By default, made of the folder's name."),
    ] = "",
    title: Annotated[
        str, option("--title", help="The name for people, with spaces. By default, the folder's name.")
    ] = "",
    publisher: Annotated[str, option("--publisher", help="The publisher: a person or an organisation.")] = "unknown",
    licence: Annotated[
        str, option("--licence", help="The licence, as an SPDX identifier such as Apache-2.0.")
    ] = "unknown",
    layout: Annotated[
        str | None,
        option("--layout", help="How the tensors are named: mistral, hf, … By default, the manifest does not say."),
    ] = None,
    magnet: Annotated[
        str | None,
        option("--magnet", metavar="LINK", help="The magnet link. By default, the manifest has none."),
    ] = None,
    algorithm: Algorithms = ["sha256", "blake3"],  # noqa: B006  (typer copies the default of a list)
    output: OutputFile = None,
) -> None:
    """Make the manifest of a folder: every file with its size and digests."""
    from magnetar.manifests.writing.create_manifest import ManifestFacts, plain_name
    from magnetar.pipeline.manifest import create as describe
    from magnetar.render.commands.manifest import draw_written

    facts = ManifestFacts(
        name=name or plain_name(folder.resolve().name),
        title=title or folder.resolve().name,
        publisher=publisher,
        licence=licence,
        layout=layout,
        magnet=magnet,
    )
    finish("manifest create", display, lambda emit: describe(folder, facts, algorithm, output, emit), draw_written)


@app.command(epilog="Examples: magnetar manifest show mixtral-8x7b-v0.1; magnetar manifest show magnetar.toml")
@flag_groups
def show(display: DisplayFlags, manifest: Named) -> None:
    """Show everything that a manifest says."""
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.commands.manifest import draw_manifest

    finish("manifest show", display, lambda _: load_named(manifest), draw_manifest)


@app.command(epilog="Example: magnetar manifest check magnetar.toml")
@flag_groups
def check(display: DisplayFlags, manifest: Named) -> None:
    """Say whether a manifest is well-formed, and how many of its files it can prove. Exit 3: it is malformed."""
    from magnetar.manifests.writing.create_manifest import strength_of
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.commands.manifest import draw_strength

    finish("manifest check", display, lambda _: strength_of(load_named(manifest)), draw_strength)


@app.command(epilog="Example: magnetar manifest pin mixtral-8x7b-32kseqlen -o mixtral-pinned.toml")
@flag_groups
def pin(
    display: DisplayFlags,
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="The folder of a download. It is verified first.")],
    manifest: ManifestChoice = None,
    algorithm: Algorithms = ["sha256", "blake3"],  # noqa: B006  (typer copies the default of a list)
    output: OutputFile = None,
) -> None:
    """Complete a manifest with strong digests, from a download that an MD5 or the torrent's pieces prove."""
    from magnetar.pipeline.manifest import pin_release
    from magnetar.render.commands.manifest import draw_written

    finish("manifest pin", display, lambda emit: pin_release(folder, manifest, algorithm, output, emit), draw_written)


@app.command(
    "import", epilog="Examples: magnetar manifest import SHA256SUMS; magnetar manifest import a-clone -o a.toml"
)
@flag_groups
def import_(
    display: DisplayFlags,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="PATH",
            help="A checksum file, a RELEASE file, a Git LFS pointer, or a clone of a repository with pointers.",
        ),
    ],
    output: OutputFile = None,
) -> None:
    """Make a manifest of digests that others published."""
    from magnetar.pipeline.manifest import import_release
    from magnetar.render.commands.manifest import draw_written

    finish("manifest import", display, lambda emit: import_release(source, output, emit), draw_written)


@app.command(epilog="Example: magnetar manifest tensors my-model -o my-model.tensors.json")
@flag_groups
def tensors(
    display: DisplayFlags,
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="The release: a folder of weights, or one checkpoint file.")
    ],
    output: Annotated[
        Path, option("--output", "-o", metavar="FILE", dir_okay=False, help="The file to write, in JSON.")
    ],
    layout: Annotated[
        str | None,
        option(
            "--layout",
            help="The layout that the release was published in: mistral, hf, … By default, that of PATH.",
        ),
    ] = None,
) -> None:
    """Compute a digest of every tensor, so that copies in any format can be proven. Prints lines for the manifest."""
    from magnetar.pipeline.manifest import digest_tensors
    from magnetar.render.commands.manifest import draw_tensor_digests

    finish("manifest tensors", display, lambda emit: digest_tensors(source, layout, output, emit), draw_tensor_digests)


@app.command(epilog="Example: magnetar manifest export austen-moe > SHA256SUMS; sha256sum -c SHA256SUMS")
@flag_groups
def export(
    display: DisplayFlags,
    manifest: Named,
    algorithm: Annotated[
        str,
        option("--algorithm", "-a", metavar="NAME", help="Export these digests: md5, sha1, sha256, blake3 or bep52."),
    ] = "sha256",
    form: Annotated[
        Literal["gnu", "bsd", "lfs", "cyclonedx"],
        option(
            "--format",
            help="gnu: lines as of sha256sum; bsd: lines that name their algorithm; lfs: Git LFS pointers in --dir; "
            "cyclonedx: a bill of materials (CycloneDX 1.6, JSON) with all digests. Needs magnetar\\[bom].",
        ),
    ] = "gnu",
    folder: Annotated[
        Path | None,
        option("--dir", "-d", file_okay=False, help="With --format lfs: the folder to write. It must be new or empty."),
    ] = None,
) -> None:
    """Write a manifest's digests as a checksum file or Git LFS pointers, or all of it as a bill of materials."""
    from magnetar.manifests.checksum_lists import write_checksums
    from magnetar.manifests.writing.lfs_pointers import export_pointers
    from magnetar.pipeline.folder.named_manifest import load_named
    from magnetar.render.commands.manifest import draw_text

    if (form == "lfs") != (folder is not None):
        raise typer.BadParameter("--format lfs writes one pointer for each file, and needs --dir; nothing else does")

    def work(_emit: object) -> str:
        if form == "cyclonedx":
            from magnetar.manifests.outward.bill_of_materials import to_cyclonedx

            return to_cyclonedx(load_named(manifest))
        files = load_named(manifest).files or ()
        if folder is not None:
            return "\n".join(export_pointers(files, folder))
        return write_checksums(files, algorithm, tagged=form == "bsd")

    finish("manifest export", display, work, draw_text)
