"""Files <-> columns of notes and events; numpy, no torch."""

from arietta.midi import writer as writer  # so that pieces can be saved
