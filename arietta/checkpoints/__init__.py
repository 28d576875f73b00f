"""A name or a path -> verified weights with their configuration."""
