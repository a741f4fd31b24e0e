"""What can be asked of a conversion."""

from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from magnetar.manifests.tensor_digests import TensorDigests


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """A conversion as it was asked for. Nothing in it has been checked yet."""

    source: Path
    """A folder of weights, or one checkpoint file with its configuration beside it."""

    destination: Path
    """The folder to write. It must be new, empty, or left by an earlier run of the same conversion."""

    _: KW_ONLY

    target: str = "hf"
    """What to write: a name of ``targets.TARGETS``."""

    from_layout: str | None = None
    """Insist on this layout of the source. None: the names of its tensors tell which it is."""

    shard_size: int | None = None
    """The most bytes of tensors in a file; a larger tensor has a file of its own. None: the target's own choice."""

    dtype: str | None = None
    """Write the numbers in this format, such as ``"f16"``. None: keep them as they are, where the target can."""

    allow_overflow: bool = False
    """Let numbers become infinite that are too large for ``dtype``. Else they are an error."""

    context_length: int | None = None
    """The model's longest context in tokens, for its configuration. None: what the source says, if it does."""

    licence: str = ""
    """The SPDX name of the weights' licence, as far as the caller knows it."""

    release: str = ""
    """The name of the release that the source is, as far as the caller knows it."""

    tensors: TensorDigests | None = None
    """The digests that the release's tensors must have. They are compared where the source has the release's layout."""

    listed_in: str = ""
    """In words, the manifest that lists ``tensors``, and whose word it is."""

    verify: bool = True
    """Read the output back from the disk, and compare every tensor with the source."""

    check: bool = True
    """Check the source's own checksums and ``tensors``, and take digests of what is written.

    Without, the kernel can copy; but a file without a digest never counts as done, and the next run writes it again.
    """
