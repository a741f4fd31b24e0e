"""The swarm: peers, trackers and the DHT, behind an interface that tests can implement.

``protocol`` is that interface, and the modules ``libtorrent_…`` implement it.
Everybody else works like this::

    swarm = lazy_session.open()                        # one session for the whole run
    content, magnet = find_metadata(swarm, magnet)     # discovery: ask peers for the torrent's metadata
    transfer = swarm.join(payload_joining(torrent))    # discovery: then join for the payload
    for status in sightings.follow(is_complete):       # sightings: look four times a second, emit what is new
        progress.show(status)                          # stall_watch: emit what arrived
        stall.check(status)                            # stall_watch: try slower ways, at last give up
    transfer.leave()
"""
