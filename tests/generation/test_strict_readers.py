"""Other people's readers open what ``generate`` writes, and count the same notes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from arietta.generation.continuation import ContinuationStream, Request
from arietta.generation.sampling import SamplingSettings
from arietta.midi.reader import read, read_bytes

CASES = Path(__file__).parent.parent / "cases" / "midi"
MIXES: list[dict[str, object]] = [
    {"notes": 30},
    {"notes": 30, "seam": "now", "pedal": False, "groove": "off"},
    {"bars": 2.0, "groove": "tight"},
    {"notes": 30, "into": "0", "seam": "release"},
    {"seconds": 5.0, "prompt_seconds": 1.0, "end": True},
]


def by_mido(path: Path) -> int:
    mido = importlib.import_module("mido")
    file = mido.MidiFile(path, clip=False)
    return sum(m.type == "note_on" and m.velocity > 0 for track in file.tracks for m in track)


def by_pretty_midi(path: Path) -> int:
    pretty_midi = importlib.import_module("pretty_midi")
    return sum(len(part.notes) for part in pretty_midi.PrettyMIDI(str(path)).instruments)


def by_symusic(path: Path) -> int:
    symusic = importlib.import_module("symusic")
    return int(symusic.Score(path).note_num())


def by_partitura(path: Path) -> int:
    partitura = importlib.import_module("partitura")
    return len(partitura.load_performance_midi(str(path), merge_tracks=False).note_array())


ENDED_OTHERWISE = {"notes_end_by_cc123"}
"""Notes without a release of their own: readers that know none drop or stretch them."""

READERS = {
    "mido": by_mido,
    "pretty_midi": by_pretty_midi,
    "symusic": by_symusic,
    "partitura": by_partitura,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.mid")))
def test_strict_readers_count_the_same_notes(tiny, tmp_path: Path, name: str) -> None:
    readers = {known: count for known, count in READERS.items() if find_spec(known)}
    prompt = read(CASES / f"{name}.mid")
    target = tmp_path / "out.mid"
    prompt.save(target)
    before = {known: count_or_none(count, target) for known, count in readers.items()}
    for seed, mix in enumerate(MIXES):
        request = Request(**mix, seed=seed)  # type: ignore[arg-type]
        out = ContinuationStream(tiny.engine("piano"), prompt, request, SamplingSettings())
        made = out.run()[0]
        assert len(read_bytes(made.to_bytes())) == len(made.prompt) + len(made.new)
        whole, alone = tmp_path / "whole.mid", tmp_path / "alone.mid"
        made.save(whole, force=True)
        made.save(alone, only_new=True, force=True)
        for known, count in readers.items():
            assert count(alone) == len(made.new) == made.stats.notes, (known, mix)
            found, old = count(whole), before[known]
            if len(made.prompt) == len(prompt) and old is not None and name not in ENDED_OTHERWISE:
                # What a reader makes of the prompt is its own affair.
                assert found - old == len(made.new), (known, mix)


def count_or_none(count: Callable[[Path], int], path: Path) -> int | None:
    """The notes a reader counts; None where the prompt as it came is too broken for it."""
    try:
        return count(path)
    except Exception:
        return None
