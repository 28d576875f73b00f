"""Playing with the model as it happens: the duet, its ports, what schedules and records it."""
