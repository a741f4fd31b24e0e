"""Magnetar: from a magnet link to model weights that are proven to be the release, converted, and shown to work."""

__version__ = "0.1.0"
