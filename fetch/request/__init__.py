"""What is asked for, as plain values. Nothing here touches the network.

``target``: what to fetch, a link or a torrent. ``options``: how to fetch or seed, with every limit and its default.
``selection``: which files are wanted. ``mirrors``: where the bytes can be had by HTTP. ``stop_rule``: when a seeding
has given enough.
"""
