"""Define what a run learns, one task a file."""
