"""The version, for provenance; a leaf, so that no part has to import the whole."""

__version__ = "0.2.0"
