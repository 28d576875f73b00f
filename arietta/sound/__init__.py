"""Piece -> audio: a piano bank, a sampler over it, audio files."""
