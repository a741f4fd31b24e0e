"""Which pieces to read next, and from which mirrors."""

from collections.abc import Container, Mapping
from itertools import product

from magnetar.fetch.mirror.source import Source
from magnetar.fetch.torrent.piece_layout import Layout

SHARE = 32
LARGEST_RUN = 64 << 20
"""Bytes. A run is a thirty-second of what is missing, so that several readers end together, but no more than this."""


class Run:
    """Pieces ``first`` to ``last``, to be read one after another, each file from one mirror as far as possible.

    ``whole``: from a mirror without ranges, which is read over what is not needed.
    """

    def __init__(self, first: int, last: int, *, whole: bool) -> None:
        self.first = first
        self.last = last
        self.whole = whole
        self._sources: dict[str, Source] = {}
        self._held: set[Source] = set()

    def keeps(self, path: str) -> Source | None:
        """The mirror that it reads a file from, if it has begun with one that is still good."""
        source = self._sources.get(path)
        return source if source and not source.dropped else None

    def take(self, sources: Mapping[str, Source]) -> None:
        """Go on with these mirrors, one for each file."""
        self._sources |= sources
        for source in set(sources.values()) - self._held:
            source.readers += 1
            self._held.add(source)

    def end(self) -> None:
        """Let go of the mirrors."""
        for source in self._held:
            source.readers -= 1
        self._held.clear()


class Choice:
    """The mirrors of each file, and what is known against them. To be used by one thread at a time.

    Only pieces that are in ``provable`` are chosen.
    """

    def __init__(self, layout: Layout, provable: Container[int]) -> None:
        self._layout = layout
        self._provable = provable
        self._sources: dict[str, list[Source]] = {}
        self._refuted: set[tuple[int, frozenset[Source]]] = set()

    @property
    def sources(self) -> list[Source]:
        """All mirrors, dropped ones too."""
        return [source for sources in self._sources.values() for source in sources]

    def add(self, source: Source) -> None:
        """One more mirror."""
        self._sources.setdefault(source.mirror.path, []).append(source)

    def refute(self, piece: int, sources: frozenset[Source]) -> None:
        """Never again read that piece from these mirrors together: one of them serves other bytes."""
        self._refuted.add((piece, sources))

    def plan(self, unclaimed: Mapping[int, int]) -> Run | None:
        """The next run: pieces that few peers have before others, else in order. None if no mirror has any.

        ``unclaimed`` are the pieces to choose from, with how many peers have each.
        """
        ready = [path for path, sources in self._sources.items() if any(source.usable for source in sources)]
        held = (piece for path in ready for piece in self._layout.pieces(path))
        candidates = {piece for piece in held if piece in unclaimed and piece in self._provable}
        for first in sorted(candidates, key=lambda piece: (unclaimed[piece], piece)):
            run = Run(first, first, whole=False)
            sources = self.assign(first, run)
            if sources:
                path, main = list(sources.items())[-1]
                if main.ranged is False:
                    return self._whole(run, path, candidates)
                run.last = self._end_of_run(first, candidates, unclaimed)
                return run
        return None

    def assign(self, piece: int, run: Run) -> Mapping[str, Source] | None:
        """A mirror for each file that the piece touches: those that the run reads already, else the least busy."""
        paths = self._layout.paths(piece)
        for chosen in product(*(self._preferred(path, run) for path in paths)):
            if (piece, frozenset(chosen)) not in self._refuted:
                sources = dict(zip(paths, chosen, strict=True))
                run.take(sources)
                return sources
        return None

    def _preferred(self, path: str, run: Run) -> list[Source]:
        kept = run.keeps(path)
        others = [source for source in self._sources.get(path, ()) if source.usable and source is not kept]
        return [*([kept] if kept else []), *sorted(others, key=lambda source: source.readers)]

    def _end_of_run(self, first: int, candidates: set[int], unclaimed: Mapping[int, int]) -> int:
        most = min(LARGEST_RUN // self._layout.piece_length, len(candidates) // SHARE)
        last = first
        while last + 1 in candidates and unclaimed[last + 1] == unclaimed[first] and last + 1 - first < most:
            last += 1
        return last

    def _whole(self, run: Run, path: str, candidates: set[int]) -> Run:
        pieces = self._layout.pieces(path)
        run.first = min(piece for piece in pieces if piece in candidates)
        run.last = pieces[-1]
        run.whole = True
        return run
