"""Links, as text and as values. Pure: nothing here touches the network, the disk or libtorrent.

``healing`` repairs the text of a damaged magnet link, and says what it repaired. ``magnet`` parses the repaired text,
and writes a clean link. ``urls`` takes web addresses apart.
"""
