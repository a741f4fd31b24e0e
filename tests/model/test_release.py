import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import torch

from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.bundled import RELEASES, bundled_release, smoke_text
from magnetar.model.run.run_facts import routing_entropy
from magnetar.model.training.corpus import Corpus, evaluate
from magnetar.model.training.pack_release import draw_box, pack_weights, write_release

FOLDER = bundled_release()


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    loaded: dict[str, torch.Tensor] = torch.load(FOLDER / "consolidated.00.pth", weights_only=True)
    return loaded


def test_the_release_holds_the_publishers_four_files_and_no_other() -> None:
    assert sorted(path.name for path in FOLDER.iterdir()) == [
        "RELEASE",
        "consolidated.00.pth",
        "params.json",
        "tokenizer.model",
    ]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 9_000_000


def test_the_box_of_the_release_notes_holds_the_md5_of_the_other_files() -> None:
    notes = (FOLDER / "RELEASE").read_text()
    assert "·· md5sum ··" in notes
    sums = {name: md5 for md5, name in re.findall(r"\b([0-9a-f]{32})\s+([\w.\-]+)", notes)}
    assert sums == {
        name: hashlib.md5((FOLDER / name).read_bytes()).hexdigest()
        for name in ("consolidated.00.pth", "params.json", "tokenizer.model")
    }


def test_the_box_is_drawn_square() -> None:
    _, *box, end = draw_box({"consolidated.00.pth": "0" * 32, "params.json": "f" * 32}).split("\n")
    assert end == ""
    assert len({len(line) for line in box}) == 1
    assert [box[0][0], box[0][-1], box[1][0], box[1][-1], box[-1][0], box[-1][-1]] == ["╓", "╖", "║", "║", "╙", "╜"]


def test_the_parameters_are_stated_with_the_publishers_keys() -> None:
    assert json.loads((FOLDER / "params.json").read_text()) == {
        "dim": 128,
        "n_layers": 4,
        "head_dim": 32,
        "hidden_dim": 256,
        "n_heads": 4,
        "n_kv_heads": 2,
        "norm_eps": 1e-5,
        "vocab_size": 1024,
        "moe": {"num_experts_per_tok": 2, "num_experts": 8},
    }


def test_the_weights_are_a_plain_dict_of_bfloat16(weights: dict[str, torch.Tensor], bundled: Mixtral) -> None:
    assert type(weights) is dict
    assert list(weights) == list(bundled.state_dict())
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert sum(weight.numel() for weight in weights.values()) == bundled.architecture.total_parameters == 3_609_728


def test_packing_the_bundled_weights_gives_the_bundled_file(weights: dict[str, torch.Tensor]) -> None:
    assert pack_weights(weights) == (FOLDER / "consolidated.00.pth").read_bytes()


def test_the_same_weights_make_the_same_release(
    weights: dict[str, torch.Tensor], bundled: Mixtral, pieces: bytes, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        write_release(tmp_path / name, weights, bundled.architecture, pieces, "notes")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_the_bundled_model_has_learned_its_language_and_uses_all_its_experts(bundled: Mixtral, pieces: bytes) -> None:
    text = smoke_text().text
    bits_per_byte, load = evaluate(bundled, Corpus(pieces, torch.empty(0), text), 512)
    assert bits_per_byte <= 1.50
    assert routing_entropy(load) >= 2.85
    assert all(share > 0 for shares in load for share in shares)
    stated = re.search(r"\*\*([\d.]+) bits per byte", (RELEASES / "MODEL_CARD.md").read_text())
    assert stated is not None
    assert float(stated[1]) == pytest.approx(bits_per_byte, abs=1e-3)


def test_the_held_out_text_is_the_end_of_six_novels() -> None:
    text = smoke_text()
    assert text.digest.hex == hashlib.sha256((RELEASES / "held-out.txt").read_bytes()).hexdigest()
    assert len(text.text.encode()) == 201_074
    assert text.text.count("FINIS") + text.text.lower().count("the end") >= 1


def test_the_picture_of_the_curve_is_a_drawing_with_a_cell_for_each_expert() -> None:
    drawing = ElementTree.parse(RELEASES / "curve.svg").getroot()
    kinds = [element.tag.rpartition("}")[2] for element in drawing.iter()]
    assert kinds.count("rect") == 1 + 4 * 8
    assert kinds.count("polyline") == 1
