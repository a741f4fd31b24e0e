"""TODO-DOC."""

from pathlib import Path
from typing import Any

from magnetar.convert.write.convert import Converted, convert
from magnetar.events import Emit, ignore
from magnetar.pipeline.folder.expectations import release_of
from magnetar.pipeline.folder.release_folder import ReleaseFolder


def convert_release(
    source: Path, destination: Path, *, target: str, proven: bool = False, emit: Emit = ignore, **wish: Any
) -> Converted:
    """Convert a checkpoint, with what the catalog knows of its release: name, licence, context length.

    ``proven`` says that the source was just found to be that release: only then do its manifest's digests go into
    the record of what the output was made of. ``wish`` holds the other keywords of ``convert``.
    """
    manifest = release_of(ReleaseFolder.read(source))
    if manifest is not None:
        context = manifest.architecture.context_length
        wish |= {"context_length": context, "licence": manifest.licence, "release": manifest.name}
    if manifest is not None and proven:
        digests = {file.path: digest for file in manifest.files or () for digest in file.digests if not digest.weak}
        wish["digests"] = {path: str(digest) for path, digest in digests.items()}
    return convert(source, destination, target=target, emit=emit, **wish)
