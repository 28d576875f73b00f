"""The HTTP server: the use cases of ``arietta.api`` for many listeners at once, and the studio."""
