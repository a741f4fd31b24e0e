"""Which pieces to read next, and from which mirrors."""

from collections.abc import Container, Mapping
from itertools import product

from magnetar.fetch.mirror.mirror_source import MirrorSource
from magnetar.fetch.torrent.piece_layout import PieceLayout

SHARE = 32
"""A run is at most one of so many parts of what is missing, so that several readers end at about the same time."""
MAX_RUN_BYTES = 64 << 20
"""Bytes of a run, however much is missing."""


class PieceRun:
    """Pieces ``first`` to ``last``, to be read one after another, each file from one mirror as far as possible.

    ``whole``: the mirror serves no ranges, so its file is read from the beginning, over what is not needed.
    """

    def __init__(self, first: int, last: int, *, whole: bool) -> None:
        self.first = first
        self.last = last
        self.whole = whole
        self._sources: dict[str, MirrorSource] = {}
        self._held: set[MirrorSource] = set()

    @property
    def pieces(self) -> range:
        return range(self.first, self.last + 1)

    def source_of(self, path: str) -> MirrorSource | None:
        """The mirror that the run reads a file from; None if it has not begun with one, or that one was dropped."""
        source = self._sources.get(path)
        return source if source and not source.dropped else None

    def read_from(self, sources: Mapping[str, MirrorSource]) -> None:
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


class Schedule:
    """The mirrors of each file, and what is known against them. To be used by one thread at a time.

    Only pieces in ``provable`` are chosen: those whose hash is known.
    """

    def __init__(self, layout: PieceLayout, provable: Container[int]) -> None:
        self._layout = layout
        self._provable = provable
        self._sources: dict[str, list[MirrorSource]] = {}
        self._refuted: set[tuple[int, frozenset[MirrorSource]]] = set()
        self._runs: set[PieceRun] = set()  # those that have not ended

    @property
    def sources(self) -> list[MirrorSource]:
        """All mirrors, dropped ones too."""
        return [source for sources in self._sources.values() for source in sources]

    def add(self, source: MirrorSource) -> None:
        """Ask this mirror too."""
        self._sources.setdefault(source.mirror.path, []).append(source)

    def refute(self, piece: int, sources: frozenset[MirrorSource]) -> None:
        """Never again read that piece from these mirrors together: one of them serves other bytes."""
        self._refuted.add((piece, sources))

    def plan(self, unclaimed: Mapping[int, int]) -> PieceRun | None:
        """The next run: pieces that few peers have before others, else in order. None if no mirror has any.

        ``unclaimed`` are the pieces to choose from, with how many peers have each.
        """
        ready = [path for path, sources in self._sources.items() if any(source.usable for source in sources)]
        held = (piece for path in ready for piece in self._layout.pieces(path))
        candidates = {piece for piece in held if piece in unclaimed and piece in self._provable}
        for first in sorted(candidates, key=lambda piece: (unclaimed[piece], piece)):
            run = PieceRun(first, first, whole=False)
            sources = self.assign(first, run)
            if sources:
                path, main = list(sources.items())[-1]
                if main.ranged is not False:
                    run.last = self._end_of_run(first, candidates, unclaimed)
                elif self._pieces_come_back(path):
                    run.end()
                    continue
                else:
                    self._make_whole(run, path, candidates)
                self._runs.add(run)
                return run
        return None

    def end(self, run: PieceRun) -> None:
        """Note that nobody reads this run any more, and let go of its mirrors."""
        run.end()
        self._runs.discard(run)

    def assign(self, piece: int, run: PieceRun) -> Mapping[str, MirrorSource] | None:
        """A mirror for each file that the piece touches: the ones that the run reads already, else the least busy.

        None if there is no combination that is usable and not refuted.
        """
        paths = self._layout.paths(piece)
        for chosen in product(*(self._preferred(path, run) for path in paths)):
            if (piece, frozenset(chosen)) not in self._refuted:
                sources = dict(zip(paths, chosen, strict=True))
                run.read_from(sources)
                return sources
        return None

    def _preferred(self, path: str, run: PieceRun) -> list[MirrorSource]:
        kept = run.source_of(path)
        others = [source for source in self._sources.get(path, ()) if source.usable and source is not kept]
        return [*([kept] if kept else []), *sorted(others, key=lambda source: source.readers)]

    def _end_of_run(self, first: int, candidates: set[int], unclaimed: Mapping[int, int]) -> int:
        """The last of the pieces that follow ``first`` without a gap, and that as many peers have, up to the bounds."""
        most = min(MAX_RUN_BYTES // self._layout.piece_length, len(candidates) // SHARE)
        last = first
        while last + 1 in candidates and unclaimed[last + 1] == unclaimed[first] and last + 1 - first < most:
            last += 1
        return last

    def _pieces_come_back(self, path: str) -> bool:
        """Whether a run holds pieces of this file that it will give back, because no mirror of the file gives ranges.

        A file that is read from its beginning before that is read a second time, for those pieces.
        """
        if any(source.ranged for source in self._sources[path]):
            return False
        pieces = self._layout.pieces(path)
        return any(not run.whole and run.first <= pieces[-1] and pieces[0] <= run.last for run in self._runs)

    def _make_whole(self, run: PieceRun, path: str, candidates: set[int]) -> None:
        """Extend the run over all of a file from its first missing piece on."""
        pieces = self._layout.pieces(path)
        run.first = min(piece for piece in pieces if piece in candidates)
        run.last = pieces[-1]
        run.whole = True
