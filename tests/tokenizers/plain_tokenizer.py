"""The slow, obvious tokenizer, one note at a time: what the vectorised one is compared with.

Written from the specification (A.2 to A.5, B.2, B.3) without looking at the fast code, in plain
Python numbers. It also has the exact tempo walk with the reference's order of float operations.
"""

from __future__ import annotations

from arietta.midi.instruments import CLASSES
from arietta.midi.piece import Piece
from arietta.tokenizers.vocabulary import Vocabulary

DRUMS = 9
IGNORED = {"chromatic", "synth_pad", "synth_effect", "ethnic", "percussive", "sfx"}


def nearest(x: int, n: int) -> int:
    """Of the grid 0, 10, ..., 10 (n - 1) the value nearest to x, ties as in a binary search."""
    best, low, high = 0, 0, n - 1
    while low <= high:
        middle = (low + high) // 2
        if abs(10 * middle - x) < abs(10 * best - x):
            best = middle
        if 10 * middle < x:
            low = middle + 1
        else:
            high = middle - 1
    return 10 * best


def distance_ms(piece: Piece, a: int, b: int, compat: str | None) -> int:
    """Rounded milliseconds from tick a to tick b >= a, walking over the tempo events."""
    ticks = piece.tempo.tick.tolist()
    scale = [us * 1e-6 / piece.tempo.division for us in piece.tempo.us_per_quarter.tolist()]
    n, total = len(ticks), 0.0
    if compat == "aria":
        before = min(sum(t < a for t in ticks), n - 1)
        current = a
        for j in range(max(0, before - 1), n - 1):
            if b < ticks[j + 1]:
                total += (b - current) * scale[j]
                break
            total += (ticks[j + 1] - current) * scale[j]
            current = ticks[j + 1]
        if b > ticks[-1]:
            total += (b - current) * scale[-1]
        return round(total * 1000)
    if ticks[0] > 0:  # 120 quarters a minute up to the first tempo
        ticks, scale, n = [0, *ticks], [0.5 / piece.tempo.division, *scale], n + 1
    i = max(sum(t <= a for t in ticks) - 1, 0)
    current = a
    while i + 1 < n and ticks[i + 1] <= b:
        total += (ticks[i + 1] - current) * scale[i]
        current = ticks[i + 1]
        i += 1
    total += (b - current) * scale[i]
    return round(total * 1000)


def pedal_intervals(piece: Piece, channel: int, last_end: int) -> list[tuple[int, int]]:
    intervals, opened = [], None
    events = zip(
        piece.pedals.tick.tolist(),
        piece.pedals.value.tolist(),
        piece.pedals.channel.tolist(),
        strict=True,
    )
    for tick, value, c in events:
        if c != channel:
            continue
        if value >= 64 and opened is None:
            opened = tick
        elif value < 64 and opened is not None:
            intervals.append((opened, tick))
            opened = None
    if opened is not None:
        intervals.append((opened, last_end))
    return intervals


def sounding(piece: Piece) -> list[tuple[int, int]]:
    """(program, channel) of the changes under which a note begins, or whose channel has none."""
    p, n = piece.programs, piece.notes
    rows = list(zip(p.tick.tolist(), p.program.tolist(), p.channel.tolist(), strict=True))
    onsets = list(zip(n.onset_tick.tolist(), n.channel.tolist(), strict=True))
    kept = []
    for i, (tick, program, channel) in enumerate(rows):
        later = [t for t, _, c in rows[i + 1 :] if c == channel]
        mine = [t for t, c in onsets if c == channel]
        if not mine or any(t >= tick and not any(x <= t for x in later) for t in mine):
            kept.append((program, channel))
    return kept


def encode(piece: Piece, vocab: Vocabulary, compat: str | None, keep_silence: bool) -> list[int]:
    """Ids with the prefix in ascending order and <E>; [] where no note is left."""
    merge = vocab.merge_to_piano
    in_use = [c for c in CLASSES if (c not in IGNORED if merge else c in vocab.classes)]
    programs = list(
        zip(piece.programs.program.tolist(), piece.programs.channel.tolist(), strict=True)
    )
    if compat is None:
        programs = sounding(piece)
    gone = {c for p, c in programs if c != DRUMS and p >= 1 and CLASSES[p // 8] not in in_use}
    n = piece.notes
    notes = [
        row
        for row in zip(
            n.onset_tick.tolist(),
            n.offset_tick.tolist(),
            n.pitch.tolist(),
            n.velocity.tolist(),
            n.channel.tolist(),
            strict=True,
        )
        if row[4] not in gone and not (merge and row[4] == DRUMS)
    ]
    if not notes:
        return []
    kind_of = {c: "piano" for *_, c in notes}
    for p, c in programs:
        if c not in gone:
            kind_of[c] = "piano" if merge else CLASSES[p // 8]
    names = [name for c, name in kind_of.items() if c != DRUMS]
    if merge:
        names = ["piano"]
    if vocab.drums and any(c == DRUMS for *_, c in notes):
        names.append("drum")
    ids_of = vocab.token_ids
    ids = [*sorted({ids_of["prefix", "instrument", name] for name in names}), ids_of["<S>"]]
    last_end = notes[-1][1]
    held = {c: pedal_intervals(piece, c, last_end) for c in kind_of}
    events = [(start, 0, row) for row in notes for start in row[:1]]
    if vocab.pedal:
        p = piece.pedals
        rows = zip(p.tick.tolist(), p.value.tolist(), p.channel.tolist(), strict=True)
        events += [
            (t, 1, (t, value, c))
            for t, value, c in rows
            if c not in gone and (compat == "aria" or c != DRUMS)
        ]
    events.sort(key=lambda e: e[:2])
    zero = 0 if keep_silence else events[0][0]
    segment = 0
    for tick, is_pedal, row in events:
        ms = distance_ms(piece, zero, tick, compat)
        onset = ids_of["onset", nearest(ms % 5000, 500)]
        body: list[int]
        if is_pedal:
            name = "<PED_ON>" if row[1] >= 64 else "<PED_OFF>"
            body = [ids_of["<U>"] if row[2] == DRUMS else ids_of[name], onset]
        elif row[4] == DRUMS:
            body = [ids_of.get(("drum", row[2]), ids_of["<U>"]), onset] if vocab.drums else []
        else:
            end = next((b for a, b in held[row[4]] if a < row[1] < b), row[1])
            long = distance_ms(piece, tick, end, compat)
            duration = max(nearest(min(max(long, 0), 5000), 501), 10)
            velocity = max(nearest(row[3], 13), 10)
            body = [ids_of[kind_of[row[4]], row[2], velocity], onset, ids_of["dur", duration]]
        ids += [ids_of["<T>"]] * (ms // 5000 - segment)
        segment = ms // 5000
        ids += body
    return [*ids, ids_of["<E>"]]
