"""The face of the library: a release that somebody published, and a copy of one on this machine.

::

    from magnetar import Release

    here = Release("mixtral-8x7b-v0.1").fetch("/data")
    print(here.verify().outcome)        # good, bad or unknown
    here.convert("hf")
    print(here.boot().healthy)

Each method does what the command of its name does, and returns the same frozen result. Nothing is printed: pass
``emit`` to hear of progress. Parts are imported when a method needs them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.events import Emit, ignore

if TYPE_CHECKING:
    from magnetar.convert.compare.comparison_report import Sameness
    from magnetar.convert.write.convert import Converted
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.fetch.download.fetch_plan import FetchPlan
    from magnetar.fetch.request.options import FetchOptions
    from magnetar.manifests.checking.verify_report import VerifyReport
    from magnetar.manifests.schema import Manifest
    from magnetar.model.boot.boot_report import BootReport
    from magnetar.pipeline.inspect import SeenWeights
    from magnetar.pipeline.proving.verify_copy import ProvenCopy
    from magnetar.pipeline.repair import RepairedRelease, ReplacedRelease
    from magnetar.pipeline.target import Wanted


@dataclass(frozen=True)
class Release:
    """What somebody published, by any name that leads to it.

    ``target`` is a release of the catalog, a magnet link (a damaged one is healed), an infohash, or a ``.torrent`` file
    or its URL. ``proxy`` is that of the environment unless one is given.
    """

    target: str
    proxy: str = ""

    @cached_property
    def _wanted(self) -> "Wanted":
        from magnetar.pipeline.target import identify_target

        return identify_target(self.target, proxy=self.proxy)

    @property
    def manifest(self) -> "Manifest | None":
        """What the catalog knows of it; None if it is no release of the catalog.

        Raises ``UsageError`` for a name that nothing has, ``MagnetError`` for a link beyond healing.
        """
        return self._wanted.manifest

    def plan(self, parent: str | Path, options: "FetchOptions | None" = None, *, emit: Emit = ignore) -> "FetchPlan":
        """What ``fetch`` would do. Nothing is written. Raises what ``magnetar.pipeline.fetch.plan_release`` raises."""
        from magnetar.fetch.request.options import DEFAULT_FETCH
        from magnetar.pipeline.fetch import plan_release

        return plan_release(self._wanted, Path(parent), options or DEFAULT_FETCH, emit)

    def fetch(
        self,
        parent: str | Path,
        options: "FetchOptions | None" = None,
        *,
        use_mirrors: bool = True,
        emit: Emit = ignore,
    ) -> "LocalRelease":
        """Fetch it into ``parent/NAME``; every piece is checked. What is there already is not fetched again.

        ``use_mirrors`` asks the mirrors that the catalog lists, besides the swarm. Raises ``MetadataTimeout``,
        ``Stalled``, ``NoSpace``, ``DiskError``, ``FolderLocked``, ``TorrentError`` or ``UsageError``.
        """
        from magnetar.fetch.request.options import DEFAULT_FETCH
        from magnetar.pipeline.fetch import fetch_release

        fetched = fetch_release(self._wanted, Path(parent), options or DEFAULT_FETCH, use_mirrors, emit=emit)
        return LocalRelease(fetched.folder, fetched)


@dataclass(frozen=True)
class LocalRelease:
    """A release, or a converted copy of one, on this machine.

    ``path`` is its folder, or one file of weights. ``fetched`` is what the download was, if this process did it.
    """

    path: Path
    fetched: "Fetched | None" = None

    def verify(
        self, manifest: str | None = None, *, quick: bool = False, strict: bool = False, emit: Emit = ignore
    ) -> "VerifyReport | ProvenCopy":
        """Hold every file against its digests; of a converted copy, every tensor.

        ``manifest`` is a release of the catalog, or a file; None takes the one that fits. ``quick`` believes an earlier
        run of files that did not change. ``strict`` makes files that the release does not have wrong. Raises
        ``UsageError`` where nothing says what it should be.
        """
        from magnetar.pipeline.folder.release_folder import ReleaseFolder
        from magnetar.pipeline.verify import VerifyRequest, verify

        folder = ReleaseFolder.read(Path(self.path))
        return verify(VerifyRequest(folder=folder, named=manifest, quick=quick, strict=strict), emit)

    def repair(
        self, manifest: str | None = None, options: "FetchOptions | None" = None, *, emit: Emit = ignore
    ) -> "RepairedRelease | ReplacedRelease":
        """Fetch again only what is damaged. Raises what ``magnetar.pipeline.repair.repair_release`` raises."""
        from magnetar.fetch.request.options import DEFAULT_FETCH
        from magnetar.pipeline.folder.release_folder import require_folder
        from magnetar.pipeline.repair import RepairRequest, repair_release

        folder = require_folder(Path(self.path), hint="name the folder of a release")
        return repair_release(RepairRequest(folder=folder, named=manifest, options=options or DEFAULT_FETCH), emit)

    def convert(self, target: str, destination: str | Path | None = None, *, emit: Emit = ignore) -> "Converted":
        """Rewrite the weights as ``hf``, ``mistral``, ``gguf``, ``mlx`` or ``safetensors``, bit for bit.

        The default ``destination`` is ``PATH-TARGET``, beside the folder. Raises ``ConversionError`` for weights that
        cannot be converted, ``NoSpace``, ``DiskError`` or ``UsageError``.
        """
        from magnetar.convert.write.convert_request import ConvertRequest
        from magnetar.pipeline.convert import convert_release

        source = Path(self.path)
        place = source.with_name(f"{source.name}-{target}") if destination is None else Path(destination)
        return convert_release(ConvertRequest(source, place, target=target), emit=emit)

    def boot(self, manifest: str | None = None, *, emit: Emit = ignore) -> "BootReport":
        """Run the weights, and say whether they work. Needs the extra ``boot``.

        ``manifest`` is a release of the catalog, or a file, that says what to expect. Raises ``UsageError`` without
        torch, and ``BootError`` for what is no model that can be run.
        """
        from magnetar.model.boot.boot_request import BootRequest
        from magnetar.pipeline.boot import boot_release

        return boot_release(BootRequest(Path(self.path)), manifest=manifest, emit=emit)

    def inspect(self, *, tensors: bool = False) -> "SeenWeights":
        """What the weights hold, without running them. ``tensors`` lists every tensor."""
        from magnetar.pipeline.folder.release_folder import ReleaseFolder
        from magnetar.pipeline.inspect import inspect_weights

        return inspect_weights(ReleaseFolder.read(Path(self.path)), tensors)

    def compare(self, other: "LocalRelease", *, emit: Emit = ignore) -> "Sameness":
        """Whether both hold the same tensors, in whatever formats, and which tensors differ, and how."""
        from magnetar.pipeline.folder.release_folder import ReleaseFolder
        from magnetar.pipeline.same import compare

        return compare(ReleaseFolder.read(Path(self.path)), ReleaseFolder.read(Path(other.path)), emit)
