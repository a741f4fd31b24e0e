"""``magnetar boot``, as it is typed."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.model.bundled import bundled_release, neutral_text
from magnetar.model.run import measure_run
from tests.magnetar.conftest import Run
from tests.model.compare.servers import redirect, serve

BUNDLED = bundled_release()


@pytest.fixture(autouse=True)
def short_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score a fifth of what a user's run scores of a long text; ``tests/model/boot`` scores all of that."""
    monkeypatch.setattr(measure_run, "MAX_WORK", 6_000_000_000)


def test_two_copies_of_one_release_are_shown_side_by_side(magnetar: Run, tmp_path: Path) -> None:
    convert(ConvertRequest(BUNDLED, tmp_path / "hf", target="hf"))
    done = magnetar("boot", BUNDLED, "--against", tmp_path / "hf", "--level", "structure")
    assert done.code == 0, done.err
    assert f"against {tmp_path / 'hf'}" in done.out
    assert "100.0%" in done.out
    assert "0.0001 is allowed" in done.out


def test_a_server_that_redirects_makes_exit_7_with_what_was_tested(magnetar: Run) -> None:
    with serve(redirect) as url:
        done = magnetar("boot", BUNDLED, "--against", url, "--level", "content", "--json")
    assert done.code == 7
    result = done.document["result"]
    assert [(level["name"], level["outcome"]) for level in result["levels"]] == [
        ("content", "good"),
        ("against", "unknown"),
    ]
    assert result["agreement"] is None


@pytest.mark.parametrize(
    ("other", "code"), [("ftp://host/model", 2), ("http://user:key@host", 2), ("nowhere", 2), (str(Path(__file__)), 6)]
)
def test_what_can_be_no_other_is_refused_before_anything_is_run(other: str, code: int, magnetar: Run) -> None:
    done = magnetar("boot", BUNDLED, "--against", other)
    assert done.code == code
    assert "hint:" in done.err
    assert "structure" not in done.out


def forget_origin(folder: Path) -> Path:
    """A converted copy whose notes were lost: only content says which release it is of."""
    convert(ConvertRequest(BUNDLED, folder, target="hf"))
    (folder / ".magnetar" / "conversion.json").unlink()
    return folder


def tune(folder: Path) -> Path:
    """The last bit of every norm is changed, as if they had been trained on: another model, that works as well."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    norms = {name: tensor.view(torch.int16) ^ 1 for name, tensor in tensors.items() if name.endswith("norm.weight")}
    save_file(tensors | {name: norm.view(torch.bfloat16) for name, norm in norms.items()}, path, {"format": "pt"})
    return folder


def test_a_copy_without_notes_is_held_against_the_release_that_its_content_is(magnetar: Run, tmp_path: Path) -> None:
    done = magnetar("boot", forget_origin(tmp_path / "hf"), "--level", "content", "--json")
    assert done.code == 0, done.out
    result = done.document["result"]
    assert result["expected"] == 1.3976
    assert any(line.startswith("by content: candidate of austen-moe") for line in result["assumptions"])


def test_weights_of_which_nothing_is_known_are_scored_on_the_neutral_text(magnetar: Run, tmp_path: Path) -> None:
    done = magnetar("boot", tune(forget_origin(tmp_path / "hf")), "--json")
    assert done.code == 0, done.out
    result = done.document["result"]
    assert result["text_bytes"] == len(neutral_text().text.encode())
    assert result["expected"] is None
    assert any("neutral text" in line for line in result["assumptions"])
    assert result["bits_per_byte"] > 1.6, "it was trained on novels alone"


def test_a_manifest_file_says_which_text_score_and_fingerprint_to_hold_weights_against(
    magnetar: Run, tmp_path: Path
) -> None:
    folder, golden = tune(forget_origin(tmp_path / "hf")), tmp_path / "mine.golden.safetensors"
    assert magnetar("boot", folder, "--make-golden", golden).code == 0
    digest = hashlib.sha256(golden.read_bytes()).hexdigest()
    text = neutral_text().digest
    head = 'format = 1\nname = "mine"\ntitle = "Mine"\npublisher = "me"\nlicence = "Apache-2.0"\n[smoke]\n'
    manifest = tmp_path / "mine.toml"
    for score, code in ((3.405, 0), (1.5, 7)):
        manifest.write_text(f'{head}text = "{text}"\nbits_per_byte = {score}\ngolden = "sha256:{digest}"\n')
        done = magnetar("boot", folder, "--manifest", manifest, "--no-diagnosis", "--json")
        result = done.document["result"]
        assert (done.code, result["expected"]) == (code, score), result["reasons"]
        assert result["golden"]["divergence"] < 1e-6
        assert not any("neutral text" in line for line in result["assumptions"])


def test_a_text_that_is_not_here_leaves_the_fingerprint(magnetar: Run, tmp_path: Path) -> None:
    folder = tune(forget_origin(tmp_path / "hf"))
    golden = folder / "mine.golden.safetensors"
    assert magnetar("boot", folder, "--make-golden", golden).code == 0
    manifest = tmp_path / "mine.toml"
    manifest.write_text(
        'format = 1\nname = "mine"\ntitle = "Mine"\npublisher = "me"\nlicence = "Apache-2.0"\n[smoke]\n'
        f'text = "sha256:{"0" * 64}"\nbits_per_byte = 1.5\n'
        f'golden = "sha256:{hashlib.sha256(golden.read_bytes()).hexdigest()}"\n'
    )
    result = magnetar("boot", folder, "--manifest", manifest, "--json").document["result"]
    assert result["expected"] is None
    assert result["golden"]["divergence"] < 1e-6


def test_the_neutral_text_is_long_enough_and_ships_as_it_is() -> None:
    text = neutral_text().text
    assert len(text.encode()) > 5000, "a Mistral needs four bytes for a token, and 512 tokens are wanted"
    assert text.isascii()
    assert all(part in text for part in ("def ", "1,024", '22.0], "unit"', "?"))


@pytest.mark.parametrize("words", [("--prompt", "It is"), ("--routing", "all"), ("--make-golden", "golden")])
@pytest.mark.parametrize("option", ["--report", "--against"])
def test_what_would_be_left_out_is_refused(words: tuple[str, str], option: str, magnetar: Run, tmp_path: Path) -> None:
    done = magnetar("boot", BUNDLED, *words, option, tmp_path / "page.html")
    assert done.code == 2
    assert "--report and --against do not go with" in done.err
    assert not list(tmp_path.iterdir())


def test_every_routing_has_its_score_in_the_json(magnetar: Run) -> None:
    result = magnetar("boot", BUNDLED, "--routing", "all", "--json").document["result"]["routings"]
    assert [score["strategy"] for score in result] == [
        "top1",
        "top2",
        "top3",
        "all-weighed",
        "all-then-choose",
        "random",
    ]
    assert all(1 < score["bits_per_byte"] < 4 for score in result)


def test_all_routings_keep_to_what_they_may_use(magnetar: Run) -> None:
    done = magnetar("boot", BUNDLED, "--routing", "all", "--max-memory", "100M")
    assert done.code == 7
    assert re.search(r"running takes about [0-9,]+ bytes, and 100,000,000 are allowed", " ".join(done.err.split()))


def test_a_page_is_written_beside_the_report(magnetar: Run, tmp_path: Path) -> None:
    done = magnetar("boot", BUNDLED, "--level", "content", "--report", tmp_path / "page.html")
    assert done.code == 0, done.err
    page = (tmp_path / "page.html").read_text()
    assert "It works." in page
    assert "austen-moe" in page


def test_a_prompt_is_written_on_piece_by_piece_and_its_pace_is_told(magnetar: Run) -> None:
    done = magnetar("boot", BUNDLED, "--prompt", "Mr. Weston", "--max-tokens", 12, "--seed", 3)
    shown, pace = done.out.rsplit("\n", 2)[:2]
    assert done.code == 0, done.err
    assert shown.startswith("Mr. Weston")
    assert len(shown) > len("Mr. Weston") + 12
    assert re.fullmatch(r"  12 tokens, [\d.,]+ tokens/s", pace)
    again = magnetar("boot", BUNDLED, "--prompt", "Mr. Weston", "--max-tokens", 12, "--seed", 3, "--json")
    assert "Mr. Weston" + again.document["result"]["text"] == shown


def test_text_appears_while_it_is_written(magnetar: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from magnetar.model.boot import prompt

    def stop_at_the_third(*_words: object) -> Iterator[str]:
        yield from (" one", " two")
        raise KeyboardInterrupt

    monkeypatch.setattr(prompt, "generate", stop_at_the_third)
    done = magnetar("boot", BUNDLED, "--prompt", "count:")
    assert done.code == 130
    assert done.out == "count: one two"
