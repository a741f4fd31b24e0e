"""The whole path, through real sessions and the real command line, on the bundled release."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from magnetar.fetch.request.options import SeedOptions
from magnetar.fetch.seed.seed import Seeding, seed
from magnetar.manifests.catalog import find_release
from magnetar.model.bundled import bundled_release, smoke_text
from tests.magnetar.conftest import Run
from tests.patience import PATIENCE, wait_until

LOOPBACK = ("--loopback", "--metadata-timeout", f"{PATIENCE:.0f}", "--stall-timeout", f"{PATIENCE:.0f}")
AUSTEN = find_release("austen-moe")


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The magnet link of the bundled release, served on 127.0.0.1 while this module's tests run."""
    served = Path(shutil.copytree(bundled_release(), tmp_path_factory.mktemp("seeder") / "austen-moe"))
    listening, stop, seedings = threading.Event(), threading.Event(), list[Seeding]()

    def note(seeding: Seeding) -> None:
        seedings.append(seeding)
        listening.set()

    options = SeedOptions(loopback=True)
    seeder = threading.Thread(
        target=seed, args=(served,), kwargs={"options": options, "listening": note, "stop": stop.is_set}
    )
    seeder.start()
    assert listening.wait(PATIENCE)
    yield str(seedings[0].magnet)
    stop.set()
    seeder.join(PATIENCE)


@pytest.fixture(scope="module")
def got(link: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``get`` has done all of its work once."""
    folder = tmp_path_factory.mktemp("got")
    words = ["get", link, "--dir", str(folder), *LOOPBACK, "--json"]
    done = subprocess.run([sys.executable, "-m", "magnetar", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "first.json").write_text(done.stdout)
    return folder


def test_the_link_of_the_bundled_release_is_the_one_that_its_manifest_pins(link: str) -> None:
    assert AUSTEN.infohash_v1 is not None
    assert f"urn:btih:{AUSTEN.infohash_v1}&" in link
    assert f"urn:btmh:1220{AUSTEN.infohash_v2}&" in link


def test_one_command_takes_a_link_to_weights_that_are_proven_converted_and_healthy(got: Path) -> None:
    document = json.loads((got / "first.json").read_text())
    result = document["result"]
    assert (document["command"], document["ok"], document["exit"]) == ("get", True, 0)
    assert result["fetched"]["complete"] is True
    assert result["fetched"]["downloaded"] >= AUSTEN.known_size
    assert (result["verified"]["release"], result["verified"]["verdict"]) == ("austen-moe", "the release")
    assert {file["state"] for file in result["verified"]["files"]} == {"good"}
    assert (result["converted"]["verified"], result["converted"]["already"]) == (True, False)
    assert result["booted"]["healthy"] is True
    assert result["booted"]["bits_per_byte"] <= 1.50
    assert [step["name"] for step in result["steps"]] == ["fetched", "verified", "converted", "booted"]


def test_a_disk_with_no_room_for_both_copies_is_refused_before_the_first_byte(
    magnetar: Run, got: Path, link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=20_000_000))
    refused = magnetar("get", link, "--dir", tmp_path, *LOOPBACK, "--json")
    assert refused.code == 4
    assert "will be needed for the converted copy, and only 20,000,000 are free" in refused.document["error"]["message"]
    assert not [path for path in tmp_path.rglob("*.pth") if path.stat().st_size]
    assert magnetar("get", link, "--dir", tmp_path, *LOOPBACK, "--no-convert", "--no-boot").code == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=0))
    assert magnetar("get", link, "--dir", got, *LOOPBACK, "--no-boot").code == 0, "what is done needs no room"


def test_a_second_call_does_only_what_is_missing(magnetar: Run, got: Path, link: str) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in got.rglob("*") if path.is_file() and ".magnetar" not in path.parts
    }
    again = magnetar("get", link, "--dir", got, *LOOPBACK, "--no-boot", "--json")
    result = again.document["result"]
    assert again.code == 0
    assert result["fetched"]["downloaded"] == 0
    assert result["converted"]["already"] is True
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_what_was_fetched_is_the_release_whatever_the_folder_is_called(
    magnetar: Run, got: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(got / "austen-moe", tmp_path / "renamed")
    assert magnetar("verify", copy, "--json").document["result"]["verdict"] == "the release"
    shutil.rmtree(copy / ".magnetar")
    report = magnetar("verify", copy, "--json").document["result"]
    assert (report["release"], report["reason"]) == ("austen-moe", "the release of the catalog whose files fit")


def test_the_same_bytes_without_a_swarm_verify_by_name(magnetar: Run, release: Path) -> None:
    shown = magnetar("verify", release, "--manifest", "austen-moe")
    assert shown.code == 0
    assert "good: the release" in shown.out
    assert magnetar("verify", release, "--manifest", "mixtral-8x7b-v0.1").code == 5


def test_everything_that_is_wrong_is_found_at_once(magnetar: Run, release: Path) -> None:
    weights = release / "consolidated.00.pth"
    with weights.open("r+b") as stream:
        stream.seek(1_000_000)
        byte = stream.read(1)
        stream.seek(1_000_000)
        stream.write(bytes([byte[0] ^ 1]))
    (release / "params.json").unlink()
    (release / "tokenizer.model").write_bytes((release / "tokenizer.model").read_bytes()[:-100])
    shown = magnetar("verify", release, "--json")
    findings = {(finding["kind"], finding["subject"]) for finding in shown.document["result"]["findings"]}
    assert shown.code == 5
    assert findings == {
        ("wrong-digest", "consolidated.00.pth"), ("missing", "params.json"), ("truncated", "tokenizer.model"),
    }  # fmt: skip


def test_a_damaged_release_is_neither_converted_nor_called_whole_by_convert(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    weights = release / "consolidated.00.pth"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 0x40
    weights.write_bytes(content)
    shown = magnetar("convert", release, tmp_path / "out")
    assert shown.code == 6
    assert "error: " in shown.err
    assert not list((tmp_path / "out").glob("*.safetensors"))


def test_a_truncated_shard_is_told_with_its_missing_bytes(magnetar: Run, got: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(got / "austen-moe-hf", tmp_path / "hf")
    shard = next(copy.glob("*.safetensors"))
    os.truncate(shard, shard.stat().st_size - 1000)
    shown = magnetar("inspect", copy)
    assert shown.code == 6
    assert "1,000" in shown.err.replace("1000", "1,000")


class Attack:
    """A pickle of this runs a command when it is loaded by the pickle module."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_a_pickle_that_would_run_code_is_refused_and_its_code_does_not_run(
    magnetar: Run, release: Path, tmp_path: Path
) -> None:
    marker = tmp_path / "it-ran"
    attack = pickle.dumps({"output.weight": Attack(f"touch {marker}")}, protocol=2)
    with zipfile.ZipFile(release / "consolidated.00.pth", "w") as archive:
        archive.writestr("consolidated.00/data.pkl", attack)
        archive.writestr("consolidated.00/version", "3\n")
    for words in (("inspect", release), ("convert", release, tmp_path / "out"), ("boot", release)):
        shown = magnetar(*words)
        assert shown.code == 6
        assert "system" in shown.err
    assert not marker.exists()


def test_the_published_form_and_the_converted_form_boot_alike(magnetar: Run, got: Path) -> None:
    published = magnetar("boot", got / "austen-moe", "--json").document["result"]
    converted = magnetar("boot", got / "austen-moe-hf", "--json").document["result"]
    assert (published["layout"], converted["layout"]) == ("mistral", "hf")
    assert published["bits_per_byte"] == converted["bits_per_byte"]
    assert published["expected"] == converted["expected"] is not None
    assert published["sample"] == converted["sample"]


def test_transformers_gives_the_same_logits_on_what_was_converted(got: Path) -> None:
    import torch
    from transformers import AutoTokenizer, MixtralForCausalLM

    from magnetar.convert.read.checkpoint_source import open_source
    from magnetar.convert.transform.view import view_as
    from magnetar.model.run.load import load_model

    text = smoke_text().text[:600]
    tokenizer = AutoTokenizer.from_pretrained(got / "austen-moe-hf")
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    theirs = MixtralForCausalLM.from_pretrained(got / "austen-moe-hf", dtype=torch.float32)(ids).logits[0]
    with open_source(got / "austen-moe") as source:
        ours = load_model(view_as(source, "mistral"), source.architecture)(ids)[0]
    assert (ours - theirs).abs().max().item() < 1e-4


def test_a_second_process_on_the_same_folder_is_told_so(magnetar: Run, got: Path, link: str) -> None:
    script = (
        "import sys, time; from pathlib import Path; from magnetar.files import lock_folder\n"
        "with lock_folder(Path(sys.argv[1])): print('held', flush=True); time.sleep(9999)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, got / "austen-moe"], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        shown = magnetar("fetch", link, "--dir", got, *LOOPBACK)
        assert shown.code == 4
        assert "another process" in shown.err
        holder.kill()


def test_a_get_that_was_killed_goes_on_where_it_was(magnetar: Run, link: str, tmp_path: Path) -> None:
    words = ["get", link, "--dir", str(tmp_path), *LOOPBACK, "--download-limit", "1M", "--json"]
    with subprocess.Popen([sys.executable, "-m", "magnetar", *words], stdout=subprocess.DEVNULL) as killed:
        payload = tmp_path / "austen-moe" / "consolidated.00.pth"
        wait_until(lambda: payload.exists() and payload.stat().st_blocks > 2000, "the first megabyte")
        killed.send_signal(signal.SIGKILL)
    result = magnetar("get", link, "--dir", tmp_path, *LOOPBACK, "--no-boot", "--json").document["result"]
    assert 0 < result["fetched"]["downloaded"] < (AUSTEN.known_size or 0)
    assert result["converted"]["verified"] is True


def test_the_demonstration_shows_all_of_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "magnetar", "demo", "--dir", str(tmp_path), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    document = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["result"]["got"]["booted"]["healthy"] is True
    assert {path.name for path in tmp_path.iterdir()} == {"seeder", "downloads"}
    assert {path.name for path in (tmp_path / "downloads").iterdir()} == {"austen-moe", "austen-moe-hf"}


def test_nothing_is_written_outside_the_folder_that_was_named(link: str, tmp_path: Path) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    home.mkdir()
    work.mkdir()
    words = ["fetch", link, "--dir", str(work / "down"), *LOOPBACK]
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "TMPDIR": str(home)}
    subprocess.run(
        [sys.executable, "-m", "magnetar", *words],
        check=True,
        cwd=work,
        env=environment,
        capture_output=True,
    )
    assert list(home.iterdir()) == []
    assert [path.name for path in work.iterdir()] == ["down"]


@pytest.mark.parametrize("target", ["mistral", "mlx", "gguf", "safetensors"])
def test_every_target_holds_the_same_weights(magnetar: Run, got: Path, tmp_path: Path, target: str) -> None:
    converted = magnetar("convert", got / "austen-moe", tmp_path / target, "--to", target, "--json")
    assert converted.document["result"]["verified"] is True
    if target != "safetensors":  # that one has no configuration: names as they are
        assert magnetar("verify", tmp_path / target).code == 0


def test_a_quantised_gguf_boots_nearly_as_well(magnetar: Run, got: Path, tmp_path: Path) -> None:
    assert magnetar("convert", got / "austen-moe", tmp_path / "q8", "--to", "gguf", "--dtype", "q8_0").code == 0
    booted = magnetar("boot", tmp_path / "q8", "--level", "forward", "--json").document["result"]
    assert booted["healthy"] is True
    assert booted["bits_per_byte"] == pytest.approx(AUSTEN.smoke.bits_per_byte, abs=2e-3)  # type: ignore[union-attr]


def test_a_number_that_does_not_fit_its_dtype_is_refused_unless_that_is_allowed(
    magnetar: Run, got: Path, tmp_path: Path
) -> None:
    words = ("convert", got / "austen-moe", tmp_path / "f16", "--dtype")
    assert magnetar(*words, "f99").code == 2
    assert magnetar(*words, "f16", "--to", "hf").code == 0
    assert magnetar("inspect", tmp_path / "f16", "--json").document["result"]["dtypes"] == ["F16"]


def test_a_dry_run_shows_what_would_come_and_writes_nothing(magnetar: Run, link: str, tmp_path: Path) -> None:
    shown = magnetar("fetch", link, "--dir", tmp_path, *LOOPBACK, "--dry-run", "--exclude", "*.pth")
    assert shown.code == 0
    assert "left out" in shown.out
    assert "nothing is in the way" in shown.out
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_chosen_is_fetched_and_the_rest_is_not_called_good(
    magnetar: Run, link: str, tmp_path: Path
) -> None:
    shown = magnetar("fetch", link, "--dir", tmp_path, *LOOPBACK, "--include", "*.json", "--json")
    assert shown.code == 0
    assert {path.name for path in (tmp_path / "austen-moe").iterdir()} == {".magnetar", "params.json"}
    report = magnetar("verify", tmp_path / "austen-moe", "--json")
    assert report.code == 5
    files = report.document["result"]["files"]
    assert {file["path"] for file in files if file["state"] == "good"} == {"params.json"}
    assert {finding["kind"] for finding in report.document["result"]["findings"]} == {"not-arrived"}


def test_a_release_that_is_here_already_is_adopted_and_not_fetched(
    magnetar: Run, link: str, release: Path, tmp_path: Path
) -> None:
    shown = magnetar("fetch", link, "--dir", tmp_path / "new", *LOOPBACK, "--adopt", release, "--json")
    assert shown.code == 0
    assert shown.document["result"]["downloaded"] == 0
    assert magnetar("verify", tmp_path / "new" / "austen-moe").code == 0


def test_two_releases_are_seeded_in_one_session(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(name.encode() * 30_000)
    words = ["seed", str(tmp_path / "one"), str(tmp_path / "two"), "--loopback", "--quiet"]
    with subprocess.Popen([sys.executable, "-m", "magnetar", *words], stdout=subprocess.PIPE, text=True) as seeder:
        assert seeder.stdout is not None
        links = [seeder.stdout.readline().strip() for _ in range(2)]
        seeder.terminate()
        assert seeder.wait(PATIENCE) == 143
    assert [link.partition("dn=")[2].partition("&")[0] for link in links] == ["one", "two"]


def test_a_converted_copy_is_proven_to_be_the_publishers_weights_whoever_converted_it(
    magnetar: Run, got: Path, tmp_path: Path
) -> None:
    noted = magnetar("verify", got / "austen-moe-hf", "--json").document["result"]
    assert (noted["release"], noted["verdict"]) == ("austen-moe", "the release")
    assert {tensor["standing"] for tensor in noted["proofs"][0]["tensors"]} == {"same"}
    stranger = shutil.copytree(got / "austen-moe-hf", tmp_path / "hf")
    shutil.rmtree(stranger / ".magnetar")
    assert magnetar("verify", stranger, "--manifest", "austen-moe").code == 0
    shard = stranger / "model.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1000] ^= 1
    shard.write_bytes(content)
    shown = magnetar("verify", stranger, "--manifest", "austen-moe")
    assert shown.code == 5
    assert "126 of 127 tensors" in shown.out
    assert "not the release" in shown.out


def test_a_quantised_copy_is_told_with_its_error_and_is_neither_proven_nor_refuted(
    magnetar: Run, got: Path, tmp_path: Path
) -> None:
    assert magnetar("convert", got / "austen-moe", tmp_path / "q8", "--to", "gguf", "--dtype", "q8_0").code == 0
    shown = magnetar("verify", tmp_path / "q8", "--reference", got / "austen-moe")
    assert shown.code == 8
    assert "NMSE" in shown.out


def test_two_checkpoints_are_the_same_or_it_is_said_which_tensors_differ_and_how(
    magnetar: Run, got: Path, release: Path
) -> None:
    alike = magnetar("same", got / "austen-moe", got / "austen-moe-hf")
    assert alike.code == 0
    assert "127 of 127 tensors are the same bit for bit" in alike.out
    other = magnetar("same", release, got / "austen-moe-hf" / "model.safetensors", "--json")
    assert other.document["ok"] is True


def test_the_same_weights_are_shown_under_every_way_of_choosing_who_answers(magnetar: Run, got: Path) -> None:
    scores = {
        one["strategy"]: one
        for one in magnetar("boot", got / "austen-moe", "--routing", "all", "--json").document["result"]["routings"]
    }
    assert scores["top2"]["trained"] is True
    assert scores["random"]["bits_per_byte"] > scores["top2"]["bits_per_byte"] + 0.5


def test_a_prompt_is_written_on_from_the_same_for_the_same_seed(magnetar: Run, got: Path) -> None:
    words = ("boot", got / "austen-moe-hf", "--prompt", "Mr. Weston", "--max-tokens", 12, "--seed", 3, "--json")
    first, second = magnetar(*words).document["result"], magnetar(*words).document["result"]
    assert first["text"] == second["text"] != ""
    assert first["tokens"] == 12


def test_a_single_level_can_be_asked_for_and_a_fingerprint_made(magnetar: Run, got: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    report = magnetar("boot", got / "austen-moe", "--level", "structure", "--report", page, "--json").document["result"]
    assert page.read_text().startswith("<!doctype html>")
    asked = {level["name"]: level["outcome"] for level in report["levels"]}
    assert asked["structure"] == "good"
    assert "good" not in {verdict for name, verdict in asked.items() if name != "structure"}
    assert magnetar("boot", got / "austen-moe", "--make-golden", tmp_path / "golden").code == 0
    assert (tmp_path / "golden").stat().st_size > 10_000


def test_weights_that_do_not_work_exit_7_and_say_why_and_what_would_cure_them(
    magnetar: Run, got: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(got / "austen-moe-hf", tmp_path / "hf")
    config = json.loads((copy / "config.json").read_text())
    config["rope_theta"] = config["rope_parameters"]["rope_theta"] = 10_000.0
    (copy / "config.json").write_text(json.dumps(config))
    shown = magnetar("boot", copy)
    assert shown.code == 7
    assert "not healthy" in shown.out
    assert "diagnosis" in shown.out
    assert "theta" in shown.out


def test_fetch_shows_what_it_brought_and_then_stays_to_seed_for_as_long_as_it_was_told(
    magnetar: Run, link: str, tmp_path: Path
) -> None:
    shown = magnetar("fetch", link, "--dir", tmp_path, *LOOPBACK, "--seed-time", "1s", "--quiet")
    assert shown.code == 0
    assert "every piece checked" in shown.out
    assert magnetar("get", link, "--dir", tmp_path, *LOOPBACK, "--seed").code == 2
