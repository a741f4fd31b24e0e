"""Hold everything beside the tensors of a copy against what the release's own small files become in that format."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from magnetar.byte_source import SourceFolder, read_file
from magnetar.convert.derive.check_headers import (
    check_gguf,
    check_safetensors,
    is_by_this_version,
    refuse_gguf,
)
from magnetar.convert.derive.expected_files import Expected, describe_copy, expected_legal_files, find_contexts
from magnetar.convert.derive.json_document import MAX_CONFIGURATION_BYTES, MAX_TOKENIZER_BYTES, parse_object
from magnetar.convert.derive.judge_config import judge_generation, judge_index, judge_params
from magnetar.convert.derive.judge_modelfile import judge_modelfile
from magnetar.convert.derive.judge_tokenizer import (
    describe_different_pieces,
    judge_added_pieces,
    judge_special_tokens,
    judge_tokenizer_config,
    judge_tokenizer_json,
)
from magnetar.convert.derive.judgement import Judgement, file_row, file_rows, unknown
from magnetar.convert.derive.release_config import ReleaseConfig
from magnetar.convert.derive.release_files import ReleaseSmallFiles, add_proven_tokenizer, architecture_of
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import INDEX_SUFFIXES
from magnetar.convert.read.checkpoint_source import CONFIG, PARAMS, TOKENIZER
from magnetar.convert.read.find_weights import is_gguf
from magnetar.convert.write.provenance import NOTE
from magnetar.convert.write.side_files import LEGAL_FILES
from magnetar.convert.write.tokenizer_json import MAX_MODEL_BYTES, read_vocabulary, why_not_exact
from magnetar.errors import ConversionError, LayoutError, MagnetarError, OutsideError
from magnetar.manifests.checking.ledger import Means, Row, RowState

GENERATION = "generation_config.json"
INDEX = "model" + INDEX_SUFFIXES[0]
TOKENIZER_JSON, TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
SPECIAL_TOKENS, ADDED_TOKENS = "special_tokens_map.json", "added_tokens.json"
TOKENIZER_FILES = (TOKENIZER, TOKENIZER_JSON, TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
MODELFILE = "Modelfile"
JUDGED = (
    *(CONFIG, PARAMS, GENERATION, INDEX),
    *TOKENIZER_FILES,
    MODELFILE,
    *LEGAL_FILES,
)
"""The files beside weights that ``check_beside`` may judge, by name."""

PUBLISHED_LAYOUTS = ("mistral", "mistral-fused")
MAX_MODELFILE_BYTES = 64 << 10
MAX_INDEX_BYTES = 16 << 20
NO_CONFIGURATION = "the manifest does not hold the release's params.json, nor its config.json"
NO_TENSORS = "the weights hold no tensors"
NO_TOKENIZER = "the manifest does not hold the release's tokenizer.model"
NOT_HERE = "is not here; the conversion of the release has it"

Judge = Callable[[bytes], Iterable[Judgement]]


def check_beside(
    folder: SourceFolder,
    files: tuple[str, ...],
    checkpoint: Checkpoint,
    layout: str,
    small: ReleaseSmallFiles,
    *,
    licence: str,
    context_length: int | None = None,
) -> tuple[Row, ...]:
    """Rows for every key of a configuration, for the files of ``JUDGED``, the vocabulary, and the files' metadata.

    ``files`` are the names of the weights of one set, ``checkpoint`` is what they hold, and ``layout`` the name of its
    layout. ``licence`` (SPDX) and ``context_length`` (tokens) are what the release's manifest states. The rows have no
    voucher. A file that a conversion writes, and that is not here, has a row too. What cannot be read has a row that
    says so. Files with other names have none. Raises ``OutsideError`` if the folder cannot be looked at.
    """
    by_us = is_by_this_version(checkpoint)
    shelf = _Shelf(folder, small, by_us)
    try:
        shelf = _Shelf(folder, add_proven_tokenizer(small, folder), by_us)
        rows = _check(shelf, files, checkpoint, layout, context_length)
    except OutsideError:
        # Without the tokenizer nothing is derived; the disk's fault is in the row of each file that it does not give.
        rows = _refuse(shelf, files, checkpoint, f"{TOKENIZER} cannot be read")
    except MagnetarError as error:
        rows = _refuse(shelf, files, checkpoint, f"what is held of the release is not understood: {error.message}")
    if shelf.small.is_weak(TOKENIZER):
        rows = tuple(replace(row, weak=True) if _is_of_tokenizer(row) else row for row in rows)
    return (*rows, *_check_legal_files(shelf, licence))


def _is_of_tokenizer(row: Row) -> bool:
    return row.file in TOKENIZER_FILES or row.name.startswith("tokenizer.")


class _Shelf:
    """The files beside the weights, one at a time.

    ``by_us``: the weights say that this version wrote them. Then derived files must be so byte for byte: less could not
    be told from a change that somebody made. The claim cannot make a finding better.
    """

    def __init__(self, folder: SourceFolder, small: ReleaseSmallFiles, by_us: bool) -> None:
        self.folder = folder
        self.small = small
        self.by_us = by_us

    def has(self, name: str) -> bool:
        return name in self.folder.sizes

    def examine(
        self,
        name: str,
        derived: Sequence[bytes],
        judge: Judge,
        *,
        limit: int = MAX_CONFIGURATION_BYTES,
        lost: Sequence[Judgement] = (),
        by_digest: bool = True,
    ) -> tuple[Row, ...]:
        """The rows of a file that is here: of the whole if its bytes prove it, else of its parts, by ``judge``.

        ``lost`` are keys of the release that the ``derived`` bytes do not carry. Files above ``limit`` bytes are wrong.
        Without ``by_digest``, the bytes of the release's file of that name say nothing for a copy.
        """
        size = self.folder.sizes[name]
        if size > limit:
            return (file_row(name, RowState.WRONG, size=size, detail=f"has {size:,} bytes, more than any such file"),)
        try:
            content = read_file(self.folder, name)
        except OutsideError as error:
            return (file_row(name, RowState.UNREADABLE, size=size, detail=error.message),)
        if by_digest and self.small.proves(name, content):
            weak = self.small.is_weak(name)
            return (file_row(name, RowState.PROVEN, size=size, means=Means.FILE_DIGEST, weak=weak),)
        if content in derived:
            if lost:
                return file_rows(name, size, lost)
            return (file_row(name, RowState.PROVEN, size=size, means=Means.DERIVED),)
        try:
            changed = [unknown("bytes", "are not those that this version writes")] if self.by_us and derived else []
            return file_rows(name, size, (*changed, *judge(content)))
        except (LayoutError, ConversionError) as error:
            return (file_row(name, RowState.WRONG, size=size, detail=error.message),)


def _check(
    shelf: _Shelf, files: tuple[str, ...], checkpoint: Checkpoint, layout: str, context_length: int | None
) -> tuple[Row, ...]:
    """Raises ``MagnetarError`` if what is held of the release is malformed."""
    architecture = architecture_of(shelf.small)
    if architecture is None or not checkpoint.specs:
        return _refuse(shelf, files, checkpoint, NO_TENSORS if architecture else NO_CONFIGURATION)
    contexts, variants = find_contexts(architecture, context_length)
    expected = Expected(variants, contexts, shelf.small.contents.get(TOKENIZER), describe_copy(checkpoint))
    release = ReleaseConfig(shelf.small, expected)
    rows = [
        *_check_configuration(shelf, expected, release, layout),
        *_check_index(shelf, expected),
        *_check_tokenizer(shelf, expected, release, layout),
    ]
    if not is_gguf(files):
        return (*rows, *check_safetensors(checkpoint))
    knows_tokenizer = expected.tokenizer is not None or shelf.small.lacks(TOKENIZER)
    rows += check_gguf(checkpoint, expected, release.lost, knows_tokenizer)
    if shelf.has(MODELFILE):
        judge = partial(judge_modelfile, weights=files[0], contexts=contexts)
        rows += shelf.examine(MODELFILE, expected.modelfiles(files[0]), judge, limit=MAX_MODELFILE_BYTES)
    elif shelf.has(TOKENIZER) or shelf.has(NOTE):
        rows.append(file_row(MODELFILE, RowState.NOT_CHECKED, detail=NOT_HERE))
    return tuple(rows)


def _refuse(shelf: _Shelf, files: tuple[str, ...], checkpoint: Checkpoint, reason: str) -> tuple[Row, ...]:
    """The rows where nothing can be derived: only the release's own bytes prove a file."""
    rows: list[Row] = []
    for name in JUDGED:
        if shelf.has(name) and name not in LEGAL_FILES:
            rows += shelf.examine(name, (), lambda _: [unknown("contents", reason)], limit=MAX_TOKENIZER_BYTES)
    return (*rows, *(refuse_gguf(checkpoint, reason) if is_gguf(files) else check_safetensors(checkpoint)))


def _check_configuration(shelf: _Shelf, expected: Expected, release: ReleaseConfig, layout: str) -> Iterator[Row]:
    derived = expected.transformers
    published = layout in PUBLISHED_LAYOUTS
    if shelf.has(CONFIG):
        judge = partial(_judging(CONFIG), partial(release.judge_config, states_dtype=layout != "gguf"))
        yield from shelf.examine(CONFIG, [each[CONFIG] for each in derived], judge, lost=release.lost)
    elif not published and layout != "gguf":
        yield file_row(CONFIG, RowState.WRONG, detail="is missing")
    if shelf.has(PARAMS):
        params = expected.publisher[PARAMS]
        judge = partial(_judging(PARAMS), lambda found: judge_params(found, release.expected_params))
        yield from shelf.examine(PARAMS, [params], judge, lost=release.lost)
    elif published and not shelf.has(CONFIG):
        yield file_row(PARAMS, RowState.WRONG, detail="is missing")
    if shelf.has(GENERATION):
        wanted = parse_object(derived[0][GENERATION], GENERATION)
        judge = partial(_judging(GENERATION), lambda found: judge_generation(found, wanted | release.generation))
        yield from shelf.examine(GENERATION, [derived[0][GENERATION]], judge, lost=release.lost_generation)
    elif not published and layout != "gguf":
        yield file_row(GENERATION, RowState.NOT_CHECKED, detail=NOT_HERE)


def _check_index(shelf: _Shelf, expected: Expected) -> Iterator[Row]:
    """The index of shards, where it is about these weights, or should be there."""
    shards = set(expected.weights.places.values())
    if not all(name.endswith(".safetensors") and not name.startswith("consolidated") for name in shards):
        return
    if shelf.has(INDEX):
        derived = [files[INDEX] for files in expected.transformers if INDEX in files]
        judge = partial(_judging(INDEX), lambda found: judge_index(found, expected.weights))
        # The release's own index is right only for files that are divided as the release's are.
        yield from shelf.examine(INDEX, derived, judge, limit=MAX_INDEX_BYTES, by_digest=False)
    elif len(shards) > 1:
        yield file_row(INDEX, RowState.WRONG, detail="is missing")


def _check_tokenizer(shelf: _Shelf, expected: Expected, release: ReleaseConfig, layout: str) -> Iterator[Row]:
    small, model = shelf.small, expected.tokenizer
    is_wanted = model is not None or bool((small.digests or {}).get(TOKENIZER))
    if shelf.has(TOKENIZER):
        yield from shelf.examine(TOKENIZER, (), partial(_judge_model, small, model), limit=MAX_MODEL_BYTES)
    elif is_wanted and (layout != "gguf" or shelf.has(MODELFILE) or shelf.has(NOTE)):
        yield file_row(TOKENIZER, RowState.NOT_CHECKED, detail=NOT_HERE)
    derived = expected.transformers
    names = (TOKENIZER_JSON, TOKENIZER_CONFIG, SPECIAL_TOKENS, ADDED_TOKENS)
    if TOKENIZER_JSON not in derived[0]:
        why = _why_underivable(shelf, model)
        for name in names:
            if shelf.has(name):
                yield from shelf.examine(name, (), lambda _: [unknown("contents", why)], limit=MAX_TOKENIZER_BYTES)
        return
    document = parse_object(derived[0][TOKENIZER_JSON], TOKENIZER_JSON)
    settings = parse_object(derived[0][TOKENIZER_CONFIG], TOKENIZER_CONFIG)
    pieces = document["model"]["vocab"]
    judges: Mapping[str, Callable[[Mapping[str, Any]], Iterable[Judgement]]] = {
        TOKENIZER_JSON: lambda found: judge_tokenizer_json(found, document),
        TOKENIZER_CONFIG: lambda found: judge_tokenizer_config(found, settings, pieces, expected.contexts),
        SPECIAL_TOKENS: lambda found: judge_special_tokens(found, settings),
        ADDED_TOKENS: lambda found: judge_added_pieces(found, pieces),
    }
    for name, judge in judges.items():
        if shelf.has(name):
            contents = [files[name] for files in derived if name in files]
            limit = MAX_TOKENIZER_BYTES if name == TOKENIZER_JSON else MAX_CONFIGURATION_BYTES
            lost = release.lost_tokenizer_config(settings) if name == TOKENIZER_CONFIG else ()
            yield from shelf.examine(name, contents, partial(_judging(name), judge), limit=limit, lost=lost)
        elif name in derived[0] and layout not in (*PUBLISHED_LAYOUTS, "gguf"):
            yield file_row(name, RowState.NOT_CHECKED, detail=NOT_HERE)


def _why_underivable(shelf: _Shelf, model: bytes | None) -> str:
    if model is not None:
        return f"of the release's {TOKENIZER}, {why_not_exact(read_vocabulary(model))}"
    return f"the release has no {TOKENIZER}" if shelf.small.lacks(TOKENIZER) else NO_TOKENIZER


def _judge_model(small: ReleaseSmallFiles, release: bytes | None, content: bytes) -> Iterator[Judgement]:
    """A tokenizer.model that is not proven to be the release's. Raises ``ConversionError`` if it certainly is not."""
    if release is None and small.proves(TOKENIZER, content) is False:
        raise ConversionError(f"{TOKENIZER}: has another digest than the release's")
    if release is None:
        yield unknown("contents", f"the release has no {TOKENIZER}" if small.lacks(TOKENIZER) else NO_TOKENIZER)
        return
    fault = describe_different_pieces(read_vocabulary(content), read_vocabulary(release))
    raise ConversionError(f"{TOKENIZER}: is not the release's: it {fault}")


def _check_legal_files(shelf: _Shelf, licence: str) -> Iterator[Row]:
    """Licence and notice. No runtime loads them."""
    wanted = expected_legal_files(shelf.small, licence)
    for name in LEGAL_FILES:
        if not shelf.has(name):
            continue
        size = shelf.folder.sizes[name]
        try:
            content = read_file(shelf.folder, name) if size <= MAX_CONFIGURATION_BYTES else None
        except OutsideError as error:
            yield file_row(name, RowState.UNREADABLE, size=size, loadable=False, detail=error.message)
            continue
        if content is not None and (content == wanted.get(name) or shelf.small.proves(name, content)):
            yield file_row(name, RowState.PROVEN, size=size, means=Means.DERIVED, loadable=False)
        else:
            yield file_row(name, RowState.NOT_CHECKED, size=size, loadable=False, detail="is another text")


def _judging(name: str) -> Callable[[Callable[[Mapping[str, Any]], Iterable[Judgement]], bytes], Iterable[Judgement]]:
    """Parse a file of that name before it is judged. Raises ``LayoutError`` if it is no JSON object."""
    return lambda judge, content: judge(parse_object(content, name))
