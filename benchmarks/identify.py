"""Which release are these weights? What is read before the answer, and how long a full hash takes beside it.

    python benchmarks/identify.py [--bytes 12e9] [--work FOLDER] [--pairs 10000]

A folder of Mixtral's shapes, in every layout, without a configuration and without hidden files: renamed, cut into other
shards, and with one tensor of about a thousand changed. The catalog also has decoys: a fine-tune that kept all norms
and routers, and another model of the same shapes. For each, the answer, what was read of the files, and the seconds are
printed. The program ends with an error if an answer is wrong, or 8 MB or more were read.

The files are sparse: small tensors, one head of q and k, and a window in each large matrix hold random numbers, the
rest are holes. So the full hash does not wait for a disk, and takes as long as SHA-256 does: on a disk it takes longer.
The pairs are mixtures of two releases, as digests only: how many answers are wrong.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from magnetar.byte_source import LocalFolder
from magnetar.convert.compare.digest_tensors import tensor_digests
from magnetar.convert.formats.checkpoint import TensorSpec
from magnetar.convert.formats.safetensors import encode_header
from magnetar.convert.identify.find_sets import find_sets
from magnetar.convert.identify.open_weights import open_weights
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.mapping import Move, Segment, Turn
from magnetar.convert.layout.tables import find_layout
from magnetar.convert.read.checkpoint_source import CheckpointSource, open_source
from magnetar.convert.transform.stream import stream_move
from magnetar.convert.transform.transpose import turn_block
from magnetar.convert.transform.view import map_source
from magnetar.convert.write.plan import Shard, plan_shards
from magnetar.convert.write.targets import TARGETS, TargetOptions
from magnetar.manifests.identity.evidence import Agreement, Certainty, Tally, rank
from magnetar.manifests.identity.known import renew_user_index
from magnetar.manifests.tensor_digests import TensorDigests, format_tensor_digests
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.identify import find_candidate, identify

HEAD = 128
LAYERS = 32
"""As many layers as Mixtral 8x7B has, so that there are about a thousand tensors."""

SMALL = 1 << 19
WINDOW = 8192
"""Bytes of random numbers in each large matrix."""

NAME = "bench-moe"
LAYOUTS = ("mistral", "mistral-fused", "hf", "hf-fused", "mlx", "gguf")
LIMIT = 8_000_000
DRAWN_SMALL, DRAWN_LARGE = 12, 24


def scale(nbytes: float) -> Architecture:
    """A model of Mixtral's proportions and number of layers, of at least about so many bytes."""
    heads = 4
    while 2 * sizes(heads).total_parameters < nbytes:
        heads += 4
    return sizes(heads)


def sizes(heads: int) -> Architecture:
    dim = heads * HEAD
    return Architecture(
        dim=dim,
        n_layers=LAYERS,
        head_dim=HEAD,
        hidden_dim=7 * dim // 2,
        n_heads=heads,
        n_kv_heads=heads // 4,
        norm_eps=1e-5,
        vocab_size=32000,
        rope_theta=1e6,
        n_experts=8,
        experts_per_token=2,
    )


def window(spec: TensorSpec, head: int) -> tuple[int, int]:
    """The bytes of a tensor of the release that hold random numbers: begin and length."""
    if spec.nbytes <= SMALL:
        return 0, spec.nbytes
    if spec.name.endswith(("wq.weight", "wk.weight")):
        return 0, head * spec.shape[1] * 2
    # One number of a transposed matrix lies in a block of the disk of its own, so there are fewer.
    return spec.shape[0] // 2 * spec.shape[1] * 2, WINDOW // 8 if spec.name.endswith("w2.weight") else WINDOW


def numbers(name: str, nbytes: int) -> bytes:
    """Random bfloat16 numbers of about the size of trained ones, always the same for a tensor."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    drawn = np.random.default_rng(seed).integers(0, 1 << 16, nbytes // 2, np.uint16)
    return ((drawn & 0x80FF) | 0x3C00).astype("<u2").tobytes()


def write_release(path: Path, a: Architecture) -> None:
    """The release in its own layout, as one sparse file."""
    laid = find_layout("mistral").tensors(a).values()
    specs = [TensorSpec(entry.name, "BF16", entry.shape, 0, 0, 2 * int(np.prod(entry.shape))) for entry in laid]
    header = encode_header(specs, {})
    with path.open("wb") as stream:
        stream.write(header)
        position = len(header)
        for spec in specs:
            begin, length = window(spec, a.head_dim)
            stream.seek(position + begin)
            stream.write(numbers(spec.name, length))
            position += spec.nbytes
        stream.truncate(position)


def write_shard(path: Path, shard: Shard, source: CheckpointSource) -> None:
    """One file of a conversion, as sparse as its source."""
    with path.open("wb") as stream:
        stream.write(shard.header)
        position = len(shard.header)
        for move in shard.moves:
            for offset, content in pieces(move, source):
                stream.seek(position + offset)
                stream.write(content)
            position += move.nbytes + shard.padding(move)
        stream.truncate(position)


def pieces(move: Move, source: CheckpointSource) -> Iterator[tuple[int, bytes]]:
    """What of a tensor is no hole: offset and bytes."""
    if move.recoded or move.nbytes <= SMALL:
        yield 0, b"".join(bytes(block) for block in stream_move(source.checkpoint, move))
        return
    position = 0
    for segment in move.segments:
        for offset, content in turned(segment, source):
            yield position + offset, content
        position += segment.nbytes


def turned(segment: Segment, source: CheckpointSource) -> Iterator[tuple[int, bytes]]:
    spec = source.checkpoint.specs[segment.tensor]
    begin, length = window(spec, source.architecture.head_dim)
    content = numbers(spec.name, length)
    if segment.turn is Turn.COPY:
        yield begin, content
    elif segment.turn is Turn.TRANSPOSE:
        rows, columns = segment.rows, segment.columns
        for number in range(begin // 2, (begin + length) // 2):
            there = number % columns * rows + number // columns
            yield 2 * there, content[2 * number - begin :][:2]
    else:
        yield 0, b"".join(bytes(part) for part in turn_block(segment, memoryview(bytearray(content))))


def write_copy(folder: Path, layout: str, source: CheckpointSource, shard_size: int) -> None:
    """The weights in a layout, under names that say nothing."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if layout == "gguf":
        target = TARGETS["gguf"]
        moves = tuple(target.cast(move, None) for move in map_source(source, layout))
        shards = target.pack(source, moves, TargetOptions(shard_size=shard_size), {})
    else:
        shards = plan_shards(map_source(source, layout), stem="x", shard_size=shard_size, metadata={})
    for number, shard in enumerate(shards):
        write_shard(folder / f"{chr(ord('a') + number)}.blob", shard, source)


def change_one(folder: Path, digests: TensorDigests) -> str:
    """Change a matrix of which a slice is listed, in the slice: one tensor of about a thousand. Returns its name."""
    for files in find_sets(LocalFolder(folder)):
        weights = open_weights(LocalFolder(folder), files)
        for name, move in weights.moves_to(digests.layout).items():
            segment = move.segments[0]
            if name in digests.slices and segment.turn is Turn.COPY:
                spec = weights.checkpoint.specs[segment.tensor]
                with (folder / weights.checkpoint.sources[spec.source].name).open("r+b") as stream:
                    stream.seek(spec.offset + segment.offset + 2 * digests.slices[name].first)
                    stream.write(os.urandom(WINDOW))
                weights.close()
                return name
        weights.close()
    sys.exit(f"{folder}: nothing to change")


def add_to_catalog(folder: Path, name: str, digests: TensorDigests) -> None:
    content = format_tensor_digests(digests)
    (folder / f"{name}.tensors.json").write_bytes(content)
    (folder / f"{name}.toml").write_text(
        f'format = 1\nname = "{name}"\ntitle = "T"\npublisher = "us"\nlicence = "MIT"\nlayout = "mistral"\n'
        f'[tensors]\npath = "{name}.tensors.json"\ndigest = "sha256:{hashlib.sha256(content).hexdigest()}"\n'
    )


def decoy(digests: TensorDigests, *, keep_small: bool) -> TensorDigests:
    """Another model of the same shapes: a fine-tune that kept norms and routers, or one that shares nothing."""

    def other(sha256: str) -> str:
        return hashlib.sha256(sha256.encode()).hexdigest()

    kept = ("norm.weight", "gate.weight") if keep_small else ("nothing",)
    return TensorDigests(
        digests.layout,
        {
            name: tensor if name.endswith(kept) else replace(tensor, sha256=other(tensor.sha256))
            for name, tensor in digests.tensors.items()
        },
        {name: replace(part, sha256=other(part.sha256)) for name, part in digests.slices.items()},
    )


def ask(folder: Path) -> tuple[str, int, float]:
    """The answer, the bytes that were read, and the seconds."""
    began = time.monotonic()
    candidate = find_candidate(ReleaseFolder.read(folder))
    seconds = time.monotonic() - began
    read = identify(ReleaseFolder.read(folder)).read
    if candidate is None or candidate.release != NAME or candidate.certainty is not Certainty.CANDIDATE:
        sys.exit(f"{folder}: wrong answer: {candidate}")
    if read >= LIMIT:
        sys.exit(f"{folder}: {read:,} bytes were read")
    return candidate.describe(), read, seconds


def hash_all(folder: Path) -> float:
    began = time.monotonic()
    for path in sorted(folder.iterdir()):
        with path.open("rb") as stream:
            hashlib.file_digest(stream, "sha256")
    return time.monotonic() - began


def draw(rng: random.Random, count: int) -> list[int]:
    return [rng.getrandbits(64) for _ in range(count)]


def count_wrong(pairs: int, rng: random.Random) -> int:
    """How many of so many mixed pairs get a wrong answer."""
    return sum(is_wrong(rng) for _ in range(pairs))


def is_wrong(rng: random.Random) -> bool:
    """Mix two releases, of which the second may be a fine-tune of the first, and judge the answer.

    An answer is wrong if a release is called a candidate of which half of the matrices, or fewer, are there, if another
    release has more, or if weights of which most matrices are one release's are not called a candidate of it.
    """
    one = (draw(rng, DRAWN_SMALL), draw(rng, DRAWN_LARGE))
    kept = rng.random()
    other = (
        [mine if rng.random() < kept else rng.getrandbits(64) for mine in one[0]],
        [mine if rng.random() < kept / 2 else rng.getrandbits(64) for mine in one[1]],
    )
    share = rng.random()
    mixed = tuple(
        [a if rng.random() < share else b for a, b in zip(*pair, strict=True)] for pair in zip(one, other, strict=True)
    )
    releases = {"one": one, "other": other}
    if rng.random() < 0.2:
        releases["stranger"] = (draw(rng, DRAWN_SMALL), draw(rng, DRAWN_LARGE))
    seen = {
        name: [sum(map(int.__eq__, a, b)) for a, b in zip(mixed, release, strict=True)]
        for name, release in releases.items()
    }
    ranked = rank(
        (name, Agreement(small=Tally(small, DRAWN_SMALL), slices=Tally(large, DRAWN_LARGE)))
        for name, (small, large) in seen.items()
    )
    most = max(large for _, large in seen.values())
    called = [candidate for candidate in ranked if candidate.certainty is Certainty.CANDIDATE]
    if any(2 * seen[candidate.release][1] <= DRAWN_LARGE for candidate in called):
        return True
    if 2 * most > DRAWN_LARGE:
        return not called or seen[called[0].release][1] != most
    return bool(called)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=float, default=12e9)
    parser.add_argument("--work", type=Path, default=Path("build/benchmark/identify"))
    parser.add_argument("--pairs", type=int, default=10_000)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.work) as place:
        measure_copies(Path(place), scale(options.bytes))
    wrong = count_wrong(options.pairs, random.Random(5))
    print(f"{options.pairs:,} mixed pairs of digests: {wrong} wrong")
    sys.exit(bool(wrong))


def measure_copies(place: Path, a: Architecture) -> None:
    catalog, release = place / "catalog", place / "release"
    catalog.mkdir()
    release.mkdir()
    os.environ["MAGNETAR_CATALOG"] = str(catalog)
    write_release(release / "consolidated.safetensors", a)
    (release / "params.json").write_text(json.dumps(a.to_params()))
    with open_source(release) as source:
        began = time.monotonic()
        digests = tensor_digests(source, layout="mistral")
        print(
            f"{source.checkpoint.nbytes / 1e9:.1f} GB in {len(digests.tensors)} tensors; digested tensor by tensor "
            f"in {time.monotonic() - began:.1f} s"
        )
        add_to_catalog(catalog, NAME, digests)
        add_to_catalog(catalog, "a-fine-tune", decoy(digests, keep_small=True))
        add_to_catalog(catalog, "a-namesake", decoy(digests, keep_small=False))
        renew_user_index()
        for layout in LAYOUTS:
            folder = place / "copy"
            for shard_size in (2**62, int(source.checkpoint.nbytes // 3)):
                write_copy(folder, layout, source, shard_size)
                show(layout, f"{len(list(folder.iterdir()))} files, renamed", folder)
            change_one(folder, digests)
            show(layout, "one tensor changed", folder)
        print(f"a full hash of the last: {hash_all(folder):.1f} s")


def show(layout: str, what: str, folder: Path) -> None:
    answer, read, seconds = ask(folder)
    print(f"{layout:14} {what:20} {read / 1e6:5.2f} MB read  {seconds:5.2f} s  {answer}")


if __name__ == "__main__":
    main()
