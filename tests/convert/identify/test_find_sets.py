import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magnetar.byte_source import LocalFolder
from magnetar.convert.identify.counted_folder import CountedFolder, TooMuchToRead
from magnetar.convert.identify.find_sets import find_sets
from magnetar.convert.read.find_weights import find_files


def weights(path: Path) -> None:
    save_file({"a": torch.zeros(600)}, path)


def sets(folder: Path) -> tuple[tuple[str, ...], ...]:
    return find_sets(LocalFolder(folder))


def test_files_are_known_by_their_first_bytes_and_not_by_names(tmp_path: Path) -> None:
    weights(tmp_path / "picture.png")
    torch.save({"a": torch.zeros(600)}, tmp_path / "notes.txt")
    torch.save({"a": torch.zeros(600)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    (tmp_path / "x").write_bytes(b"GGUF" + bytes(1000))
    (tmp_path / "model.safetensors").write_text("no weights at all" * 100)
    (tmp_path / "small.gguf").write_bytes(b"GGUF")
    assert sets(tmp_path) == (("notes.txt",), ("old",), ("picture.png",), ("x",))


def test_shards_ranks_and_parts_are_sets_and_models_of_their_own_are_not(tmp_path: Path) -> None:
    for name in ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "m-00001-of-00001.safetensors"):
        weights(tmp_path / name)
    for name in ("consolidated.00.pth", "consolidated.01.pth", "q4.gguf", "q8.gguf", "w.pth.part1", "w.pth.part2"):
        weights(tmp_path / name)
    assert sets(tmp_path) == (
        ("consolidated.00.pth", "consolidated.01.pth"),
        ("m-00001-of-00001.safetensors",),
        ("m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"),
        ("q4.gguf",),
        ("q8.gguf",),
        ("w.pth.part1", "w.pth.part2"),
    )


def test_what_a_runtime_would_load_is_among_the_sets(tmp_path: Path) -> None:
    weights(tmp_path / "model.safetensors")
    weights(tmp_path / "consolidated.safetensors")
    _, chosen = find_files(tmp_path)
    assert chosen in sets(tmp_path)


def test_folders_pipes_and_links_that_lead_nowhere_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "broken").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    assert sets(tmp_path) == ()


def test_a_counted_folder_counts_every_byte_and_gives_no_more_than_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    folder = CountedFolder(LocalFolder(tmp_path), 60)
    source = folder.open("x")
    source.read_into(10, memoryview(bytearray(50)))
    assert (folder.read, source.size, source.name) == (50, 100, "x")
    with pytest.raises(TooMuchToRead, match="more than 60 bytes"):
        source.read_into(0, memoryview(bytearray(11)))
    source.read_into(0, memoryview(bytearray(10)))
    assert folder.read == 60
    source.close()
