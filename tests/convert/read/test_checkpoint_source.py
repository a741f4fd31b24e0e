import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from magnetar.convert.read.checkpoint_source import open_checkpoint, open_source
from magnetar.convert.read.find_weights import name_weights
from magnetar.convert.transform.view import view_as
from magnetar.errors import CheckpointError, LayoutError, UsageError
from tests.convert.forge import MOE, Tensors, random_tensors, raw, write_release


def split(tensors: Tensors, count: int) -> list[Tensors]:
    return [dict(list(tensors.items())[start::count]) for start in range(count)]


def as_one_pth(folder: Path) -> Path:
    return write_release(folder, MOE)


def as_several_pt(folder: Path) -> Path:
    for number, tensors in enumerate(split(random_tensors(MOE), 3)):
        torch.save(tensors, folder / f"consolidated.{number:02}.pt")
    (folder / "params.json").write_text(json.dumps(MOE.to_params()))
    return folder


def as_safetensors(folder: Path) -> Path:
    save_file(random_tensors(MOE), folder / "consolidated.safetensors")
    (folder / "params.json").write_text(json.dumps(MOE.to_params()))
    return folder


def as_a_file(folder: Path) -> Path:
    return write_release(folder, MOE) / "consolidated.00.pth"


def as_a_file_with_a_configuration(folder: Path) -> Path:
    torch.save(random_tensors(MOE), folder / "weights.bin")
    (folder / "config.json").write_text(json.dumps(MOE.to_config("bfloat16")))
    return folder / "weights.bin"


@pytest.mark.parametrize(
    "write", [as_one_pth, as_several_pt, as_safetensors, as_a_file, as_a_file_with_a_configuration]
)
def test_every_form_of_a_release_opens(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    with open_source(write(tmp_path)) as source:
        assert source.layout == "mistral"
        assert source.path == tmp_path
        assert source.architecture.n_experts == 3
        view = view_as(source, "mistral")
        for name, tensor in random_tensors(MOE).items():
            assert view.read(name) == raw(tensor)


@pytest.mark.parametrize("layout", ["hf", "hf-fused"])
@pytest.mark.parametrize("shards", [1, 2])
def test_every_form_of_transformers_opens(tmp_path: Path, layout: str, shards: int) -> None:
    tensors = random_tensors(MOE, layout)
    if shards == 1:
        save_file(tensors, tmp_path / "model.safetensors")
    weight_map = {}
    for number, part in enumerate(split(tensors, shards), start=1):
        save_file(part, tmp_path / f"model-{number}.safetensors")
        weight_map |= dict.fromkeys(part, f"model-{number}.safetensors")
    if shards > 1:
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "config.json").write_text(json.dumps(MOE.to_config("bfloat16")))
    with open_source(tmp_path) as source:
        assert source.layout == layout
        assert source.architecture.context_length == 32768
        assert view_as(source, layout).read("lm_head.weight") == raw(tensors["lm_head.weight"])


def test_the_tokenizer_beside_the_weights_is_found(release: Path) -> None:
    with open_source(release) as source:
        assert not source.has_tokenizer
    (release / "tokenizer.model").write_bytes(b"x")
    with open_source(release) as source:
        assert source.has_tokenizer
        assert source.read_tokenizer() == b"x"


def test_tensors_can_be_listed_with_no_configuration(tmp_path: Path) -> None:
    torch.save({"anything": torch.zeros(3, 4)}, tmp_path / "x.pt")
    with open_checkpoint(tmp_path / "x.pt") as checkpoint:
        assert checkpoint.specs["anything"].shape == (3, 4)
        assert (checkpoint.parameters, checkpoint.nbytes, checkpoint.container) == (12, 48, "torch zip")


def test_a_layout_can_be_insisted_on(release: Path) -> None:
    with open_source(release, from_layout="mistral") as source:
        assert source.reason == "it was asked for"
    with pytest.raises(LayoutError, match=r"model\.embed_tokens\.weight is missing"):
        open_source(release, from_layout="hf")


def test_an_empty_folder_and_a_foreign_one_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no weights; it is empty") as caught:
        open_source(tmp_path)
    assert "consolidated.*.pth" in caught.value.hint
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"holds no weights$"):
        open_source(tmp_path)


def test_a_release_one_folder_down_is_pointed_at(tmp_path: Path) -> None:
    write_release(tmp_path / "mixtral", MOE)
    with pytest.raises(CheckpointError) as caught:
        open_source(tmp_path)
    assert "mixtral/ holds some" in caught.value.hint


def test_a_missing_path_is_a_wrong_request(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        open_source(tmp_path / "nowhere")


def test_weights_without_their_configuration_ask_for_it(release: Path) -> None:
    (release / "params.json").unlink()
    with pytest.raises(LayoutError, match=r"neither params\.json nor config\.json") as caught:
        open_source(release)
    assert "params.json" in caught.value.hint


def test_a_configuration_of_another_model_is_found_out(release: Path) -> None:
    params = json.loads((release / "params.json").read_text()) | {"hidden_dim": 32}
    (release / "params.json").write_text(json.dumps(params))
    with pytest.raises(LayoutError, match=r"experts\.0\.w1\.weight has shape \[24, 16\], not \[32, 16\]") as caught:
        open_source(release)
    assert caught.value.path == Path("params.json")
    assert caught.value.tensor == "layers.0.feed_forward.experts.0.w1.weight"


def test_a_tensor_in_two_files_is_named(tmp_path: Path) -> None:
    as_several_pt(tmp_path)
    torch.save({"norm.weight": torch.zeros(16)}, tmp_path / "consolidated.99.pt")
    with pytest.raises(
        CheckpointError, match=r"norm\.weight is in consolidated\.\d\d\.pt and again in consolidated\.99"
    ):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (bytes(4096), "only zeros"),
        (b"\n<!DOCTYPE html><html><body>404", "is a web page"),
        (b"<html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "is a pointer of Git LFS"),
        (b"GGUF\3\0\0\0", "ends inside of its header"),
        (b"\x80\2\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "is not whole"),
        (b"\x80\2cos\nsystem\nX\4\0\0\0echo\x85R.", "bare pickle"),
        (b"hello world", "not a checkpoint of any known kind"),
        (b"PK\3\4", "begin with a zip entry"),
    ],
)
def test_what_is_no_checkpoint_is_told_for_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "consolidated.00.pth").write_bytes(content)
    with pytest.raises(CheckpointError, match=what) as caught:
        open_checkpoint(tmp_path)
    assert caught.value.path == Path("consolidated.00.pth")


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 123456789\n"


@pytest.mark.parametrize("name", ["model.safetensors", "model.gguf", "consolidated.00.pth", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "what", "hint"),
    [
        (LFS_POINTER, "is a pointer of Git LFS", "git lfs pull"),
        (b'{"error":"Invalid username or password."}', "the error of a server", "fetch it again"),
        (b'{"code":{"a":1},"message":"b"}', "the error of a server", "fetch it again"),
        (b"Entry not found", "the error of a server", "fetch it again"),
    ],
)
def test_what_stands_in_for_weights_of_any_format_is_named_with_what_to_do(
    tmp_path: Path, name: str, content: bytes, what: str, hint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=what) as caught:
        open_checkpoint(tmp_path)
    assert hint in caught.value.hint


@pytest.mark.parametrize("content", [LFS_POINTER, b"<html>", b'{"error": "gone"}'])
def test_what_stands_in_for_an_index_or_a_configuration_is_named(release: Path, content: bytes, tmp_path: Path) -> None:
    (release / "params.json").write_bytes(content)
    with pytest.raises(LayoutError, match=r"params\.json: is a (pointer of Git LFS|web page, or the error)"):
        open_source(release)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "model.safetensors.index.json").write_bytes(content)
    (tmp_path / "index" / "model-00001-of-00002.safetensors").write_bytes(LFS_POINTER)
    with pytest.raises(LayoutError, match=r"index\.json: is a"):
        open_checkpoint(tmp_path / "index")


@pytest.mark.parametrize("content", ["", "[]", "{", '{"dim": -1}', '{"dim": "many"}', "[" * 100_000])
def test_a_configuration_that_is_none_is_refused(release: Path, content: str) -> None:
    (release / "params.json").write_text(content)
    with pytest.raises(LayoutError, match=r"params\.json") as caught:
        open_source(release)
    assert caught.value.path == Path("params.json")


def test_files_are_closed_when_opening_fails(tmp_path: Path) -> None:
    release = as_several_pt(tmp_path)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(LayoutError) as caught:  # the traceback keeps every local alive
        open_source(release, from_layout="hf")
    (release / "consolidated.02.pt").write_bytes(b"damaged")
    with pytest.raises(CheckpointError) as also_caught:
        open_source(release)
    assert len(list(Path("/proc/self/fd").iterdir())) == opened
    assert caught.tb and also_caught.tb


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["consolidated.00.pth", "params.json", "tokenizer.model", "RELEASE"], ["consolidated.00.pth"]),
        (["consolidated.00.pth-split0", "consolidated.00.pth-split10"], None),
        (["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"], None),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], ["pytorch_model-00001-of-00002.bin"]),
        (["consolidated.safetensors", "model-00001-of-00001.safetensors"], ["consolidated.safetensors"]),
        (["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"], ["model.safetensors"]),
        (["tensor00000_000", "tensor00001_000", "notes.txt"], ["tensor00000_000", "tensor00001_000"]),
        (["below/consolidated.00.pth", "README.md"], []),
    ],
)
def test_the_weights_of_a_folder_are_told_by_their_names(names: list[str], weights: list[str] | None) -> None:
    assert name_weights(names) == (names if weights is None else weights)
