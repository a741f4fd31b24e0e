"""Getting the bytes: magnet links, torrents, the swarm, mirrors, downloads that resume, repairs, and seeding.

The rooms, from the bottom up; each imports only from those before it::

    link        magnet links and URLs as values; damaged links are healed
    torrent     metadata, pieces and their hashes; making torrents
    request     what is asked for: targets, options, selections, mirrors
    http        the one HTTP client, and whom it may ask
    swarm       peers, trackers and the DHT, by libtorrent
    mirror      pieces from HTTP servers, side by side with the swarm
    download    fetch, plan, adopt, check what is on disk
    repair      replace damaged bytes, and nothing else
    seed        serve folders
"""
