"""Ids that tell a model how dense, how high and how loud the music is from a place on.

They stand between two events and hold for what follows. Models that know them read a vocabulary
with ``filling``; nothing generates them, they are given.

    density    level k: 1.6 * 2 ** (k / 3) notes a second
    register   level k: a mean MIDI pitch of 42 + 3.5 k
    loudness   level k: a mean MIDI velocity of 30 + 6 k
"""

from __future__ import annotations

import math

from arietta.tokenizers.vocabulary import CONTROL_LEVELS, CONTROLS, Vocabulary

LOWEST_DENSITY = 1.6
LEVELS_PER_OCTAVE = 3
LOWEST_REGISTER, REGISTER_STEP = 42.0, 3.5
LOWEST_LOUDNESS, LOUDNESS_STEP = 30.0, 6.0


def density_level(notes_per_second: float) -> int:
    """Return the level of a density above 0."""
    return _clipped(LEVELS_PER_OCTAVE * math.log2(notes_per_second / LOWEST_DENSITY))


def register_level(mean_pitch: float) -> int:
    """Return the level of a mean MIDI pitch."""
    return _clipped((mean_pitch - LOWEST_REGISTER) / REGISTER_STEP)


def loudness_level(mean_velocity: float) -> int:
    """Return the level of a mean MIDI velocity."""
    return _clipped((mean_velocity - LOWEST_LOUDNESS) / LOUDNESS_STEP)


def control_id(vocabulary: Vocabulary, control: str, level: int) -> int:
    """Return the id of a level of one of ``CONTROLS``."""
    assert vocabulary.filling and 0 <= level < CONTROL_LEVELS
    return vocabulary.control_start + CONTROLS.index(control) * CONTROL_LEVELS + level


def _clipped(level: float) -> int:
    return min(max(round(level), 0), CONTROL_LEVELS - 1)
