"""Small files of any make end in rows, in bounded work, and never in a better verdict than the truth."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from magnetar.byte_source import ByteSource, MemorySource
from magnetar.convert.derive.check_beside import JUDGED, check_beside
from magnetar.convert.derive.release_files import ReleaseSmallFiles, architecture_of
from magnetar.convert.formats.checkpoint import Checkpoint
from magnetar.convert.formats.detect import open_path
from magnetar.convert.write.side_files import LEGAL_FILES
from magnetar.errors import LayoutError
from magnetar.manifests.checking.ledger import Row
from tests.convert.derive.conftest import LICENCE, SMALL, Copy, faults
from tests.effort import measured_effort


class MemoryFolder:
    """Files in memory."""

    name = "memory"

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self._contents = contents
        self.sizes = {name: len(content) for name, content in contents.items()}

    def open(self, name: str) -> ByteSource:
        return MemorySource(name, self._contents[name])

    def is_link(self, name: str) -> bool:
        return False


@dataclass(frozen=True, repr=False)
class Beside:
    """The small files of a copy, its checkpoint, and its layout."""

    files: dict[str, bytes]
    checkpoint: Checkpoint
    layout: str


LAYOUTS = {"hf": "hf", "mistral": "mistral", "gguf": "gguf"}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def beside(request: pytest.FixtureRequest, made: Copy) -> Beside:
    folder = made(request.param)
    weights = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".gguf"))
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path != weights}
    return Beside(files, open_path(weights), LAYOUTS[request.param])


def judge(beside: Beside, changed: Mapping[str, bytes], small: ReleaseSmallFiles = SMALL) -> tuple[Row, ...]:
    folder, names = MemoryFolder({**beside.files, **changed}), (beside.checkpoint.sources[0].name,)
    return check_beside(folder, names, beside.checkpoint, beside.layout, small, licence=LICENCE, context_length=512)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)
KNOWN = st.sampled_from(
    ["rope_theta", "rope_parameters", "model", "added_tokens", "weight_map", "moe", "bos_token", "added_tokens_decoder"]
)
DOCUMENTS = st.dictionaries(KNOWN | st.text(max_size=9), JSON, max_size=5)
CONTENTS = st.binary(max_size=60) | (JSON | DOCUMENTS).map(lambda document: json.dumps(document).encode())


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from([name for name in JUDGED if name not in LEGAL_FILES]), content=CONTENTS)
def test_no_small_file_of_any_make_is_proven_but_the_right_one(beside: Beside, name: str, content: bytes) -> None:
    """A file that belongs to another format has no row, and the caller then says that it was not checked."""
    rows = judge(beside, {name: content})
    if not any(row.file == name for row in rows):
        assert name in ("Modelfile", "model.safetensors.index.json")
        return
    right = {"special_tokens_map.json", "added_tokens.json"}  # they may be empty
    assert any(fault.startswith(f"{name}: ") for fault in faults(rows)) or (name in right and content == b"{}")


def edited(content: bytes, keys: Mapping[str, Any]) -> bytes:
    return json.dumps({**json.loads(content), **keys}).encode()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=DOCUMENTS.filter(bool))
def test_a_file_that_is_right_but_for_a_few_keys_is_not_proven(beside: Beside, keys: dict[str, Any]) -> None:
    files = beside.files
    for name in files:
        if name.endswith(".json") and edited(files[name], keys) != edited(files[name], {}):
            assert any(
                fault.startswith(f"{name}: ") for fault in faults(judge(beside, {name: edited(files[name], keys)}))
            )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(params=CONTENTS, config=CONTENTS | st.none(), tokenizer=st.binary(max_size=80) | st.none())
def test_whatever_a_manifest_holds_of_a_release_a_copy_is_judged_by_it_or_not_at_all(
    beside: Beside, params: bytes, config: bytes | None, tokenizer: bytes | None
) -> None:
    held = {"params.json": params, "config.json": config, "tokenizer.model": tokenizer}
    small = ReleaseSmallFiles({name: content for name, content in held.items() if content is not None})
    assert faults(judge(beside, {}, small))
    try:
        architecture_of(small)
    except LayoutError as error:
        assert error.message


@pytest.mark.parametrize(
    "make",
    [
        lambda size: b"[" * size,
        lambda size: b'{"a":' * (size // 5),
        lambda size: b"{" + b",".join(b'"%d":0' % number for number in range(size // 8)) + b"}",
        lambda size: b"{" + b",".join(b'"%d":0' % number for number in range(size // 8)) + b',"0":0}',
        lambda size: b'{"a":' + b"9" * size + b"}",
        lambda size: b'{"a":"' + b"\\\\ud800" * (size // 6) + b'"}',
        lambda size: b'{"added_tokens_decoder":{' + b",".join(b'"%d":0' % n for n in range(size // 8)) + b"}}",
    ],
    ids=["brackets", "objects", "keys", "twice", "digits", "surrogates", "tokens"],
)
def test_the_work_for_a_hostile_file_is_bounded(beside: Beside, make: Any) -> None:
    """Some 50 units for each of these; work with the square of a file's size would take ten thousand."""
    content = make(800_000)
    changed = dict.fromkeys(("config.json", "tokenizer.json", "tokenizer_config.json", "added_tokens.json"), content)
    with measured_effort() as effort:
        rows = judge(beside, changed)
    assert faults(rows)
    assert effort.units < 1000


def test_names_of_keys_are_foreign_text_and_stay_in_their_rows(beside: Beside, tmp_path: Path) -> None:
    rows = judge(beside, {"config.json": b'{"\\n\\u001b[31mgood: the release": "\\u202e"}'})
    (row,) = [row for row in rows if row.name.startswith("\n")]
    assert row.detail.isprintable()
