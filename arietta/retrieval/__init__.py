"""Collections of music as vectors: kept on disk, searched, drawn as a map."""
