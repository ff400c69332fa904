"""Atomic writes, locks, CSV cells, JSON; nothing here knows about images."""
