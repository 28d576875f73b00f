"""Playing a score with a Pianist Transformer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from arietta.arrays import Int32Array, IntArray
from arietta.midi.merged import MergedNotes, pedal_of
from arietta.models.pianist.protocol import PianistBackend
from arietta.notation.score_notes import PerformedNotes, ScoreNotes
from arietta.rendering.blocks import BlockRender
from arietta.rendering.players import Report, Stop, Take
from arietta.rendering.settings import BlockSettings
from arietta.tokenizers.pianist import (
    MAX_DURATION_MS,
    MAX_IOI_MS,
    SLOTS,
    columns_of,
    columns_of_ids,
    ids_of_columns,
    notes_of,
    with_floor,
)


@dataclass(frozen=True)
class PianistPlayer:
    """Plays with a Pianist Transformer.

    Attributes:
        backend: the model.
        settings: how ids are drawn.
        origin: what else provenance says: the model's name and hash.
    """

    backend: PianistBackend
    settings: BlockSettings = field(default_factory=BlockSettings)
    origin: Mapping[str, Any] = field(default_factory=dict)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What plays, with which settings."""
        settings = self.settings
        return {
            **self.origin,
            "settings": {
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "top_k": settings.top_k,
            },
            "seed": settings.seed,
        }

    def perform(self, score: ScoreNotes) -> PerformedNotes:
        """One performance, as ``Renderer`` has it."""
        return self.takes(score)[0].performed

    def takes(
        self,
        score: ScoreNotes,
        variations: Sequence[int] = (0,),
        *,
        report: Report | None = None,
        stop: Stop | None = None,
    ) -> list[Take]:
        """See ``Player.takes``."""
        ids, order = score_ids(score)
        render = BlockRender(
            self.backend, [ids] * len(variations), self.settings, variations=variations
        )
        for now in render:
            if report is not None:
                report(now)
            if stop is not None and stop():
                render.cancel()
        return [
            Take(performed_notes(score, ids, found, order), len(found) // SLOTS)
            for found in render.results()
        ]


def score_ids(score: ScoreNotes) -> tuple[Int32Array, IntArray]:
    """Ids of a score for ``PianistTokenizer``, and (n,) the row behind each note of them.

    Notes stand by millisecond, then pitch, which differs from the score's order where two onsets
    fall into one millisecond.
    """
    onset = np.rint(score.onset_ms).astype(np.int64)
    order = np.lexsort((score.pitch, onset))
    offset = np.rint(score.onset_ms + score.duration_ms).astype(np.int64)
    pedal_ms, pedal_value = pedal_of(score.piece)
    notes = MergedNotes(
        onset[order],
        np.maximum(offset, onset + 1)[order],
        score.pitch[order].astype(np.int64),
        score.velocity[order].astype(np.int64),
        pedal_ms,
        pedal_value,
    )
    return ids_of_columns(columns_of(notes)), order


def performed_notes(
    score: ScoreNotes, score_ids: Int32Array, ids: Int32Array, order: IntArray
) -> PerformedNotes:
    """Return the performance that ids stand for, in the rows of the score.

    Differs from the public reading in what a musician would miss: the first note stays where the
    score has it, what the score has beyond the 5 s of a gap or note is kept, and no note is silent.

    Args:
        score: what is played.
        score_ids: its ids.
        ids: of the performance, as many whole notes as there are; the rest plays as written.
        order: the row behind each note.
    """
    whole = score_ids.copy()
    whole[: len(ids)] = ids
    written = columns_of_ids(score_ids)
    columns = with_floor(columns_of_ids(whole), written.ioi_ms)
    onset = np.rint(score.onset_ms).astype(np.int64)[order]
    gap = np.diff(onset, prepend=0)
    excess = np.maximum(gap - MAX_IOI_MS, 0)
    length = np.rint(score.duration_ms).astype(np.int64)[order]
    ioi = columns.ioi_ms + excess
    ioi[:1] = gap[:1]
    # The pedal's samples stand between onsets; a restored pause stretches the last of them.
    notes = notes_of(replace(columns, ioi_ms=ioi))
    duration = notes.offset_ms - notes.onset_ms + np.maximum(length - MAX_DURATION_MS, 0)
    back = np.argsort(order)
    return PerformedNotes(
        notes.onset_ms[back].astype(np.float64),
        duration[back].astype(np.float64),
        notes.velocity[back].astype(np.uint8),
        notes.pedal_ms.astype(np.float64),
        notes.pedal_value.astype(np.uint8),
    )
