"""Folders and archives of MIDI -> training examples. No torch here."""
