"""Find surprising notes and likely errors: the use case behind ``arietta score``."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arietta.api.models import DEFAULT_MODEL
from arietta.api.pieces import as_piece
from arietta.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.arrays import AnyFloatArray
    from arietta.midi.piece import Piece

SUFFIXES = (".json", ".csv", ".png")


@dataclass(frozen=True, eq=False)
class ScoreResult:
    """What ``score`` found.

    Attributes:
        file: where the piece came from.
        model, model_sha256: what scored it.
        keys: the notes as the keys went down and up.
        bits: (n,) surprise of each note.
        notes: one row a note: times, key, velocity, bits, and suspicion unless it was quick.
        top: numbers of the listed notes, in order.
        by_bits: whether they are the most surprising; else those likeliest to be wrong.
    """

    file: str
    model: str
    model_sha256: str
    keys: Piece
    bits: AnyFloatArray
    notes: tuple[dict[str, Any], ...]
    top: tuple[int, ...]
    by_bits: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values without the notes that are not listed."""
        return {
            "file": self.file,
            "model": self.model,
            "model_sha256": self.model_sha256,
            "notes": len(self.bits),
            "bits_per_note": round(float(self.bits.mean()), 3),
            "top": [self.notes[i] for i in self.top],
        }

    def save(self, path: Path, *, force: bool = False) -> None:
        """Write every note as ``.json`` or ``.csv``, or a piano roll as ``.png``.

        Raises:
            OutputError: the file exists or cannot be written.
        """
        from arietta.output import json_text, whole_file

        with whole_file(path, force=force) as part:
            if path.suffix.lower() == ".json":
                whole = {**self.to_dict(), "notes": list(self.notes)}
                part.write_text(json_text(whole) + "\n", encoding="utf-8")
            elif path.suffix.lower() == ".csv":
                with part.open("w", encoding="utf-8", newline="") as handle:
                    writer = csv.DictWriter(handle, fieldnames=list(self.notes[0]))
                    writer.writeheader()
                    writer.writerows(self.notes)
            else:
                self._draw(part)

    def _draw(self, path: Path) -> None:
        from arietta.evaluation.pictures import draw_notes

        what = "most surprising" if self.by_bits else "likeliest to be wrong"
        ringed = f" Ringed: the {len(self.top)} notes {what}, in order." if self.top else ""
        draw_notes(
            path,
            self.keys,
            self.bits,
            title=f"{Path(self.file).name}: how surprising each note is to {self.model}",
            label="surprise, bits",
            marked=self.top,
            caption=f"Bars last while the key is down.{ringed}",
        )


def score(
    piece: Piece | str | PathLike[str],
    outputs: Sequence[str | PathLike[str]] = (),
    *,
    model: str | PathLike[str] = DEFAULT_MODEL,
    top: int = 10,
    by: Literal["suspicion", "bits"] | None = None,
    quick: bool = False,
    force: bool = False,
    report: Callable[[int, int, float], None] = lambda *_: None,
) -> ScoreResult:
    """Measure how surprising each note is, and how likely it is wrong.

    Args:
        piece: solo-piano music, or the path of a MIDI file.
        outputs: files to write: ``.json``, ``.csv`` or ``.png``.
        model: whose expectations count.
        top: how many notes to list.
        by: list the likely wrong notes, or the most surprising; the first where it is known.
        quick: find bits alone, no suspicion.
        force: replace files that exist.
        report: called with notes done, all notes, and seconds that are left.

    Raises:
        InputError: the piece cannot be read or has no notes for a piano.
        MissingExtraError: a picture needs matplotlib.
        OutputError: a file exists or cannot be written.
        UsageError: an output has another suffix, or suspicion is wanted in a hurry.
    """
    import numpy as np

    from arietta.data.token_grid import grid_of
    from arietta.evaluation.error_detector import KINDS, find_errors
    from arietta.evaluation.surprise import surprise
    from arietta.models.aria.checkpoint import load
    from arietta.models.executors import open_backend
    from arietta.tokenizers.encoding import select_voices
    from arietta.tokenizers.open import tokenizer_named
    from arietta.tokenizers.vocabulary import vocabulary

    if quick and by == "suspicion":
        raise UsageError("`by` suspicion needs more than `quick` finds out; leave one of them out")
    targets = checked_outputs(outputs, force=force)
    checkpoint = load(model)
    checkpoint.require("lm", "conditioned")
    piece = as_piece(piece)
    notes = grid_of(piece).columns()
    # The same notes in the same order, as the keys went down and up.
    keys = select_voices(piece, vocabulary("piano")).piece
    assert len(keys) == len(notes.pitch)
    began = time.monotonic()
    found = surprise(
        notes,
        open_backend(checkpoint),
        tokenizer_named(checkpoint.tokenizer),
        removal=not quick,
        report=lambda done, total: report(
            done, total, (time.monotonic() - began) / max(done, 1) * (total - done)
        ),
    )
    bits = found.total
    rows: dict[str, Any] = {
        "onset_s": np.round(keys.onset_ms / 1000, 3),
        "duration_s": np.round(keys.duration_ms / 1000, 3),
        "pitch": keys.notes.pitch,
        "velocity": keys.notes.velocity,
        "bits": np.round(bits, 2),
        **{
            f"{name}_bits": np.round(getattr(found, name), 2)
            for name in ("pitch", "velocity", "onset", "duration", "time")
        },
    }
    ranked_by = bits
    if not quick:
        judged = find_errors(notes, found)
        rows["suspicion"] = np.round(judged.probability, 4)
        rows["looks_like"] = np.array(KINDS)[judged.kind]
        if by != "bits":
            ranked_by = judged.probability
    table = {name: column.tolist() for name, column in rows.items()}
    done = ScoreResult(
        str(piece.source or "piece"),
        checkpoint.name,
        checkpoint.sha256,
        keys,
        bits,
        tuple({"note": i, **{name: table[name][i] for name in table}} for i in range(len(bits))),
        tuple(np.argsort(-ranked_by, kind="stable")[:top].tolist()),
        ranked_by is bits,
    )
    for target in targets:
        done.save(target, force=force)
    return done


def checked_outputs(outputs: Sequence[str | PathLike[str]], *, force: bool) -> list[Path]:
    """Return the outputs, each once, before the work that fills them.

    Raises:
        MissingExtraError: a picture needs matplotlib.
        OutputError: a file exists or cannot be written.
        UsageError: one has another suffix.
    """
    from arietta.output import check_output

    targets = list(dict.fromkeys(map(Path, outputs)))
    for target in targets:
        if target.suffix.lower() not in SUFFIXES:
            raise UsageError(f"`output` {target}: its suffix is not one of {', '.join(SUFFIXES)}")
        check_output(target, force=force)
        if target.suffix.lower() == ".png" and find_spec("matplotlib") is None:
            raise MissingExtraError("drawing", "plot")
    return targets
