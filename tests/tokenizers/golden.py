"""Golden data: the part in the repository, or all of it where it lies beside the checkout."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import arietta.midi.reader
from arietta.midi.piece import Piece

# Times of the reference that are this far off are rounding, not its tempo arithmetic.
ROUNDING_MS = 0.5
# Where we differ on purpose unless asked for the reference: SMPTE time.
BETTER = {"syn_smpte_division"}


@dataclass(frozen=True)
class Golden:
    root: Path

    def json(self, name: str) -> Any:
        packed = self.root / f"{name}.json.gz"
        if packed.exists():
            return json.loads(gzip.decompress(packed.read_bytes()))
        return json.loads((self.root / f"{name}.json").read_text(encoding="utf8"))

    def files(self) -> Iterator[dict[str, Any]]:
        """Token files of the MIDI files that the reference could read."""
        for path in sorted((self.root / "tokens").iterdir()):
            name = path.name.split(".json")[0]
            entry = self.json(f"tokens/{name}")
            if "parse_error" not in entry:
                yield entry

    def piece(self, name: str) -> Piece:
        return arietta.midi.reader.read(self.root / "midi" / f"{name}.mid", compat="aria")

    def cases(self) -> Iterator[tuple[dict[str, Any], Piece, Any]]:
        """(expected, piece, compat) for every arithmetic that has to give what is expected."""
        for entry in self.files():
            piece = self.piece(entry["name"])
            yield entry, piece, "aria"
            error = max((entry.get("reference_time_error") or {"none": 0}).values())
            if error <= ROUNDING_MS and entry["name"] not in BETTER:
                yield entry, piece, None


def note_rows(piece: Piece) -> list[list[int]]:
    """Rows as golden data has them: pitch, velocity, start, end, channel."""
    n = piece.notes
    return list(
        map(
            list,
            zip(
                n.pitch.tolist(),
                n.velocity.tolist(),
                n.onset_tick.tolist(),
                n.offset_tick.tolist(),
                n.channel.tolist(),
                strict=True,
            ),
        )
    )


def program_rows(piece: Piece) -> list[list[int]]:
    """Rows as golden data has them: tick, channel, program."""
    p = piece.programs
    return list(
        map(list, zip(p.tick.tolist(), p.channel.tolist(), p.program.tolist(), strict=True))
    )


def pedal_rows(piece: Piece) -> list[list[int]]:
    """Rows as golden data has them: tick, channel, value."""
    p = piece.pedals
    return list(map(list, zip(p.tick.tolist(), p.channel.tolist(), p.value.tolist(), strict=True)))
