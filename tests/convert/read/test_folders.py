"""Checkpoints that lie in no file of this machine: every reader works on a folder of byte sources."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magnetar.byte_source import ByteSource, FileBacked, MemorySource, SourceFolder
from magnetar.convert.read.checkpoint_source import open_folder
from magnetar.convert.read.find_weights import find_weights, name_weights
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, LayoutError, UsageError
from tests.convert.forge import MOE, random_tensors, raw, write_release


class MemoryFolder:
    """Files in memory. It counts the sources that were opened and not closed."""

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        self.name = "release"
        self.opened: list[ByteSource] = []
        self.contents = dict(contents)

    @property
    def sizes(self) -> Mapping[str, int]:
        return {name: len(content) for name, content in self.contents.items()}

    def open(self, name: str) -> ByteSource:
        if name not in self.contents:
            raise UsageError(f"{name}: there is no such file")
        source = _Counted(name, self.contents[name], self.opened)
        self.opened.append(source)
        return source

    def is_link(self, name: str) -> bool:
        return False

    def __str__(self) -> str:
        return "memory:release"


class _Counted(MemorySource):
    def __init__(self, name: str, content: bytes, opened: list[ByteSource]) -> None:
        super().__init__(name, content)
        self._opened = opened

    def close(self) -> None:
        if self in self._opened:
            self._opened.remove(self)


def load(folder: Path) -> MemoryFolder:
    """The files of a folder, without the folder."""
    return MemoryFolder({path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()})


def as_a_zip(folder: Path) -> None:
    write_release(folder, MOE)


def as_split_parts(folder: Path) -> None:
    path = write_release(folder, MOE) / "consolidated.00.pth"
    content = path.read_bytes()
    path.unlink()
    step = len(content) // 11
    for number in range(12):
        (folder / f"{path.name}-split{number}").write_bytes(content[number * step : (number + 1) * step])


def as_shards_with_an_index(folder: Path) -> None:
    convert(ConvertRequest(write_release(folder.parent / "source", MOE), folder, shard_size=5000))


def as_gguf(folder: Path) -> None:
    convert(ConvertRequest(write_release(folder.parent / "source", MOE), folder, target="gguf", shard_size=5000))


def as_two_ranks(folder: Path) -> None:
    write_release(folder, MOE)
    for number in range(2):
        shares = {}
        for name, tensor in random_tensors(MOE).items():
            word = name.split(".")[-2]
            axis = {"wo": 1, "w2": 1, "tok_embeddings": 1}.get(word, 0)
            shares[name] = (tensor if "norm" in word or word == "gate" else tensor.chunk(2, axis)[number]).clone()
        torch.save(shares, folder / f"consolidated.{number:02}.pth")


FORMS = [as_a_zip, as_split_parts, as_shards_with_an_index, as_gguf, as_two_ranks]


@pytest.mark.parametrize("write", FORMS)
def test_every_form_opens_from_a_folder_in_memory_and_is_closed(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "release")
    folder = load(tmp_path / "release")
    with open_folder(folder) as source:
        assert (source.path, source.paths) == (None, ())
        assert source.files == find_weights(folder)
        assert folder.opened
        assert not any(isinstance(opened, FileBacked) for opened in source.checkpoint.sources)
        view = view_as(source, "mistral")
        assert {name: bytes(view.read(name)) for name in view.specs} == {
            name: raw(tensor.float() if view.specs[name].dtype == "F32" else tensor)
            for name, tensor in random_tensors(MOE).items()
        }
    assert folder.opened == []


@pytest.mark.parametrize("write", FORMS)
def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "release")
    folder = load(tmp_path / "release")
    with pytest.raises(LayoutError):
        open_folder(folder, from_layout="mlx")
    assert folder.opened == []
    last = max(name_weights(folder.sizes))
    cut = MemoryFolder(folder.contents | {last: folder.contents[last][:-9]})
    with pytest.raises(CheckpointError):
        open_folder(cut)
    assert cut.opened == []


def test_a_tokenizer_is_read_from_wherever_the_weights_are(tmp_path: Path) -> None:
    (write_release(tmp_path, MOE) / "tokenizer.model").write_bytes(b"pieces")
    with open_folder(load(tmp_path)) as source:
        assert source.has_tokenizer
        assert source.read_tokenizer() == b"pieces"


def test_an_error_says_where_the_folder_is() -> None:
    folder: SourceFolder = MemoryFolder({"notes.txt": b"hello"})
    with pytest.raises(CheckpointError, match=r"^memory:release: holds no weights$"):
        open_folder(folder)


def test_shards_that_an_index_names_must_be_in_the_folder(tmp_path: Path) -> None:
    save_file(random_tensors(MOE, "hf"), tmp_path / "model-1.safetensors")
    index = {"weight_map": {"lm_head.weight": "model-2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    (tmp_path / "config.json").write_text(json.dumps(MOE.to_config("bfloat16")))
    with pytest.raises(CheckpointError, match=r"its shard model-2\.safetensors is missing") as caught:
        open_folder(load(tmp_path))
    assert caught.value.path == Path("model-2.safetensors")
