"""A fuzz target a format, a corpus to begin from, and what runs them: ``python -m tests.fuzz``."""
