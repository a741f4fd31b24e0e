from hypothesis import given
from hypothesis import strategies as st

from magnetar.fetch.torrent.piece_layout import Extent, PieceLayout


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any),
    piece_length=st.integers(1, 40),
)
def test_the_spans_of_all_pieces_are_every_byte_of_every_file_once(sizes: list[int], piece_length: int) -> None:
    extents, begin = [], 0
    for number, size in enumerate(sizes):
        extents.append(Extent(f"f{number}", begin, size))
        begin += size
    layout = PieceLayout(extents, piece_length, padded=True)
    expected = [(extent.path, offset) for extent in extents for offset in range(extent.size)]
    pieces = -(-begin // piece_length)
    spans = [(piece, span) for piece in range(pieces) for span in layout.spans(piece)]
    assert [(span.path, span.offset + index) for _, span in spans for index in range(span.length)] == expected
    for extent in extents:
        assert list(layout.pieces(extent.path)) == sorted({piece for piece, span in spans if span.path == extent.path})
