"""Formats in and out, cases, splits, geometry and the cache; nothing here knows about networks."""
