"""Pieces <-> ids; vectorised numpy."""
