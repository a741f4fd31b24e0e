import hashlib
import math
import threading
from pathlib import Path

import pytest
import torch

from magnetar.byte_source import LocalFile
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read import uncached_file
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.findings import Outcome
from magnetar.model.run import buffer_pool, weights
from magnetar.model.run.measure_run import RunPlan, measure_run
from magnetar.model.run.prefetch import TensorStream, reading_order
from magnetar.model.run.scoring import count_bits, cut_windows
from magnetar.model.run.weights import open_for_a_pass
from tests.model.conftest import WriteRelease
from tests.model.forge import TINY, load_release, make_model
from tests.patience import PATIENCE

IDS = [3 + (7 * i * i + i) % 60 for i in range(40)]


def test_a_pass_matrix_by_matrix_comes_to_the_score_of_the_whole_model(
    architecture: Architecture, release: WriteRelease
) -> None:
    folder = release(make_model(architecture))
    model = load_release(folder)
    with open_source(folder) as source:
        found = measure_run(view_as(source, "mistral"), architecture, "BF16", RunPlan(IDS))
    wanted = sum(count_bits(model(inputs), targets) for inputs, targets in cut_windows(IDS, 512))
    assert found.bits == pytest.approx(wanted, rel=1e-5)
    assert found.decode_difference is not None
    assert found.decode_difference < 1e-4
    assert found.fingerprint is not None
    inputs, _ = next(cut_windows(IDS, 512))
    torch.testing.assert_close(
        torch.from_numpy(found.fingerprint.logsumexp), model(inputs)[0].logsumexp(-1), rtol=1e-4, atol=1e-4
    )


def test_every_tensor_is_read_once_in_the_order_of_the_pass(architecture: Architecture, release: WriteRelease) -> None:
    met: list[str] = []

    def record(spec: TensorSpec, content: bytearray) -> None:
        assert len(content) == spec.nbytes
        met.append(spec.name)

    with open_source(release(make_model(architecture))) as source:
        measure_run(view_as(source, "mistral"), architecture, "BF16", RunPlan(IDS), record)
        assert met == reading_order(architecture)
        assert sorted(met) == sorted(view_as(source, "mistral").specs)


def test_weights_too_large_to_be_held_are_read_past_the_cache_where_they_belong(
    release: WriteRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = release(make_model(TINY))
    with open_for_a_pass(folder) as source:
        assert type(source.checkpoint.sources[0]) is LocalFile
        expected = measure_run(view_as(source, "mistral"), TINY, "BF16", RunPlan(IDS))
    monkeypatch.setattr(weights, "MAX_HELD_BYTES", 0)
    monkeypatch.setattr(buffer_pool, "MIN_POOLED_BYTES", 1)
    monkeypatch.setattr(uncached_file, "MIN_DIRECT_BYTES", buffer_pool.PAGE)
    monkeypatch.setattr(uncached_file, "_is_cached", lambda *_: False)
    digests: dict[str, str] = {}

    def record(spec: TensorSpec, content: bytearray) -> None:
        digests[spec.name] = hashlib.sha256(content).hexdigest()

    with open_for_a_pass(folder) as source:
        file = source.checkpoint.sources[0]
        assert isinstance(file, uncached_file.SparingFile)
        if file._past is not None:  # there are direct reads here
            monkeypatch.delattr(uncached_file.UncachedFile, "_copy")
        view = view_as(source, "mistral")
        found = measure_run(view, TINY, "BF16", RunPlan(IDS), record)
        assert found.bits == expected.bits
    with open_source(folder) as source:
        view = view_as(source, "mistral")
        assert digests == {name: hashlib.sha256(view.read(name)).hexdigest() for name in view.specs}


class Counted:
    """Weights that know how many of their tensors were read."""

    def __init__(self, folder: Path) -> None:
        self._source = open_source(folder)
        self._view = view_as(self._source, "mistral")
        self.specs = self._view.specs
        self.read_so_far = 0
        self.arrived = threading.Semaphore(0)

    def read(self, name: str) -> bytearray:
        self.read_so_far += 1
        self.arrived.release()
        return self._view.read(name)

    def close(self) -> None:
        self._source.close()


@pytest.mark.parametrize(("ahead", "expected"), [(1, 2), (0, 1)])
def test_one_tensor_at_most_is_read_ahead(ahead: int, expected: int, release: WriteRelease) -> None:
    weights = Counted(release(make_model(TINY)))
    order = reading_order(TINY)
    with TensorStream(weights, order, ahead=ahead) as stream:
        stream.take(order[0])
        for _ in range(expected):
            assert weights.arrived.acquire(timeout=PATIENCE)
        assert weights.read_so_far == expected
    weights.close()


def test_as_many_tensors_are_read_ahead_as_there_is_room_for(release: WriteRelease) -> None:
    weights = Counted(release(make_model(TINY)))
    order = reading_order(TINY)
    sizes = [weights.specs[name].nbytes for name in order]
    with TensorStream(weights, order, ahead=sum(sizes[1:6])) as stream:
        stream.take(order[0])
        for _ in range(6):
            assert weights.arrived.acquire(timeout=PATIENCE)
        assert not weights.arrived.acquire(timeout=0.1)
    weights.close()


def test_a_tensor_out_of_its_turn_is_refused(release: WriteRelease) -> None:
    weights = Counted(release(make_model(TINY)))
    with TensorStream(weights, reading_order(TINY)) as stream, pytest.raises(LookupError, match=r"output\.weight"):
        stream.take("output.weight")
    weights.close()


def test_a_layer_that_is_not_finite_ends_the_run_but_not_the_look_at_the_rest(release: WriteRelease) -> None:
    from magnetar.model.boot.boot import boot
    from magnetar.model.boot.boot_request import BootRequest

    model = make_model(TINY)
    model.layers[0].attention.wo.weight[0, 0] = math.nan
    model.layers[2].feed_forward.gate.weight.zero_()
    folder = release(model)
    (folder / "tokenizer.model").write_bytes(_pieces_of_64())
    report = boot(BootRequest(folder, text="one two three four " * 20))
    content = report.levels[1]
    assert content.outcome is Outcome.BAD
    assert [finding.kind for finding in content.findings] == ["nan", "all-zero"]
    assert "layer 0: its activations are not finite" in report.reasons


def _pieces_of_64() -> bytes:
    """A tokenizer that fits the tiny models: the bytes do not fit, so plain characters."""
    import io

    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    SentencePieceTrainer.Train(
        sentence_iterator=iter(["one two three four"] * 20),
        model_writer=model,
        model_type="char",
        vocab_size=15,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return model.getvalue()
