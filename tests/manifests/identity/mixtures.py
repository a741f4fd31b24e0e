"""Weights that are made of two releases, as digests only: what is said of them, and whether that is wrong."""

import random

from magnetar.manifests.identity.evidence import Agreement, Certainty, Tally, rank

SMALL, LARGE = 12, 24


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
    one = (draw(rng, SMALL), draw(rng, LARGE))
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
        releases["stranger"] = (draw(rng, SMALL), draw(rng, LARGE))
    seen = {
        name: [sum(map(int.__eq__, a, b)) for a, b in zip(mixed, release, strict=True)]
        for name, release in releases.items()
    }
    ranked = rank(
        (name, Agreement(small=Tally(small, SMALL), slices=Tally(large, LARGE)))
        for name, (small, large) in seen.items()
    )
    most = max(large for _, large in seen.values())
    called = [candidate for candidate in ranked if candidate.certainty is Certainty.CANDIDATE]
    if any(2 * seen[candidate.release][1] <= LARGE for candidate in called):
        return True
    if 2 * most > LARGE:
        return not called or seen[called[0].release][1] != most
    return bool(called)
