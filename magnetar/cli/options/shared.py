"""Single arguments and options that several commands have, so that they are called and explained alike."""

from pathlib import Path
from typing import Annotated

import typer

from magnetar.cli.options.groups import option

TargetText = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="The release: a name of the catalog, a magnet link, an infohash, or a .torrent file or its URL.",
    ),
]
WeightsPath = Annotated[Path, typer.Argument(metavar="PATH", help="A folder of weights, or one checkpoint file.")]
ParentFolder = Annotated[
    Path,
    option("--dir", "-d", file_okay=False, help="Put the release into the folder NAME below this one."),
]
TargetFormat = Annotated[
    str,
    option("--to", metavar="FORMAT", help="Convert into this format: hf, mistral, gguf, mlx or safetensors."),
]
ManifestChoice = Annotated[
    str | None,
    option(
        "--manifest",
        "-m",
        metavar="NAME|FILE",
        help="The manifest that says what the files must be: a name of the catalog, or a file. By default it is found "
        "by the files themselves, by the content of the weights, or by what the folder is known as.",
    ),
]
