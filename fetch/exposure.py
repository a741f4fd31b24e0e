"""What a swarm learns of who joins it."""

from magnetar.fetch.options import SwarmOptions


def what_others_see(options: SwarmOptions) -> tuple[str, ...]:
    """What to tell a user before the first join; nothing where the swarm is on this machine only."""
    if options.loopback:
        return ()
    if options.proxy:
        return ("the swarm and its trackers see the proxy's address, not this machine's; nobody can connect to us",)
    notes = ["everyone in the swarm, and every tracker that is asked, can see this machine's network address"]
    if options.anonymous:
        notes.append("anonymous: the client's name and version are not told; the network address still is")
    return tuple(notes)
