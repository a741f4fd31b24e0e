"""Which release weights are, whatever lies beside them and whatever they are called."""

import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.formats.safetensors import encode_header
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.read.checkpoint_source import open_as_it_is, open_source
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.errors import MagnetarError
from magnetar.findings import Outcome
from magnetar.manifests.identity.evidence import Candidate, Certainty
from magnetar.manifests.tensor_digests import TensorDigests, format_tensor_digests
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.look_at_weights import QUICK_BYTES
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.identify import Identity, find_candidate, identify
from tests import needs
from tests.convert.forge import MOE, random_tensors, write_release
from tests.effort import measured_effort

WRITTEN = ("hf", "mistral", "gguf", "mlx")
VIEWED = ("hf-fused", "mistral-fused")
NAME = "austen-moe"
WEIGHTS = "consolidated.00.pth"
WIDE = replace(MOE, dim=64, hidden_dim=96, vocab_size=120, head_dim=16)


def look(path: Path) -> Candidate:
    candidate = find_candidate(ReleaseFolder.read(path))
    assert candidate is not None
    return candidate


def read(path: Path) -> Identity:
    return identify(ReleaseFolder.read(path), full=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The release in every layout, the weights alone, under names that say nothing."""
    place = tmp_path_factory.mktemp("copies")
    made = {}
    for layout in WRITTEN:
        whole = place / f"whole-{layout}"
        convert(ConvertRequest(bundled_release(), whole, target=layout, verify=False))
        made[layout] = place / layout
        made[layout].mkdir()
        weights = [path for path in sorted(whole.iterdir()) if path.suffix in (".safetensors", ".gguf")]
        for number, path in enumerate(weights):
            shutil.copy(path, made[layout] / f"piece-{number}.dat")
    for layout in VIEWED:
        made[layout] = place / layout
        made[layout].mkdir()
        with open_source(bundled_release()) as source:
            view = view_as(source, layout)
            content = {name: bytes(view.read(name)) for name in view.specs}
            header = encode_header([view.specs[name] for name in content], {})
            (made[layout] / "x").write_bytes(header + b"".join(content.values()))
    return made


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's own part of the catalog."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    monkeypatch.setenv("MAGNETAR_CATALOG", str(folder))
    return folder


def head(name: str) -> str:
    return f'format = 1\nname = "{name}"\ntitle = "T"\npublisher = "us"\nlicence = "MIT"\n'


def digest_release(path: Path, *, slices: bool = True) -> TensorDigests:
    try:
        source = open_source(path)
    except MagnetarError:
        source = open_as_it_is(path)
    with source:
        digests = tensor_digests(source, layout=source.layout)
    return digests if slices else TensorDigests(digests.layout, digests.tensors)


def add_release(catalog: Path, name: str, digests: TensorDigests) -> None:
    content = format_tensor_digests(digests)
    (catalog / f"{name}.tensors.json").write_bytes(content)
    pinned = f'[tensors]\npath = "{name}.tensors.json"\ndigest = "sha256:{hashlib.sha256(content).hexdigest()}"\n'
    (catalog / f"{name}.toml").write_text(head(name) + pinned)


def change(path: Path, *names: str) -> None:
    """Change the numbers of tensors in a safetensors file."""
    tensors = load_file(path)
    for name in names:
        tensors[name] = tensors[name] + 1
    save_file(tensors, path)


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("layout", [*WRITTEN, *VIEWED])
def test_a_copy_without_configuration_and_names_is_found_and_proven(copies: Mapping[str, Path], layout: str) -> None:
    candidate = look(copies[layout])
    assert (candidate.release, candidate.certainty) == (NAME, Certainty.CANDIDATE)
    assert candidate.agreement.slices.agree == candidate.agreement.slices.of >= 19
    assert candidate.agreement.small.agree == candidate.agreement.small.of >= 10
    whole = read(copies[layout])
    assert (whole.release, whole.certainty, whole.share, whole.outcome) == (NAME, Certainty.IS, 1.0, Outcome.GOOD)
    assert identify(ReleaseFolder.read(copies[layout])).read < QUICK_BYTES


def test_what_lies_beside_the_weights_is_not_believed(copies: Mapping[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copies["hf"], tmp_path / "mixtral-8x7b-v0.1"))
    (folder / "config.json").write_text(json.dumps(MOE.to_config("bfloat16")))
    (folder / "params.json").write_bytes(b"\xff" * 100)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../etc/passwd"}}')
    (folder / ".magnetar").mkdir()
    (folder / ".magnetar" / "conversion.json").write_text('{"release": "mixtral-8x7b-v0.1"}')
    assert look(folder).release == NAME
    assert read(folder).certainty is Certainty.IS


def test_one_changed_tensor_is_named_with_the_share_that_agrees(copies: Mapping[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copies["hf"], tmp_path / "copy"))
    change(only_file(folder), "model.layers.2.self_attn.v_proj.weight")
    assert look(folder).certainty is Certainty.CANDIDATE
    whole = read(folder)
    assert (whole.release, whole.certainty, whole.outcome) == (NAME, Certainty.IS_NOT_QUITE, Outcome.BAD)
    (found,) = whole.sets
    assert found.proof is not None
    assert [tensor.name for tensor in found.proof.differences] == ["layers.2.attention.wv.weight"]
    assert whole.share == 1 - 64 * 128 * 2 / found.proof.total


def test_a_fine_tune_that_kept_norms_and_routers_is_related_and_no_candidate(
    copies: Mapping[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(copies["hf"], tmp_path / "copy"))
    path = only_file(folder)
    change(path, *(name for name in load_file(path) if not name.endswith(("norm.weight", "gate.weight"))))
    candidate = look(folder)
    assert (candidate.release, candidate.certainty) == (NAME, Certainty.RELATED)
    assert candidate.agreement.slices.agree == 0 < candidate.agreement.small.agree
    whole = read(folder)
    assert (whole.certainty, whole.outcome) == (Certainty.RELATED, Outcome.UNKNOWN)


def test_weights_of_the_same_shapes_are_unknown_if_nothing_agrees(copies: Mapping[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(copies["hf"], tmp_path / "copy"))
    path = only_file(folder)
    change(path, *load_file(path))
    assert find_candidate(ReleaseFolder.read(folder)) is None
    assert read(folder).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize("target", ["hf", "gguf"])
def test_a_copy_that_was_rounded_is_a_candidate_and_reading_it_whole_does_not_prove_it(
    tmp_path: Path, target: str
) -> None:
    convert(ConvertRequest(bundled_release(), tmp_path / "f16", target=target, dtype="f16", verify=False))
    candidate = look(tmp_path / "f16")
    assert (candidate.release, candidate.certainty) == (NAME, Certainty.CANDIDATE)
    assert candidate.agreement.rounded > 0
    whole = read(tmp_path / "f16")
    assert (whole.certainty, whole.outcome) == (Certainty.CANDIDATE, Outcome.UNKNOWN)


def test_a_quantised_copy_is_related_since_its_matrices_cannot_be_compared(tmp_path: Path) -> None:
    needs.package("gguf", "gguf")
    convert(ConvertRequest(bundled_release(), tmp_path / "q8", target="gguf", dtype="q8_0", verify=False))
    candidate = look(tmp_path / "q8")
    assert (candidate.release, candidate.certainty) == (NAME, Certainty.RELATED)
    assert candidate.agreement.rounded == 24
    assert candidate.agreement.small.agree == candidate.agreement.small.of > 0
    assert read(tmp_path / "q8").outcome is Outcome.UNKNOWN


def test_shards_with_any_names_are_one_model(copies: Mapping[str, Path], tmp_path: Path) -> None:
    tensors = load_file(only_file(copies["hf"]))
    names = sorted(tensors)
    random.Random(3).shuffle(names)
    names.remove("lm_head.weight")
    cut = {"one.bin": names[:40], "a file": names[40:41], "z.gguf": names[41:], "head.safetensors": ["lm_head.weight"]}
    for file, some in cut.items():
        save_file({name: tensors[name] for name in some}, tmp_path / file)
    whole = read(tmp_path)
    assert [set(found.files) for found in whole.sets] == [set(cut)]
    assert (whole.release, whole.certainty) == (NAME, Certainty.IS)


def test_every_set_of_weights_counts_since_a_runtime_may_load_any(copies: Mapping[str, Path], tmp_path: Path) -> None:
    shutil.copy(only_file(copies["gguf"]), tmp_path / "good.gguf")
    shutil.copy(only_file(copies["hf"]), tmp_path / "model.safetensors")
    assert read(tmp_path).certainty is Certainty.IS
    change(tmp_path / "model.safetensors", *load_file(tmp_path / "model.safetensors"))
    found = read(tmp_path)
    assert found.certainty is Certainty.UNKNOWN
    assert {one.files[0]: one.certainty for one in found.sets} == {
        "good.gguf": Certainty.IS,
        "model.safetensors": Certainty.UNKNOWN,
    }
    assert look(tmp_path / "good.gguf").certainty is Certainty.CANDIDATE


def test_sets_of_two_releases_are_not_known_as_one(catalog: Path, copies: Mapping[str, Path], tmp_path: Path) -> None:
    other = write_release(tmp_path / "other", WIDE)
    add_release(catalog, "other", digest_release(other))
    folder = Path(shutil.copytree(copies["gguf"], tmp_path / "both"))
    shutil.copy(other / "consolidated.00.pth", folder)
    found = identify(ReleaseFolder.read(folder))
    assert (found.release, found.certainty) == ("", Certainty.UNKNOWN)
    assert {one.best.release for one in found.sets if one.best} == {NAME, "other"}


def test_the_size_of_a_head_is_found_without_a_configuration(catalog: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", WIDE)
    add_release(catalog, "wide", digest_release(release))
    convert(ConvertRequest(release, tmp_path / "hf", target="hf", verify=False))
    (tmp_path / "hf" / "config.json").unlink()
    assert read(tmp_path / "hf").certainty is Certainty.IS
    name = "model.layers.0.self_attn.k_proj.weight"
    change(tmp_path / "hf" / "model.safetensors", name)
    (found,) = read(tmp_path / "hf").sets
    assert found.proof is not None
    assert [tensor.name for tensor in found.proof.differences] == ["layers.0.attention.wk.weight"]


def test_of_a_model_and_its_fine_tune_the_right_one_comes_first(catalog: Path, tmp_path: Path) -> None:
    tensors = random_tensors(WIDE)
    tuned = {name: tensor if "norm" in name or ".w1." in name else tensor + 1 for name, tensor in tensors.items()}
    add_release(catalog, "base", digest_release(write_release(tmp_path / "base", WIDE, tensors)))
    add_release(catalog, "tuned", digest_release(write_release(tmp_path / "tuned", WIDE, tuned)))
    for name in ("base", "tuned"):
        assert (look(tmp_path / name).release, read(tmp_path / name).certainty) == (name, Certainty.IS)


def test_of_one_release_under_two_names_the_one_that_ships_is_named(catalog: Path) -> None:
    add_release(catalog, "a-copy", digest_release(bundled_release()))
    assert look(bundled_release()).release == NAME


def test_a_release_without_slices_is_related_until_it_is_read_whole(catalog: Path, tmp_path: Path) -> None:
    release = write_release(tmp_path / "release", WIDE)
    add_release(catalog, "old", digest_release(release, slices=False))
    assert look(release).certainty is Certainty.RELATED
    assert read(release).certainty is Certainty.IS


def test_a_model_of_no_known_family_is_found_by_its_own_names(catalog: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vision"
    folder.mkdir()
    save_file({f"block.{n}.w": torch.randn(64, 64) for n in range(6)} | {"norm": torch.randn(64)}, folder / "x")
    add_release(catalog, "vision", digest_release(folder / "x"))
    assert (look(folder).release, look(folder).certainty) == ("vision", Certainty.CANDIDATE)
    assert read(folder).certainty is Certainty.IS


@pytest.mark.parametrize(("algorithm", "certainty"), [("sha256", Certainty.IS), ("md5", Certainty.CANDIDATE)])
def test_a_release_whose_tensors_nobody_digested_is_found_by_shapes_and_tokenizer_and_proven_by_files(
    catalog: Path, tmp_path: Path, algorithm: str, certainty: Certainty
) -> None:
    release = write_release(tmp_path / "release", WIDE)
    (release / "tokenizer.model").write_bytes(b"pieces" * 100)
    tokenizer, weights = (
        hashlib.new(name, (release / file).read_bytes()).hexdigest()
        for name, file in (("sha256", "tokenizer.model"), (algorithm, WEIGHTS))
    )
    (catalog / "wide.toml").write_text(
        head("wide")
        + f"[architecture]\ntotal_parameters = {WIDE.total_parameters}\nlayers = {WIDE.n_layers}\nexperts = 3\n"
        + f'[[files]]\npath = "tokenizer.model"\nsize = 600\ndigests = ["sha256:{tokenizer}"]\n'
        + f'[[files]]\npath = "consolidated.00.pth"\ndigests = ["{algorithm}:{weights}"]\n'
    )
    (release / "tokenizer.model").rename(release / "vocabulary")
    (release / WEIGHTS).rename(release / "w")
    candidate = look(release)
    assert (candidate.release, candidate.certainty) == ("wide", Certainty.ALIKE)
    assert "by shapes and tokenizer only" in candidate.describe()
    assert identify(ReleaseFolder.read(release)).outcome is Outcome.UNKNOWN
    assert read(release).certainty is certainty
    with (release / "w").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"other")
    assert read(release).certainty not in (Certainty.IS, Certainty.CANDIDATE)


def test_a_folder_without_weights_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing " * 1000)
    found = identify(ReleaseFolder.read(tmp_path))
    assert (found.sets, found.certainty, found.outcome) == ((), Certainty.UNKNOWN, Outcome.UNKNOWN)
    assert find_candidate(ReleaseFolder.read(tmp_path)) is None


def test_a_header_larger_than_what_may_be_read_is_unknown_and_the_reason_says_so(tmp_path: Path) -> None:
    tensors = "".join(
        f'"{n:0500}":{{"dtype":"F32","shape":[1],"data_offsets":[{4 * n},{4 * n + 4}]}},' for n in range(18_000)
    )
    header = ("{" + tensors[:-1] + "}").encode()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4 * 18_000))
    found = identify(ReleaseFolder.read(tmp_path))
    assert found.read <= QUICK_BYTES
    assert found.certainty is Certainty.UNKNOWN
    assert "would have to be read" in found.sets[0].reason


def test_sizes_that_a_small_header_claims_do_not_make_work(tmp_path: Path) -> None:
    hostile = replace(MOE, dim=2, n_layers=1, head_dim=2, hidden_dim=2, n_heads=1, n_kv_heads=1, n_experts=8000)
    tensors = {name: torch.rand(laid.shape) for name, laid in LAYOUTS["mlx"].tensors(hostile).items()}
    count = sum(tensor.numel() for tensor in tensors.values())
    release = open_source(bundled_release())
    wanted = release.checkpoint.parameters
    release.close()
    save_file(tensors | {"pad": torch.rand(wanted - count)}, tmp_path / "x")
    identify(ReleaseFolder.read(bundled_release()))  # what is imported at the first time is no part of the work
    with measured_effort() as effort:
        identify(ReleaseFolder.read(tmp_path), full=True)
    assert effort.units < 400


@settings(max_examples=60)
@given(st.data())
def test_whatever_a_folder_holds_the_answer_comes_and_little_is_read(
    copies: Mapping[str, Path], data: st.DataObject
) -> None:
    layout = data.draw(st.sampled_from([*WRITTEN, *VIEWED]))
    content = bytearray(only_file(copies[layout]).read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        # Headers are at the beginning, and at the end of zip files.
        position = data.draw(st.integers(0, 20_000) | st.integers(0, len(content) - 1))
        content[position : position + 8] = data.draw(st.binary(min_size=0, max_size=8))
    del content[data.draw(st.sampled_from([len(content), len(content) // 2, 700, 20])) :]
    with tempfile.TemporaryDirectory() as place:
        for name in data.draw(st.lists(st.sampled_from(["a", "b.gguf", "c-00001-of-00002.safetensors"]), min_size=1)):
            (Path(place) / name).write_bytes(content)
        folder = ReleaseFolder.read(Path(place))
        found = identify(folder)
        assert found.read <= QUICK_BYTES
        candidate = find_candidate(folder)
        assert candidate is None or candidate.release == NAME
        assert identify(folder, full=True).release in ("", NAME)


NOTES = (
    *("conversion.json", "origin.json", "release.torrent", "lock"),
    *(
        "../config.json",
        "../params.json",
        "../magnetar.toml",
        "../model.safetensors.index.json",
        "../generation_config.json",
    ),
)


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(NOTES), st.binary(max_size=300) | st.sampled_from(["austen-moe", "/etc", "x"])))
def test_no_note_changes_the_answer(copies: Mapping[str, Path], notes: dict[str, bytes | str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "folder" / ".magnetar"
        state.mkdir(parents=True)
        (state.parent / "w").symlink_to(only_file(copies["hf"]))
        for name, content in notes.items():
            forged = {key: content for key in ("release", "name", "source", "model_type") if isinstance(content, str)}
            (state / name).write_bytes(content if isinstance(content, bytes) else json.dumps(forged).encode())
        found = identify(ReleaseFolder.read(state.parent))
        assert (found.release, found.certainty) == (NAME, Certainty.CANDIDATE)
        assert [one.files for one in found.sets] == [("w",)]
