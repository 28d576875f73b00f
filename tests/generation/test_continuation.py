"""Prompt pieces and continued pieces: grids, bars, pedals, seams, provenance."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import InputError, TokenError, UsageError
from arietta.generation.continuation import Continuation, ContinuationStream, bar_seconds, prepare
from arietta.generation.settings import Request, SamplingSettings
from arietta.midi.notes import (
    ExtraTable,
    MessageList,
    NoteTable,
    empty_notes,
    note_table,
    pedal_table,
    program_table,
)
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer
from tests.midi.dump import dump

PIANO = AriaTokenizer("piano")


def extra(*rows: tuple[int, bytes]) -> ExtraTable:
    ticks = np.array([tick for tick, _ in rows], np.int64)
    return ExtraTable(ticks, np.zeros(len(rows), np.int32), MessageList.pack(d for _, d in rows))


def waltz() -> Piece:
    """3/4 at 480 ticks a quarter, 500 ms then 750 ms a quarter, on two tracks and channel 3."""
    onset = 960 + np.arange(12) * 480
    return Piece(
        TempoMap(480, np.array([0, 960 + 6 * 480]), np.array([500_000, 750_000])),
        note_table(onset, onset + 400, 60 + np.arange(12) % 5, 71, 3, 1),
        pedal_table([1000, 1100, 6000], [127, 0, 90], 3, 1),
        program_table([0], [0], [3], [1]),
        extra(
            (0, b"\xff\x03Waltz"),
            (0, b"\xff\x58\x03\x02\x18\x08"),
            (0, b"\xff\x59\x02\x00"),
            (2000, b"\xb3\x42\x7f"),
            (3000, b"\xff\x06here"),
            (90_000, b"\xff\x58\x04\x02\x18\x08"),
        ),
        source="waltz.mid",
    )


def run(tiny, prompt, vocab="piano", **values):
    engine = tiny.engine(vocab)
    stream = ContinuationStream(
        engine, prompt, Request(**values), SamplingSettings(), provenance=lambda: {"model": "tiny"}
    )
    return stream.run()


def events_of(data: bytes, before: int | None = None) -> list[list[tuple[int, bytes]]]:
    """Every event of a file up to a tick, without the ends of the tracks."""
    return [
        [
            (tick, message)
            for tick, message in track
            if message[:2] != b"\xff\x2f" and (before is None or tick < before)
        ]
        for track in dump(data).tracks
    ]


def new_notes(out: Continuation) -> NoteTable:
    """The notes of the tracks that are not the prompt's."""
    notes = out.piece.notes
    return notes.take(notes.track > out.prompt.notes.track.max(initial=-1))


def test_the_prompts_events_stay_as_they_are(tiny) -> None:
    prompt = waltz()
    out = run(tiny, prompt, seconds=4)[0]
    assert out.prompt is prompt
    seam = int(out.piece.tempo.tick_at(out.seam_ms))
    before = events_of(prompt.to_bytes(), seam)
    after = events_of(out.piece.to_bytes(), seam)
    assert after[: len(before)] == before
    assert out.piece.tempo.division == 480
    assert out.piece.tempo.us_per_quarter.tolist() == [500_000, 750_000]
    assert out.piece.time_signatures == [(0, 3, 4)]
    names = out.piece.track_names
    assert names[0] == "Waltz" and {names[2], names[3]} == {"Arietta right", "Arietta left"}
    # Its provenance stands in a new track.
    assert events_of(out.to_bytes(), seam) == after
    assert any(m.startswith(b"\xff\x01arietta {") for _, m in after[len(before)])


def test_new_notes_go_on_with_the_prompts_channel_behind_its_last_release(tiny) -> None:
    out = run(tiny, waltz(), seconds=4)[0]
    new = new_notes(out)
    assert len(new) == len(out.new) > 0
    assert set(new.channel.tolist()) == {3} and set(new.track.tolist()) <= {2, 3}
    # The waltz stands on its metre, so they begin on a bar line.
    first, last = int(new.onset_tick.min()), int(waltz().notes.offset_tick.max())
    assert first >= last and first % 1440 == 0
    assert out.piece.tempo.ms_at(first) == pytest.approx(out.seam_ms)
    assert (new.offset_tick > new.onset_tick).all()
    assert ((new.pitch >= 21) & (new.pitch <= 108)).all()
    release = run(tiny, waltz(), seconds=4, seam="release")[0]
    assert new_notes(release).onset_tick.min() >= last
    now = run(tiny, waltz(), seconds=4, seam="now", groove="off", pedal=False)[0]
    columns = PIANO.decode_columns([*prepare(PIANO, waltz(), Request()).ids, *now.ids])
    wanted = {round(ms) for ms in (columns.onset_ms[12:] + 1000).tolist()}
    got = now.piece.tempo.ms_at(new_notes(now).onset_tick)
    assert all(min(abs(ms - other) for other in wanted) <= 60 for ms in got.tolist())


def test_only_the_new_part_keeps_its_place(tiny) -> None:
    out = run(tiny, waltz(), seconds=4, seam="release")[0]
    new = out.new
    seam = int(out.piece.tempo.tick_at(out.seam_ms))
    bar = seam // 1440
    assert out.place == f"bar {bar + 1}"
    assert out.place_ms == pytest.approx(float(out.piece.tempo.ms_at(bar * 1440)))
    # A rest back to the bar line, in the same metre and tempo.
    assert new.notes.onset_tick.min() == seam - bar * 1440
    assert new.tempo.us_per_quarter.tolist() == [750_000] and new.tempo.division == 480
    assert new.time_signatures == [(0, 3, 4)] and new.key_signatures == [(0, 2, False)]
    whole = new_notes(out)
    assert np.array_equal(whole.onset_tick - bar * 1440, new.notes.onset_tick)
    assert np.array_equal(whole.offset_tick - bar * 1440, new.notes.offset_tick)
    assert new.programs.channel.tolist() == [3, 3]
    assert read_bytes(new.to_bytes()).end_ms == pytest.approx(new.end_ms, abs=1)


def test_pedals_are_let_go_at_the_seam(tiny) -> None:
    out = run(tiny, waltz(), seconds=4, pedal=False)[0]
    seam = int(out.piece.tempo.tick_at(out.seam_ms))
    pedals = out.piece.pedals.take(out.piece.pedals.track == 1)
    assert pedals.value.tolist() == [127, 0, 90, 0]
    assert pedals.tick[-1] == seam and pedals.channel[-1] == 3
    sostenuto = [
        (int(t), d)
        for t, d in zip(out.piece.extra.tick, out.piece.extra.data, strict=True)
        if d[0] == 0xB3
    ]
    assert sostenuto[0][1] == b"\xb3\x42\x7f"
    assert (seam, b"\xb3\x42\x00") in sostenuto


def test_prompt_seconds_cut_the_prompt_not_its_notes(tiny) -> None:
    prompt = waltz()
    out = run(tiny, prompt, seconds=3, prompt_seconds=2.0)[0]
    # Notes at 0, 0.5, 1, 1.5 and 2 s after the first one.
    assert len(out.prompt) == 5
    assert np.array_equal(out.prompt.notes.offset_tick, prompt.notes.offset_tick[:5])
    assert out.prompt.pedals.value.tolist() == [127, 0]
    assert [d for d in out.prompt.extra.data if d[1] == 0x06] == []
    assert out.seam_ms >= 1000 + 2000 - 10
    assert out.piece.time_signatures == [(0, 3, 4)]
    ids = prepare(PIANO, prompt, Request(prompt_seconds=2.0)).ids
    assert np.array_equal(ids, PIANO.prompt(prompt, 2.0))


def test_length_counts_from_the_first_new_note(tiny) -> None:
    out = run(tiny, waltz(), seconds=5)[0]
    onsets = out.new.onset_ms
    assert onsets[0] == 0 and onsets[-1] < 5000


def test_bars_follow_metre_and_tempo(tiny) -> None:
    prompt = waltz()
    last = int(prompt.notes.onset_tick[-1])
    assert bar_seconds(prompt, last, 2) == pytest.approx(2 * 3 * 0.75)
    assert bar_seconds(prompt, 960, 2) == pytest.approx(6 * 0.5)
    assert bar_seconds(prompt, 960, 3) == pytest.approx(6 * 0.5 + 3 * 0.75)
    plain = Piece(TempoMap.constant(), empty_notes())
    assert bar_seconds(plain, 0, 4) == pytest.approx(8.0)
    odd = replace(plain, extra=extra((0, b"\xff\x58\x00\x02\x18\x08")))
    assert bar_seconds(odd, 0, 4) == pytest.approx(8.0)
    smpte = Piece(
        TempoMap(-(25 << 8) | 40, np.zeros(1, np.int64), np.array([500_000])), empty_notes()
    )
    assert bar_seconds(smpte, 0, 4) == pytest.approx(8.0)
    change = replace(plain, extra=extra((0, b"\xff\x58\x06\x03"), (1500, b"\xff\x58\x02\x02")))
    assert bar_seconds(change, 0, 2) == pytest.approx(1.5 + 1.0)
    assert bar_seconds(plain, 0, 0.5) == pytest.approx(1.0)
    out = run(tiny, prompt, bars=2)[0]
    assert out.new.onset_ms[-1] < 4500 and out.new.end_ms <= 4500
    end = int(dump(out.piece.to_bytes()).tracks[-1][-1][0])
    assert end % 1440 == 0
    assert out.provenance["request"] == {"bars": 2}
    for metre in (b"\xff\x58\x04\xff\x18\x08", b"\xff\x58\x04\x07", b"\xff\x58\x00\x02"):
        assert bar_seconds(replace(plain, extra=extra((0, metre))), 0, 4) == pytest.approx(8.0)


def test_from_scratch(tiny) -> None:
    out = run(tiny, None, seconds=3)[0]
    assert len(out.prompt) == 0 and 0 < len(out.piece) == len(out.new) <= out.stats.notes
    assert out.place == ""
    assert out.new.notes.onset_tick[0] == 0
    ids = prepare(PIANO, None, Request(style=("chopin", "nocturne"))).ids
    assert [PIANO.tokens([i])[0] for i in ids] == [
        ("prefix", "instrument", "piano"), ("prefix", "composer", "chopin"),
        ("prefix", "form", "nocturne"), "<S>",
    ]  # fmt: skip
    styled = prepare(PIANO, waltz(), Request(style=("waltz",))).ids
    assert sorted(styled[:2].tolist()) == sorted(PIANO.vocabulary.ids_of_prefix(["piano", "waltz"]))
    with pytest.raises(TokenError, match="salsa"):
        prepare(PIANO, None, Request(style=("salsa",)))


def test_other_instruments_get_a_channel_of_their_own(tiny) -> None:
    prompt = waltz()
    strings = replace(prompt, programs=program_table([0], [48], [3], [1]), source="s.mid")
    # The piano vocabulary plays every instrument as piano: new notes go to a free channel.
    out = run(tiny, strings, seconds=2)[0]
    assert set(new_notes(out).channel.tolist()) == {0}
    added = out.piece.programs.take(out.piece.programs.channel == 0)
    assert set(added.program.tolist()) == {0}
    # The full one goes on with the strings themselves.
    out = run(tiny, strings, "full", tokens=60)[0]
    assert set(new_notes(out).channel.tolist()) == {3}


def test_pedal_vocabularies_write_pedals_and_end_with_the_pedal_up(tiny) -> None:
    piece = Piece.from_ms(
        [0, 500, 900], 300, [60, 62, 64], 80, pedal_time_ms=[100, 400], pedal_value=[127, 0]
    )
    engine = tiny.engine("piano-demo")
    engine.backend.tensors["lm_head.weight"][[2672, 2673]] *= 8  # a model that loves the pedal
    stream = ContinuationStream(
        engine, piece, Request(tokens=120, variations=4), SamplingSettings()
    )
    for out in stream.run():
        if not len(out.new):
            continue  # nothing but keys that no piano has
        new = out.new.pedals
        assert len(new) and new.value[-1] == 0 and (new.tick >= 0).all()
        assert out.piece.pedals.value[-1] == 0


def test_provenance_travels_with_the_file(tiny, tmp_path) -> None:
    out = run(tiny, waltz(), seconds=2, seed=9, variations=2)[1]
    out.save(tmp_path / "a.mid")
    out.save(tmp_path / "b.mid", only_new=True)
    for name in ("a.mid", "b.mid"):
        texts = [text for _, text in read(tmp_path / name).text if text.startswith("arietta ")]
        found = json.loads(texts[0].removeprefix("arietta "))
        assert found == json.loads(json.dumps(out.provenance))
        assert (found["model"], found["seed"], found["variation"]) == ("tiny", 9, 1)
        assert found["settings"]["min_p"] == 0 and found["request"] == {"seconds": 2}
    whole = read(tmp_path / "a.mid")
    assert len(whole) == len(out.piece)
    assert whole.time_signatures == out.piece.time_signatures
    np.testing.assert_array_equal(whole.notes.onset_tick, out.piece.notes.onset_tick)


def test_a_seed_of_none_is_drawn_and_named(tiny) -> None:
    first, second = (run(tiny, None, notes=2, seed=None)[0].provenance["seed"] for _ in range(2))
    assert first != second
    again = run(tiny, None, notes=2, seed=first)[0]
    assert again.provenance["seed"] == first


def test_a_long_prompt_is_cut_and_said_so(tiny) -> None:
    engine = tiny.engine(max_seq_len=64)
    long = Piece.from_ms(np.arange(100) * 300, 200, 60 + np.arange(100) % 7, 70)
    stream = ContinuationStream(engine, long, Request(notes=5), SamplingSettings())
    out = stream.run()[0]
    assert "longer than the model's context" in out.notices[0]
    assert 100 <= len(out.piece) <= 105
    assert out.seam_ms >= long.end_ms
    short = ContinuationStream(tiny.engine(), long, Request(notes=5), SamplingSettings())
    assert short.notices == ()


def test_an_ending_that_did_not_come_is_said(tiny) -> None:
    for out in run(tiny, waltz(), seconds=0.5, end=True, variations=6):
        missed = any("no ending" in line for line in out.notices)
        assert missed == (out.stats.reason == "seconds")
        assert out.stats.reason in ("end", "seconds")


def test_streamed_notes_are_those_of_the_piece(tiny) -> None:
    stream = ContinuationStream(tiny.engine(), waltz(), Request(seconds=3), SamplingSettings())
    heard = sorted((n.onset_ms, n.pitch) for n in stream)
    out = stream.results()[0]
    written = sorted(
        zip(
            out.piece.tempo.ms_at(new_notes(out).onset_tick).tolist(),
            new_notes(out).pitch.tolist(),
            strict=True,
        )
    )
    assert 0 < len(written) <= len(heard)
    for onset, pitch in written:
        assert min(abs(onset - ms) for ms, p in heard if p == pitch) <= 70  # groove, a busy key


def test_what_a_cancelled_stream_decided_is_a_piece(tiny) -> None:
    stream = ContinuationStream(tiny.engine(), waltz(), Request(seconds=60), SamplingSettings())
    for i, _ in enumerate(stream):
        if i == 4:
            stream.cancel()
    out = stream.results()[0]
    assert out.stats.reason == "cancelled" and len(out.new) <= out.stats.notes
    untouched = ContinuationStream(tiny.engine(), waltz(), Request(seconds=9), SamplingSettings())
    untouched.cancel()
    out = untouched.run()[0]
    assert len(out.new) == 0 and len(out.piece) == 12 and out.place == ""
    assert out.piece.pedals.value[-1] == 0
    assert len(read_bytes(out.new.to_bytes())) == 0


def test_prompts_that_cannot_be_continued(tiny) -> None:
    with pytest.raises(InputError, match="scratch"):
        run(tiny, Piece(TempoMap.constant(), empty_notes(), source="e.mid"), seconds=1)
    drums = Piece(TempoMap.constant(), note_table([0], [9], 40, 60, 9))
    with pytest.raises(InputError):
        run(tiny, drums, seconds=1)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"seconds": 3, "bars": 2}, "`bars`"),
        ({"bars": 0}, "`bars`"),
        ({"prompt_seconds": -1}, "`prompt_seconds`"),
        ({"seconds": 0}, "`seconds`"),
        ({"tokens": -4}, "`tokens`"),
        ({"variations": 0}, "`variations`"),
    ],
)
def test_bad_requests_name_the_argument(values, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        Request(**values)


def test_shipped_prompts(tiny, prompts_dir) -> None:
    for path in sorted(prompts_dir.glob("*.mid")):
        prompt = read(path)
        out = run(tiny, prompt, prompt_seconds=6, notes=8)[0]
        again = read_bytes(out.to_bytes())
        assert len(again) == len(out.piece) == len(out.prompt) + len(out.new)
        old = out.piece.notes.take(out.piece.notes.track <= prompt.notes.track.max())
        assert np.array_equal(old.onset_tick, prompt.notes.onset_tick[: len(out.prompt)])


MIXES: list[dict[str, object]] = [
    {"notes": 40},
    {"seconds": 6, "seam": "now", "pedal": False},
    {"seconds": 6, "seam": "release", "groove": "tight"},
    {"bars": 2.0, "groove": "tight"},
    {"bars": 2.0, "seam": "now", "groove": "loose"},
    {"seconds": 6, "end": True, "groove": "off"},
    {"bars": 1.5, "seam": "bar", "into": "0"},
    {"seconds": 6, "prompt_seconds": 1.0},
]
CASES = Path(__file__).parent.parent / "cases" / "midi"


@pytest.mark.parametrize("vocab", ["piano", "full-pedal"])
@pytest.mark.parametrize("name", ["", "two_hands", "seam_pedal_held"])
def test_the_notes_of_a_stream_are_the_notes_written(tiny, vocab: str, name: str) -> None:
    prompt = read(CASES / f"{name}.mid") if name else waltz()
    for seed, mix in enumerate(MIXES):
        stream = ContinuationStream(
            tiny.engine(vocab), prompt, Request(**mix, seed=seed), SamplingSettings()
        )
        told = list(stream)
        out = stream.results()[0]
        assert len(told) == out.stats.notes == len(out.new) == stream.progress().notes, mix
        assert len(out.piece) == len(out.prompt) + len(told)
        if not told or out.prompt.tempo.division <= 0:
            continue
        onset = np.array([note.onset_ms for note in told], np.float64)
        new = _new_rows(out)
        moved = out.piece.tempo.ms_at(out.piece.notes.onset_tick[new])
        if mix.get("groove") == "off":
            assert np.abs(np.sort(moved) - np.sort(onset)).max() <= 2.0
        pitches = sorted(note.pitch for note in told)
        assert sorted(out.piece.notes.pitch[new].tolist()) == pitches
        if mix.get("seam") != "now":
            assert onset.min() >= out.prompt.end_ms - 1.0
        by_key: dict[tuple[int, int], float] = {}
        notes = out.piece.notes
        for row in np.argsort(notes.onset_tick, kind="stable").tolist():
            key = (int(notes.channel[row]), int(notes.pitch[row]))
            at = float(out.piece.tempo.ms_at(notes.onset_tick[row]))
            if row in new:
                assert at - by_key.get(key, -1000.0) >= 30 - 1e-6
            end = float(out.piece.tempo.ms_at(notes.offset_tick[row]))
            by_key[key] = max(by_key.get(key, 0.0), end)


def _new_rows(out: Continuation) -> list[int]:
    """The rows of ``piece`` that are no note of the prompt."""
    factor = out.piece.tempo.division // out.prompt.tempo.division

    def rows(notes: NoteTable, scale: int) -> list[tuple[int, ...]]:
        columns = (notes.onset_tick * scale, notes.offset_tick * scale, notes.pitch, notes.channel)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    left = Counter(rows(out.prompt.notes, factor))
    found = []
    for row, key in enumerate(rows(out.piece.notes, 1)):
        if left[key]:
            left[key] -= 1
        else:
            found.append(row)
    return found
