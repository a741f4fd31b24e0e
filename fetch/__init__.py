"""Get the bytes: magnet links, the swarm, downloads that resume, and seeding."""
