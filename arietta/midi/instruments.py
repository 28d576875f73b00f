"""Programs, channels and instrument classes (specification A.4, A.5)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from arietta.errors import UsageError
from arietta.midi.notes import DRUM_CHANNEL, ProgramTable
from arietta.midi.piece import Piece
from arietta.midi.tempo import Compat

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


def sounding_programs(piece: Piece) -> ProgramTable:
    """Return the program changes under which a note of their channel begins.

    A program at a note's own tick counts for it. A recorder's reset behind the music, or a program
    that another one replaces before any note, does not sound. Those of a channel without notes
    stay: nothing says that they were not meant.
    """
    programs, notes = piece.programs, piece.notes
    sounding = np.zeros(len(programs), np.bool_)
    for channel in np.unique(programs.channel):
        rows = np.flatnonzero(programs.channel == channel)
        onsets = notes.onset_tick[notes.channel == channel]
        if not len(onsets):
            sounding[rows] = True
            continue
        in_force = np.searchsorted(programs.tick[rows], onsets, side="right") - 1
        sounding[rows[np.unique(in_force[in_force >= 0])]] = True
    return programs.take(sounding)


def channel_classes(piece: Piece) -> dict[int, int]:
    """Channel -> class number for every channel with notes or a program change.

    The last program that sounds decides for the whole channel; where none does, the last one.
    Without a program the channel is piano (0). Channel 9 is always ``DRUMS``.
    """
    classes = {int(channel): 0 for channel in np.unique(piece.notes.channel)}
    for programs in (piece.programs, sounding_programs(piece)):
        for channel, program in zip(
            programs.channel.tolist(), programs.program.tolist(), strict=True
        ):
            classes[channel] = program // 8
    if DRUM_CHANNEL in classes:
        classes[DRUM_CHANNEL] = DRUMS
    return classes


def ignored_channels(
    piece: Piece,
    ignored: Collection[str] = DEFAULT_IGNORED,
    *,
    compat: Compat | None = None,
) -> list[int]:
    """Channels that ``remove_ignored`` empties, ascending.

    Raises:
        UsageError: a name in ``ignored`` is not one of ``CLASSES``.
    """
    unknown = sorted(set(ignored) - set(CLASSES))
    if unknown:
        raise UsageError(f"unknown instrument class {unknown[0]!r}; known: {', '.join(CLASSES)}")
    numbers = [CLASSES.index(name) for name in ignored]
    programs = piece.programs if compat else sounding_programs(piece)
    # Program 0 is never tested by the reference, also when a configuration ignores piano.
    hit = np.isin(programs.program // 8, numbers) & (programs.program > 0)
    hit &= programs.channel != DRUM_CHANNEL
    return [int(channel) for channel in np.unique(programs.channel[hit])]


def remove_ignored(
    piece: Piece,
    ignored: Collection[str] = DEFAULT_IGNORED,
    *,
    compat: Compat | None = None,
) -> Piece:
    """Return the piece without the channels that ever play a program of an ignored class.

    Notes, pedals and program changes of such a channel go, whatever else it plays; channel 9 always
    stays. The same object comes back where nothing has to go.

    Args:
        piece: what to choose from.
        ignored: names of ``CLASSES``.
        compat: ``"aria"`` also counts programs under which no note begins.

    Raises:
        UsageError: a name in ``ignored`` is not one of ``CLASSES``.
    """
    channels = ignored_channels(piece, ignored, compat=compat)
    if not channels:
        return piece
    notes, pedals, programs = piece.notes, piece.pedals, piece.programs
    return replace(
        piece,
        notes=notes.take(~np.isin(notes.channel, channels)),
        pedals=pedals.take(~np.isin(pedals.channel, channels)),
        programs=programs.take(~np.isin(programs.channel, channels)),
    )
