"""``arietta info``: what is in a MIDI file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import JsonFlag, clock, emit, new_app, print_pairs, printable
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece

app = new_app()

_NAMES = ("C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B")
_STUCK_S = 60.0
_LEAD_IN_S = 5.0


@app.command()
def info(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="MIDI file.")] = None,
    of_system: Annotated[
        bool, typer.Option("--system", help="Show what runs on this machine instead of a file.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show what is in a MIDI file: length, notes, tempo, metre, key, instruments, pedal.

    The key is estimated beside the written one, and whether the file is a performance or a score.
    Warnings name what would surprise a listener or a model, and what reading dropped or doubted:
    silence before the first note, stuck or unended notes, drums, a missing pedal, damage.

    With --system: versions, processor, and which compiled parts run here and why others do not.

    \b
    Examples:
      arietta info nocturne.mid
      arietta info --system
    """
    if of_system:
        if file is not None:
            raise UsageError("`system` tells of this machine and takes no file")
        found = system()
        if as_json:
            emit(found)
        else:
            print_pairs((name.replace("_", " "), str(value)) for name, value in found.items())
        return
    if file is None:
        raise UsageError("name a MIDI file, or --system for this machine")
    from arietta.midi.reader import read

    facts = describe(read(file))
    if as_json:
        emit({"file": str(file), **facts})
    else:
        print_pairs([("file", printable(str(file))), *_lines(facts)])


def system() -> dict[str, Any]:
    """Return what runs on this machine: versions, processor, the state of the compiled parts."""
    import platform

    from arietta._version import __version__
    from arietta.midi.reader import parse_c
    from arietta.models.kernel.bindings import library, state
    from arietta.models.kernel.threads import physical_cores

    slow = "not built: the plain Python reader reads, about five times slower"
    return {
        "arietta": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": physical_cores(),
        "midi_reader": slow if parse_c is None else "compiled",
        "kernel": state(),
        "int8_and_int4_run_on": "openvino" if library() is None else "kernel",
    }


def describe(piece: Piece) -> dict[str, Any]:
    """Everything ``info`` shows, as JSON values; times in seconds, None for what is not stated."""
    import numpy as np

    from arietta.midi.grid import estimate_kind
    from arietta.midi.instruments import CLASSES, DRUMS, channel_classes
    from arietta.midi.key import estimate_key, key_name
    from arietta.midi.notes import DRUM_CHANNEL

    notes = piece.notes
    n = len(notes)
    onset_s = piece.onset_ms / 1000
    duration_s = piece.duration_ms / 1000
    first = float(onset_s.min()) if n else 0.0
    end = float((onset_s + duration_s).max()) if n else 0.0
    seconds = end - first

    classes = channel_classes(piece)
    used = np.unique(notes.channel).tolist()
    instruments = {
        "drums" if classes[channel] == DRUMS else CLASSES[classes[channel]]: 0 for channel in used
    }
    for channel in used:
        name = "drums" if classes[channel] == DRUMS else CLASSES[classes[channel]]
        instruments[name] += int(np.count_nonzero(notes.channel == channel))
    names = piece.track_names
    tracks = [
        {
            "track": int(t),
            "name": names.get(int(t)),
            "notes": int(np.count_nonzero(notes.track == t)),
        }
        for t in np.unique(notes.track)
    ]
    micros = piece.tempo.from_start.us_per_quarter
    found_key, found_kind = estimate_key(piece), estimate_kind(piece)
    bpm = 60e6 / np.maximum(micros, 1)
    metre = [f"{a}/{b}" if b <= 64 else "damaged" for _, a, b in piece.time_signatures]
    key = [key_name(sharps, minor) for _, sharps, minor in piece.key_signatures]
    return {
        "notes": n,
        "seconds": round(seconds, 3),
        "first_note_s": round(first, 3) if n else None,
        "notes_per_second": round(n / seconds, 2) if seconds > 0 else None,
        "pitch_range": [int(notes.pitch.min()), int(notes.pitch.max())] if n else None,
        "velocity_range": [int(notes.velocity.min()), int(notes.velocity.max())] if n else None,
        "velocity_median": float(np.median(notes.velocity)) if n else None,
        "tempo_bpm": round(float(bpm[0]), 2) if piece.tempo.division > 0 else None,
        "tempo_bpm_range": [round(float(bpm.min()), 2), round(float(bpm.max()), 2)],
        "tempo_changes": len(bpm) - 1,
        "metre": metre,
        "key": key,
        "key_estimate": None
        if found_key is None
        else {
            "key": key_name(found_key.sharps, found_key.is_minor),
            "confidence": found_key.confidence,
        },
        "kind": None
        if found_kind is None
        else {"kind": found_kind.kind, "confidence": found_kind.confidence},
        "tracks": tracks,
        "instruments": instruments,
        "pedal_events": int(np.count_nonzero(piece.pedals.channel != DRUM_CHANNEL)),
        "pedal_down_share": _pedal_share(piece, first, end),
        "ticks_per_quarter": piece.tempo.division if piece.tempo.division > 0 else None,
        "text": [text.rstrip("\0 \t\r\n") for _, text in piece.text],
        "warnings": _warnings(piece, first, instruments),
    }


def _pedal_share(piece: Piece, first_s: float, end_s: float) -> float | None:
    """Share of the time between first key-down and last key-up with the pedal down."""
    import numpy as np

    from arietta.midi.pedal import pedal_intervals

    if not len(piece.pedals) or end_s <= first_s:
        return None
    longest = 0.0
    for channel in np.unique(piece.pedals.channel):
        start, end = (
            np.clip(piece.tempo.ms_at(t) / 1000, first_s, end_s)
            for t in pedal_intervals(piece, int(channel))
        )
        longest = max(longest, float(np.maximum(end - start, 0).sum()))
    return round(longest / (end_s - first_s), 3)


def _warnings(piece: Piece, first_s: float, instruments: dict[str, int]) -> list[str]:
    from arietta.midi.doubts import doubts

    found = doubts(piece)
    n = len(piece)
    if not n:
        return [*found, "no notes"]
    if first_s >= _LEAD_IN_S:
        found.append(f"{first_s:.1f} s of silence before the first note")
    stuck = int((piece.duration_ms > _STUCK_S * 1000).sum())
    if stuck:
        found.append(f"{stuck} notes longer than {_STUCK_S:.0f} s; stuck keys?")
    empty = int((piece.duration_ms <= 0).sum())
    if empty:
        found.append(f"{empty} notes of no length")
    outside = int(((piece.notes.pitch < 21) | (piece.notes.pitch > 108)).sum())
    if outside:
        found.append(f"{outside} notes outside the 88 keys")
    if "drums" in instruments:
        found.append("drums: left out by the piano vocabulary and by the sampler")
    others = sorted(set(instruments) - {"piano", "drums"})
    if others:
        found.append(f"not only piano: {', '.join(others)}")
    if not len(piece.pedals):
        found.append("no sustain pedal")
    if piece.tempo.division < 0:
        found.append("SMPTE time: no tempo, metre or bars")
    velocity = piece.notes.velocity
    if n > 20 and velocity.min() == velocity.max():
        found.append(f"every note has velocity {velocity[0]}: a score rather than a performance")
    return found


def _lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("notes", f"{facts['notes']:,}")]
    if facts["notes"]:
        low, high = facts["pitch_range"]
        soft, loud = facts["velocity_range"]
        density = facts["notes_per_second"]
        rows += [
            ("length", f"{clock(facts['seconds'])}, first note at {clock(facts['first_note_s'])}"),
            ("density", f"{density:.1f} notes a second" if density is not None else ""),
            ("range", f"{_pitch_name(low)} to {_pitch_name(high)} ({low}-{high})"),
            ("velocity", f"{soft} to {loud}, median {facts['velocity_median']:.0f}"),
        ]
    rows.append(("tempo", _tempo_line(facts)))
    rows.append(("metre", _changes(facts["metre"])))
    rows.append(("key", _key_line(facts)))
    if facts["kind"] is not None:
        kind = facts["kind"]
        rows.append(("kind", f"{kind['kind']} (confidence {kind['confidence']:.0%})"))
    rows.append(("instruments", ", ".join(f"{k} ({v:,})" for k, v in facts["instruments"].items())))
    named = [
        f"{t['track']}: {printable(t['name'] or '-')} ({t['notes']:,})" for t in facts["tracks"]
    ]
    rows.append(("tracks", "\n".join(named) if len(named) > 1 or facts["tracks"] else ""))
    share = facts["pedal_down_share"]
    pedal = f"{facts['pedal_events']:,} events"
    rows.append(("pedal", pedal + (f", down {share:.0%} of the time" if share is not None else "")))
    rows.append(("text", "\n".join(printable(" ".join(t.split())) for t in facts["text"][:5])))
    rows.append(("warnings", "\n".join(map(printable, facts["warnings"]))))
    return rows


def _key_line(facts: dict[str, Any]) -> str:
    written, found = _changes(facts["key"]), facts["key_estimate"]
    if found is None:
        return written
    estimate = f"{found['key']} estimated (confidence {found['confidence']:.0%})"
    return f"{written}; {estimate}" if written else estimate


def _tempo_line(facts: dict[str, Any]) -> str:
    if facts["tempo_bpm"] is None:
        return "none (SMPTE time)"
    text = f"{facts['tempo_bpm']:g} quarters a minute"
    if facts["tempo_changes"]:
        low, high = facts["tempo_bpm_range"]
        text += f", {facts['tempo_changes']} changes from {low:g} to {high:g}"
    return text


def _changes(values: list[str]) -> str:
    if len(values) <= 6:
        return ", ".join(values)
    return f"{', '.join(values[:5])} and {len(values) - 5} more changes"


def _pitch_name(pitch: int) -> str:
    return f"{_NAMES[pitch % 12]}{pitch // 12 - 1}"
