"""Other people's readers open what ``generate`` writes, and count the same notes."""

from __future__ import annotations

from collections.abc import Callable
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
    mido = pytest.importorskip("mido")
    file = mido.MidiFile(path, clip=False)
    return sum(m.type == "note_on" and m.velocity > 0 for track in file.tracks for m in track)


def by_pretty_midi(path: Path) -> int:
    pretty_midi = pytest.importorskip("pretty_midi")
    return sum(len(part.notes) for part in pretty_midi.PrettyMIDI(str(path)).instruments)


def by_symusic(path: Path) -> int:
    symusic = pytest.importorskip("symusic")
    return int(symusic.Score(path).note_num())


def by_partitura(path: Path) -> int:
    partitura = pytest.importorskip("partitura")
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
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.mid")))
def test_strict_readers_count_the_same_notes(tiny, tmp_path: Path, name: str, reader: str) -> None:
    count: Callable[[Path], int] = READERS[reader]
    prompt = read(CASES / f"{name}.mid")
    target = tmp_path / "out.mid"
    prompt.save(target)
    try:
        before = count(target)
    except Exception:  # the prompt as it came is too broken for them; what we write is not
        before = None
    for seed, mix in enumerate(MIXES):
        request = Request(**mix, seed=seed)  # type: ignore[arg-type]
        out = ContinuationStream(tiny.engine("piano"), prompt, request, SamplingSettings())
        made = out.run()[0]
        made.save(target, force=True)
        whole = count(target)
        made.save(target, only_new=True, force=True)
        assert count(target) == len(made.new) == made.stats.notes, mix
        if len(made.prompt) == len(prompt) and before is not None and name not in ENDED_OTHERWISE:
            # What a reader makes of the prompt is its own affair (zero-length and unended notes).
            assert whole - before == len(made.new), mix
        assert len(read_bytes(made.to_bytes())) == len(made.prompt) + len(made.new)
