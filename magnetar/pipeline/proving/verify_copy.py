"""The same weights in another format: a converted copy, proven whole against the release that it was made from.

Every set of weights is held against the digests of the release's tensors. What lies beside is derived again from the
release's small files. Whatever else is there is named as not checked.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.byte_source import LocalFolder, read_file
from magnetar.convert.compare.proof import Proof, Standing, TensorProof, prove
from magnetar.convert.derive.check_beside import check_beside
from magnetar.convert.derive.release_files import ReleaseSmallFiles, architecture_of
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import INDEX_SUFFIXES
from magnetar.convert.identify.weight_sets import WeightSet, is_looked_for, list_weight_sets, open_set
from magnetar.convert.read.checkpoint_source import AS_IS, CheckpointSource, open_source
from magnetar.convert.read.find_weights import complete_parts
from magnetar.errors import ConversionError, LayoutError, OutsideError, UsageError
from magnetar.events import Emit, ignore
from magnetar.findings import Outcome, Question
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Ledger, Means, Row, RowState, Subject, Verdict, Voucher
from magnetar.manifests.folder.layout import every_path
from magnetar.manifests.folder.loadable import is_own_state, may_be_loaded
from magnetar.manifests.hashing.digests import digest_file
from magnetar.manifests.schema import Manifest, ReleaseFile
from magnetar.manifests.small_files import small_files
from magnetar.manifests.tensor_digests import TensorDigests, load_tensor_digests
from magnetar.pipeline.folder.release_folder import ReleaseFolder

MAX_SMALL_BYTES = 32 << 20
"""Of a file of the release that others are derived from. The largest tokenizer known has 17 MB."""


@dataclass(frozen=True, slots=True)
class ProvenCopy:
    """What holding a copy against a release found: a proof for each set of weights, and a ledger of everything.

    ``release`` is the name of the manifest, ``reason`` says in words why it was chosen, and ``voucher`` by whose word
    it holds. ``manifest_digest`` is the SHA-256 of the manifest's file. ``single``: one file was named, and what lies
    beside it was not looked at.
    """

    path: str
    release: str
    reason: str
    voucher: Voucher
    proofs: tuple[Proof, ...]
    ledger: Ledger
    manifest_digest: str = ""
    single: bool = False

    question = Question.BYTES

    @property
    def outcome(self) -> Outcome:
        """That of the ledger."""
        return self.ledger.outcome

    @property
    def verdict(self) -> Verdict:
        """That of the ledger."""
        return self.ledger.verdict

    def by_word_of(self, voucher: Voucher) -> "ProvenCopy":
        """The same, by somebody else's word."""
        rows = tuple(replace(row, voucher=voucher if row.voucher else None) for row in self.ledger.rows)
        return replace(self, voucher=voucher, ledger=Ledger(rows))


def verify_copy(
    folder: ReleaseFolder,
    choice: ChosenManifest,
    *,
    reference: Path | None = None,
    strict: bool = False,
    emit: Emit = ignore,
) -> ProvenCopy:
    """Hold a copy against its release, whoever converted it.

    ``reference`` is the release itself, for the error of what was rounded or quantised. ``strict``: a file that the
    release does not derive to is wrong, and not only unchecked. Raises ``ManifestError`` where the digests of tensors
    cannot be read, ``WrongBytesError`` if the reference is not the release, and ``OutsideError`` where the folder
    cannot be listed. Whatever is wrong with the copy is in the result.
    """
    with ExitStack() as stack:
        original = stack.enter_context(open_source(reference)) if reference else None
        proofs, rows = _Examination(folder, choice, original, emit).examine(strict=strict)
    ledger = Ledger(tuple(replace(row, voucher=choice.voucher if row.means else None) for row in rows))
    return ProvenCopy(
        path=str(folder.path),
        release=choice.manifest.name,
        reason=choice.reason,
        voucher=choice.voucher,
        proofs=proofs,
        ledger=ledger,
        manifest_digest=choice.digest,
        single=not folder.is_folder,
    )


class _Examination:
    """One run over everything that a folder, or a single file of weights, holds."""

    def __init__(
        self,
        folder: ReleaseFolder,
        choice: ChosenManifest,
        reference: CheckpointSource | None,
        emit: Emit,
    ) -> None:
        self._folder = folder
        self._manifest = choice.manifest
        self._digests = read_tensor_digests(choice)
        self._reference = reference
        self._emit = emit
        self._files = LocalFolder(folder.root)
        places = [folder.root, *([reference.path] if reference and reference.path else [])]
        self._small = _read_small_files(choice.manifest, places)
        try:
            self._architecture = architecture_of(self._small)
        except LayoutError:  # of another family; then the release's tensors were digested as they are
            self._architecture = None

    def examine(self, *, strict: bool) -> tuple[tuple[Proof, ...], tuple[Row, ...]]:
        proofs: list[Proof] = []
        rows: dict[tuple[Subject, str, str], Row] = {}
        sets = self._sets()
        for weights in sets:
            proof, found = self._examine_set(weights, alone=len(sets) == 1)
            proofs += [proof] if proof else []
            for row in found:
                key = (row.subject, row.file, row.name)
                rows[key] = _worse(rows[key], row) if key in rows else row
        if self._folder.is_folder:
            judged = {row.file for row in rows.values()}
            for row in self._others(judged, RowState.WRONG if strict else RowState.NOT_CHECKED):
                rows[(row.subject, row.file, row.name)] = row
        return tuple(proofs), tuple(rows.values())

    def _sets(self) -> tuple[WeightSet, ...]:
        if self._folder.is_folder:
            return list_weight_sets(self._files)
        return (WeightSet(complete_parts(self._files, self._folder.path.name)),)

    def _examine_set(self, weights: WeightSet, *, alone: bool) -> tuple[Proof | None, list[Row]]:
        """The proof of one set, and rows for its tensors, its files, and what belongs beside it.

        A set that cannot be opened is wrong if it is ``alone``, or a runtime would look for it; else it is not checked.
        """
        as_it_is = self._digests is not None and self._digests.layout == AS_IS
        try:
            source = open_set(self._files, weights, self._architecture, as_it_is=as_it_is)
        except (ConversionError, UsageError) as error:
            known = self._digests is not None or not isinstance(error, LayoutError)
            state = RowState.WRONG if known and (alone or is_looked_for(weights.name)) else RowState.NOT_CHECKED
            detail = error.message.removeprefix(f"{weights.name}: ")
            return None, [_file_row(name, state, detail) for name in weights.files]
        except OutsideError as error:
            return None, [_file_row(name, RowState.UNREADABLE, error.message) for name in weights.files]
        with source:
            proof, tensors = self._prove(source)
            beside = check_beside(
                self._files,
                source.files,
                source.checkpoint,
                source.layout,
                self._small,
                licence=self._manifest.licence,
                context_length=self._manifest.architecture.context_length,
            )
        beside = tuple(row for row in beside if self._is_of_set(row.file, weights))
        files = list(_container_rows(weights.files, [*tensors, *beside]))
        if self._folder.is_folder:
            files = [_under_its_name(row, source.layout) for row in files]
        return proof, [*tensors, *files, *beside]

    def _is_of_set(self, file: str, weights: WeightSet) -> bool:
        """Whether a file is spoken of with this set: not the index of another, and only the set if a file was named."""
        if not self._folder.is_folder:
            return file in weights.files
        return not file.endswith(INDEX_SUFFIXES) or file in weights.indices or len(weights.files) > 1

    def _prove(self, source: CheckpointSource) -> tuple[Proof | None, list[Row]]:
        if self._digests is None:
            return None, _unproven_tensors(source.checkpoint, "the manifest has no digests of tensors")
        try:
            proof = prove(source, self._digests, reference=self._reference, emit=self._emit)
        except ConversionError as error:
            return None, _unproven_tensors(source.checkpoint, error.message)
        named = replace(proof, path=str(self._folder.root / source.files[0]))
        return named, [_tensor_row(tensor, source.files[0]) for tensor in proof.tensors]

    def _others(self, judged: set[str], unknown: RowState) -> Iterator[Row]:
        """Everything in the folder that no set of weights accounts for. ``unknown`` is what loadable files are."""
        listed = {file.path: file for file in self._manifest.files or ()}
        refused: list[str] = []
        for path in every_path(self._folder.root, refused.append):
            if is_own_state(path):
                yield _file_row(path, RowState.NOT_CHECKED, "a note that Magnetar keeps", loadable=False)
            elif path in judged:
                continue
            elif path in listed:
                yield _row_of_listed(self._folder.root / path, listed[path])
            else:
                loadable = may_be_loaded(path)
                state = unknown if loadable else RowState.NOT_CHECKED
                yield _file_row(path, state, "the release derives to no such file", loadable=loadable)
        for path in refused:
            yield _file_row(path, RowState.UNREADABLE, "is a folder that cannot be read")


def read_tensor_digests(choice: ChosenManifest) -> TensorDigests | None:
    """The digests of the release's tensors, which lie beside its manifest; None if it has none.

    Raises ``ManifestError`` if they cannot be read, or are not those that the manifest pins.
    """
    pinned = choice.manifest.tensors
    if pinned is None:
        return None
    return load_tensor_digests(choice.side_files / pinned.path, pinned.digest)


def _read_small_files(manifest: Manifest, places: Iterable[Path]) -> ReleaseSmallFiles:
    """The small files at the root of the release: those that the manifest holds, and those here with its digests."""
    digests = {file.path: file.digests for file in manifest.files or () if "/" not in file.path}
    held = {path: content for path, content in small_files(manifest).items() if "/" not in path}
    small = ReleaseSmallFiles(dict(held), None if manifest.files is None else digests)
    for place in places:
        for name in digests.keys() - held.keys():
            content = _read_small(LocalFolder(place), name)
            if content is not None and small.proves(name, content) and not small.is_weak(name):
                held[name] = content
    return replace(small, contents=held)


def _read_small(folder: LocalFolder, name: str) -> bytes | None:
    """None if there is no such file, or it is too large, or cannot be read."""
    try:
        return read_file(folder, name) if folder.sizes.get(name, MAX_SMALL_BYTES + 1) <= MAX_SMALL_BYTES else None
    except OutsideError:
        return None


def _row_of_listed(path: Path, file: ReleaseFile) -> Row:
    """A file of the release's own that lies beside the copy."""
    if not file.digests:
        return _file_row(file.path, RowState.NOT_CHECKED, "the manifest has no digest of it")
    if not path.is_file():
        return _file_row(file.path, RowState.WRONG, "is not a regular file")
    try:
        found = digest_file(path, [digest.algorithm for digest in file.digests], lambda _count: None)
    except OutsideError as error:
        return _file_row(file.path, RowState.UNREADABLE, error.message)
    if found != file.digests:
        return _file_row(file.path, RowState.WRONG, "is not the release's")
    weak = all(digest.weak for digest in file.digests)
    row = _file_row(file.path, RowState.PROVEN, "", loadable=may_be_loaded(file.path))
    return replace(row, means=Means.FILE_DIGEST, weak=weak)


STATES = {
    Standing.SAME: RowState.PROVEN,
    Standing.DIFFERENT: RowState.WRONG,
    Standing.MISSING: RowState.WRONG,
    Standing.EXTRA: RowState.WRONG,
    Standing.NOT_COMPARABLE: RowState.NOT_CHECKED,
    Standing.UNREADABLE: RowState.UNREADABLE,
}


def _tensor_row(tensor: TensorProof, file: str) -> Row:
    state = STATES[tensor.standing]
    means = Means.TENSOR_DIGEST if state is RowState.PROVEN else None
    return Row(
        subject=Subject.TENSOR,
        name=tensor.name,
        file=file,
        state=state,
        size=tensor.nbytes,
        means=means,
        detail=tensor.detail,
    )


def _unproven_tensors(checkpoint: Checkpoint, reason: str) -> list[Row]:
    return [
        Row(
            subject=Subject.TENSOR,
            name=spec.name,
            file=checkpoint.sources[spec.source].name,
            state=RowState.NOT_CHECKED,
            size=spec.nbytes,
            detail=reason,
        )
        for spec in checkpoint.specs.values()
    ]


def _container_rows(files: Iterable[str], inside: Iterable[Row]) -> Iterator[Row]:
    """A row for each file of a set: it is proven by what is in it, if all of that is."""
    names = tuple(files)
    rows = [row for row in inside if row.subject is not Subject.FILE and row.file in names]
    states = {row.state for row in rows if row.loadable or row.state is RowState.WRONG}
    if states == {RowState.PROVEN}:
        for name in names:
            yield replace(_file_row(name, RowState.PROVEN, ""), means=Means.CONTENTS)
        return
    for state in (RowState.WRONG, RowState.UNREADABLE, RowState.NOT_CHECKED):
        if state in states:
            for name in names:
                yield _file_row(name, state, f"some of what is in it is {state}")
            return


def _under_its_name(row: Row, layout: str) -> Row:
    """The row of a file of weights; not proven where no runtime would find it under its name, and take another."""
    if row.state is not RowState.PROVEN or is_looked_for(row.file, layout):
        return row
    detail = f"no runtime looks for weights in the layout {layout} under this name"
    return replace(row, state=RowState.NOT_CHECKED, means=None, detail=detail)


def _file_row(path: str, state: RowState, detail: str, *, loadable: bool = True) -> Row:
    return Row(subject=Subject.FILE, name=path, file=path, state=state, loadable=loadable, detail=detail)


ORDER = (RowState.WRONG, RowState.UNREADABLE, RowState.NOT_CHECKED, RowState.UNCHANGED, RowState.PROVEN)


def _worse(first: Row, second: Row) -> Row:
    """Of two rows on the same thing, the one that says less for it."""
    return min(first, second, key=lambda row: ORDER.index(row.state))
