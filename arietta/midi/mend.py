"""Opening what players open: the kinds of damage that leave no doubt about the music are mended.

For one file that somebody gives by hand. ``mend_chunks`` looks at header and chunks,
``mend_events`` at every event. Both return bytes that ``reader.read_bytes`` takes, and what was
mended in words. Building a dataset refuses such files instead.
"""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

from arietta.errors import MidiError
from arietta.midi.events import (
    END_OF_TRACK,
    FAULT_CUT,
    FAULT_DATA,
    FAULT_LONG_DELTA,
    FAULT_PADDING,
    FAULT_RUNNING,
    FAULT_STATUS,
    FAULT_TEMPO,
    Event,
    Walk,
    track_chunk,
    walk_track,
)
from arietta.midi.parse import file_span, track_spans

_HEADER = 14
_MOST_FAULTS = 3
_FAULT_SHARE = 0.01
"""More damaged events than both say that this is no MIDI data at all."""

_SAID = {
    FAULT_PADDING: "what stands behind the end of a track is left out",
    FAULT_LONG_DELTA: "a delta time of more than four bytes is read as a start before the clip",
    FAULT_RUNNING: "running status behind a system message is read as the channel's last",
    FAULT_STATUS: "an undefined status byte is left out",
    FAULT_DATA: "a data byte above 127 is read as 127",
    FAULT_TEMPO: "a tempo event of fewer than three bytes is left out",
    FAULT_CUT: "a track that is cut off is read as far as it goes",
}

Mended = tuple[bytes, tuple[str, ...]]


def foreign_format(data: bytes) -> str | None:
    """Name the format of a file that is no MIDI file, with the command that reads it."""
    head = data[:4096].removeprefix(b"\xef\xbb\xbf").lstrip()
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head.decode("utf-16", "ignore").lstrip("\ufeff").encode().lstrip()
    if data[:2] == b"\x1f\x8b":
        return "compressed with gzip: gunzip it first"
    if data[:1] == b"\0" and data[128:132] == b"MThd":
        return "MIDI in a MacBinary wrapping: cut it off first: tail -c +129 FILE > out.mid"
    if data[:8] == b"SMF2CLIP":
        return "a MIDI 2.0 clip (SMF2CLIP), not a standard MIDI file: save it as one"
    if data[:4] == b"PK\x03\x04":
        if b"META-INF/container.xml" in data[:4096] or b".musicxml" in data[:4096]:
            return "compressed MusicXML: arietta render FILE.mxl plays it"
        return "a zip archive: unzip it first"
    if head[:1] == b"<":
        if b"score-partwise" in head or b"score-timewise" in head or b"MusicXML" in head:
            return "MusicXML, a score: arietta render FILE.musicxml plays it"
        if b"<mei" in head:
            return "MEI, a score: arietta render FILE.mei plays it"
        return "XML, not a MIDI file"
    if head[:2] == b"**" or b"\n**kern" in head:
        return "Humdrum kern, a score: arietta render FILE.krn plays it"
    if head[:2] == b"X:" or head[:5] == b"%abc-" or head[:4] == b"%abc":
        return "ABC, a score: arietta render FILE.abc plays it"
    for mark, name in (
        (b"fLaC", "FLAC"),
        (b"OggS", "Ogg"),
        (b"ID3", "MP3"),
        (b"\xff\xfb", "MP3"),
        (b"RIFF", "WAVE" if data[8:12] == b"WAVE" else ""),
    ):
        if name and data.startswith(mark):
            return f"{name} sound, not MIDI: a transcriber such as transkun makes MIDI of it"
    return None


def mend_chunks(data: bytes) -> Mended:
    """Mend the header's number of tracks and the lengths of chunks.

    Bytes that need no mending come back as they are.

    Raises:
        MidiError: the file is of another format, or its header is malformed.
    """
    start, end = file_span(data)
    if data[start : start + 4] != b"MThd" or end - start < _HEADER:
        track_spans(data)  # says what is wrong
        return data, ()
    header_size = int.from_bytes(data[start + 4 : start + 8], "big")
    kind = int.from_bytes(data[start + 8 : start + 10], "big")
    count = int.from_bytes(data[start + 10 : start + 12], "big")
    if header_size < 6 or header_size > end - start - 8:
        return data, ()
    notices: list[str] = []
    pieces: list[bytes] = []  # chunks as they shall stand
    at = start + 8 + header_size
    tracks, changed = 0, False
    while end - at >= 8:
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "big")
        content = at + 8
        follows = content + size
        is_track = name == b"MTrk"
        if not is_track and (not _plausible(name) or size > end - content):
            break
        if not is_track:
            pieces.append(data[at:follows])
            at = follows
            continue
        lost = size > end - content
        if lost or (end - follows >= 8 and not _plausible(data[follows : follows + 4])):
            another = data.find(b"MTrk", content, end)
            if another > 0:
                notices.append(f"the length of track {tracks} is wrong")
                follows, lost, changed = another, False, True
            elif lost:
                follows = end
        if tracks >= max(count, 1) and (lost or _broken(data, content, follows)):
            notices.append("a broken track behind the last is left out")
            changed = True
            at = follows
            continue
        if follows == content + size:
            pieces.append(data[at:follows])
        elif lost:
            walk = walk_track(data, content, follows, stop_at_end=True)
            walk.faults.append((FAULT_CUT, follows if walk.lost is None else walk.lost))
            notices += _told(walk)
            pieces.append(_chunk(walk))
            changed = True
        else:
            body = data[content:follows]
            pieces.append(b"MTrk" + len(body).to_bytes(4, "big") + body)
        tracks += 1
        at = follows
    if not tracks:
        return data, ()
    if tracks != count:
        notices.append(f"the header promises {count} tracks, the file holds {tracks}")
        changed = True
    if kind == 0 and tracks > 1:
        notices.append(f"{tracks} tracks in a file of format 0, read as format 1")
        kind, changed = 1, True
    if not changed:
        return data, tuple(notices)
    head = bytearray(data[start : start + 8 + header_size])
    head[8:12] = kind.to_bytes(2, "big") + tracks.to_bytes(2, "big")
    return bytes(head) + b"".join(pieces), tuple(dict.fromkeys(notices))


def mend_events(data: bytes, error: MidiError | None = None) -> Mended:
    """Mend every event of a file that cannot be read, or whose times are absurd.

    Args:
        data: as ``mend_chunks`` gives it.
        error: the message of the reader.

    Raises:
        MidiError: ``error``, where the damage is too great to trust the rest.
    """
    start, end = file_span(data)
    _, spans = track_spans(data)
    walks = [walk_track(data, a, b, stop_at_end=True) for a, b in spans]
    damaged = sum(len(walk.faults) + (walk.lost is not None) for walk in walks)
    events = sum(len(walk.events) for walk in walks)
    untrusted = damaged > max(_MOST_FAULTS, _FAULT_SHARE * events)
    # Events behind which nothing can be read stand for a cut file only in its last track.
    untrusted |= any(walk.lost is not None for walk in walks[:-1])
    untrusted |= bool(walks) and walks[-1].lost is not None and not walks[-1].events
    if untrusted or not damaged:
        _refuse(error or MidiError("times that no player can keep"))
    head = data[start : spans[0][0] - 8] if spans else data[start:end]
    notices = [line for walk in walks for line in _told(walk)]
    return head + b"".join(map(_chunk, walks)), tuple(dict.fromkeys(notices))


def _refuse(error: MidiError) -> NoReturn:
    raise error


def _broken(data: bytes, start: int, end: int) -> bool:
    """Whether the events of a track cannot be read to their end."""
    walk = walk_track(data, start, end, stop_at_end=True)
    return walk.lost is not None or bool(walk.faults)


def _plausible(name: bytes) -> bool:
    """Whether four bytes look like the name of a chunk."""
    return len(name) == 4 and all(32 <= byte < 127 for byte in name)


def _chunk(walk: Walk) -> bytes:
    """Return the track that was read, with an end."""
    events = walk.events
    if not events or events[-1].message != END_OF_TRACK:
        events = [*events, Event(walk.end_tick, END_OF_TRACK)]
    return track_chunk(events)


def _told(walk: Walk) -> list[str]:
    """Return what was mended in a track, each kind once, with its first byte."""
    first: dict[str, int] = {}
    counts = Counter(kind for kind, _ in walk.faults)
    for kind, offset in walk.faults:
        first.setdefault(kind, offset)
    lines = [
        f"{_SAID[kind]} (byte {first[kind]}{f', {n} times' if n > 1 else ''})"
        for kind, n in counts.items()
    ]
    if walk.lost is not None and not counts[FAULT_CUT]:
        lines.append(f"{_SAID[FAULT_CUT]} (byte {walk.lost})")
    return lines
