"""The release's own small files, as a manifest holds them: what everything beside the tensors is derived from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from magnetar.byte_source import SourceFolder, read_file
from magnetar.convert.derive.json_document import MAX_CONFIGURATION_BYTES, parse_object
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import CONFIG, PARAMS, TOKENIZER
from magnetar.convert.write.tokenizer_json import MAX_MODEL_BYTES
from magnetar.errors import LayoutError
from magnetar.manifests.hashing.digests import Digest, digest_bytes


@dataclass(frozen=True, slots=True)
class ReleaseSmallFiles:
    """What is known of the release's small files, by base name.

    ``contents`` are their bytes, which the caller has proven to be the release's. ``digests`` are those of all files of
    the release, also of the ones without contents; None: it is not known which files the release has. ``weak`` are the
    names of contents that nothing better than MD5 or SHA-1 proves.
    """

    contents: Mapping[str, bytes] = field(default_factory=dict)
    digests: Mapping[str, Sequence[Digest]] | None = None
    weak: frozenset[str] = frozenset()

    def lacks(self, name: str) -> bool:
        """Whether the release certainly has no such file."""
        return self.digests is not None and name not in self.digests and name not in self.contents

    def proves(self, name: str, content: bytes) -> bool | None:
        """Whether these are the bytes of the release's file of that name; None where nothing says so."""
        if name in self.contents:
            return content == self.contents[name]
        digests = (self.digests or {}).get(name, ())
        return all(digest_bytes(digest.algorithm, content) == digest for digest in digests) if digests else None

    def is_weak(self, name: str) -> bool:
        """Whether nothing better than MD5 or SHA-1 proves the release's file of that name."""
        return name in self.weak or (name not in self.contents and self._has_weak_digests(name))

    def take(self, name: str, content: bytes) -> "ReleaseSmallFiles":
        """The same with the contents of a file that its digests have just proven."""
        weak = self.weak | {name} if self._has_weak_digests(name) else self.weak
        return replace(self, contents={**self.contents, name: content}, weak=weak)

    def _has_weak_digests(self, name: str) -> bool:
        digests = (self.digests or {}).get(name, ())
        return bool(digests) and all(digest.weak for digest in digests)


def architecture_of(small: ReleaseSmallFiles) -> Architecture | None:
    """The sizes that the release's params.json states, or its config.json; None if there is neither.

    Raises ``LayoutError`` where they are of another family, or malformed.
    """
    config = parse_small(small, CONFIG)
    stated = Architecture.from_config(config) if config is not None else None
    params = parse_small(small, PARAMS)
    if params is None:
        return stated
    architecture = Architecture.from_params(params)
    if stated is not None:
        architecture = replace(architecture, context_length=stated.context_length)
        if architecture != stated:
            raise LayoutError("the release's params.json and config.json state different models", path=Path(PARAMS))
    return architecture


def parse_small(small: ReleaseSmallFiles, name: str) -> dict[str, object] | None:
    """A configuration of the release; None if it is not held. Raises ``LayoutError`` if it is malformed."""
    content = small.contents.get(name)
    if content is None:
        return None
    if len(content) > MAX_CONFIGURATION_BYTES:
        raise LayoutError(f"{name}: has {len(content):,} bytes, too many for what it should be", path=Path(name))
    return parse_object(content, name)


def add_proven_tokenizer(small: ReleaseSmallFiles, folder: SourceFolder) -> ReleaseSmallFiles:
    """The same, with the ``tokenizer.model`` of a copy where a digest says that it is the release's.

    Raises ``OutsideError``.
    """
    if TOKENIZER in small.contents or not (small.digests or {}).get(TOKENIZER):
        return small
    if folder.sizes.get(TOKENIZER, MAX_MODEL_BYTES + 1) > MAX_MODEL_BYTES:
        return small
    content = read_file(folder, TOKENIZER)
    return small.take(TOKENIZER, content) if small.proves(TOKENIZER, content) else small
