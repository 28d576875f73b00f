"""What a run learns, one task a file."""
