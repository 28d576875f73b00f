"""Music as vectors: embedded, classified, kept on disk, searched, drawn as a map."""
