"""Files <-> columns of notes and events; numpy, no torch."""
