"""Programs, channels and instrument classes (specification A.4, A.5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from arietta.errors import UsageError
from arietta.midi.notes import DRUM_CHANNEL, Piece

CLASSES = (
    "piano",
    "chromatic",
    "organ",
    "guitar",
    "bass",
    "strings",
    "ensemble",
    "brass",
    "reed",
    "pipe",
    "synth_lead",
    "synth_pad",
    "synth_effect",
    "ethnic",
    "percussive",
    "sfx",
)
"""Class of program p is ``CLASSES[p // 8]``."""

WRITE_PROGRAM = (0, 13, 16, 24, 32, 40, 48, 56, 64, 73, 80, 88, 96, 104, 112, 120)
"""The program that a class is written back with, in the order of ``CLASSES``."""

DEFAULT_IGNORED = frozenset(
    {"chromatic", "synth_pad", "synth_effect", "ethnic", "percussive", "sfx"}
)
"""Classes that the public tokenizer leaves out."""

DRUMS = len(CLASSES)
"""Class number of channel 9."""


def channel_classes(piece: Piece) -> dict[int, int]:
    """Channel -> class number for every channel with notes or a program change.

    The last program change in tick order decides for the whole channel; without one the channel is
    piano (0). Channel 9 is always ``DRUMS``.
    """
    programs = piece.programs
    classes = {int(channel): 0 for channel in np.unique(piece.notes.channel)}
    for channel, program in zip(programs.channel.tolist(), programs.program.tolist(), strict=True):
        classes[channel] = program // 8
    if DRUM_CHANNEL in classes:
        classes[DRUM_CHANNEL] = DRUMS
    return classes


def ignored_channels(piece: Piece, ignored: Collection[str] = DEFAULT_IGNORED) -> list[int]:
    """Channels that ``remove_ignored`` empties, ascending.

    Raises:
        UsageError: a name in ``ignored`` is not one of ``CLASSES``.
    """
    unknown = sorted(set(ignored) - set(CLASSES))
    if unknown:
        raise UsageError(f"unknown instrument class {unknown[0]!r}; known: {', '.join(CLASSES)}")
    numbers = [CLASSES.index(name) for name in ignored]
    programs = piece.programs
    # Program 0 is never tested by the reference, also when a configuration ignores piano.
    hit = np.isin(programs.program // 8, numbers) & (programs.program > 0)
    hit &= programs.channel != DRUM_CHANNEL
    return [int(channel) for channel in np.unique(programs.channel[hit])]


def remove_ignored(piece: Piece, ignored: Collection[str] = DEFAULT_IGNORED) -> Piece:
    """The piece without the channels that ever play a program of an ignored class.

    Notes, pedals and program changes of such a channel go, whatever else it plays; channel 9 always
    stays. The same object comes back where nothing has to go.

    Raises:
        UsageError: a name in ``ignored`` is not one of ``CLASSES``.
    """
    channels = ignored_channels(piece, ignored)
    if not channels:
        return piece
    notes, pedals, programs = piece.notes, piece.pedals, piece.programs
    return replace(
        piece,
        notes=notes.take(~np.isin(notes.channel, channels)),
        pedals=pedals.take(~np.isin(pedals.channel, channels)),
        programs=programs.take(~np.isin(programs.channel, channels)),
    )
