"""Prompt pieces and continued pieces: grids, bars, pedals, seams, provenance."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from arietta.errors import InputError, TokenError, UsageError
from arietta.generation.continuation import ContinuationStream, Request, bar_seconds, prepare
from arietta.generation.sampling import SamplingSettings
from arietta.midi.notes import (
    ExtraTable,
    MessageList,
    empty_notes,
    note_table,
    pedal_table,
    program_table,
)
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.midi.tempo import TempoMap
from arietta.tokenizers.aria import AriaTokenizer

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


def test_the_prompt_stays_as_it_was_played(tiny) -> None:
    prompt = waltz()
    out = run(tiny, prompt, seconds=4)[0]
    assert out.prompt is prompt
    old = out.piece.notes.take(slice(0, 12))
    for name in ("onset_tick", "offset_tick", "pitch", "velocity", "channel", "track"):
        assert np.array_equal(getattr(old, name), getattr(prompt.notes, name)), name
    assert out.piece.tempo.division == 480
    assert out.piece.tempo.us_per_quarter.tolist() == [500_000, 750_000]
    assert out.piece.time_signatures == [(0, 3, 4)]
    assert out.piece.track_names == {0: "Waltz"}


def test_new_notes_lie_on_the_prompts_grid_channel_and_track(tiny) -> None:
    out = run(tiny, waltz(), seconds=4)[0]
    new = out.piece.notes.take(slice(12, None))
    assert len(new) == out.stats.notes == len(out.new)
    assert set(new.channel.tolist()) == {3} and set(new.track.tolist()) == {1}
    # Tokens count from the first note, 1000 ms into the file, and follow both tempos.
    columns = PIANO.decode_columns([*prepare(PIANO, waltz(), Request()).ids, *out.ids])
    wanted = np.sort(columns.onset_ms[-len(new) :]) + 1000
    assert np.abs(out.piece.tempo.ms_at(new.onset_tick) - wanted).max() <= 0.8  # half a tick
    assert out.piece.tempo.ms_at(new.onset_tick[0]) == pytest.approx(out.seam_ms)
    last = waltz().notes.onset_tick[-1]
    assert new.onset_tick[0] >= last - 5  # quantised to 10 ms
    assert (np.diff(out.piece.notes.onset_tick[12:]) >= 0).all()
    assert (out.piece.notes.offset_tick > out.piece.notes.onset_tick).all()


def test_only_the_new_part_starts_at_zero_in_the_same_metre(tiny) -> None:
    out = run(tiny, waltz(), seconds=4)[0]
    new = out.new
    assert new.notes.onset_tick[0] == 0
    assert new.tempo.us_per_quarter.tolist() == [750_000] and new.tempo.division == 480
    assert new.time_signatures == [(0, 3, 4)] and new.key_signatures == [(0, 2, False)]
    whole = out.piece.notes.take(slice(12, None))
    shift = whole.onset_tick - new.notes.onset_tick
    assert (shift == shift[0]).all()
    assert np.array_equal(whole.offset_tick - shift, new.notes.offset_tick)
    assert not len(new.pedals)
    assert new.programs.channel.tolist() == [3]
    assert read_bytes(new.to_bytes()).end_ms == pytest.approx(new.end_ms, abs=1)


def test_pedals_are_let_go_at_the_seam(tiny) -> None:
    out = run(tiny, waltz(), seconds=4)[0]
    seam = int(out.piece.notes.onset_tick[12])
    assert out.piece.pedals.value.tolist() == [127, 0, 90, 0]
    assert out.piece.pedals.tick[-1] == max(seam, 6000)
    assert (int(out.piece.pedals.channel[-1]), int(out.piece.pedals.track[-1])) == (3, 1)
    sostenuto = [
        (int(t), d)
        for t, d in zip(out.piece.extra.tick, out.piece.extra.data, strict=True)
        if d[0] == 0xB3
    ]
    assert [d for _, d in sostenuto] == [b"\xb3\x42\x7f", b"\xb3\x42\x00"]
    assert sostenuto[1][0] >= 2000


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
    assert onsets[0] == 0 and onsets[-1] < 5000 + 1


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
    assert out.new.onset_ms[-1] < 4500 + 1
    assert out.provenance["request"] == {"bars": 2}


def test_from_scratch(tiny) -> None:
    out = run(tiny, None, seconds=3)[0]
    assert len(out.prompt) == 0 and len(out.piece) == len(out.new) == out.stats.notes > 0
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
    assert set(out.piece.notes.channel[12:].tolist()) == {0}
    added = out.piece.programs.take(out.piece.programs.channel == 0)
    assert added.program.tolist() == [0]
    # The full one goes on with the strings themselves.
    out = run(tiny, strings, "full", tokens=60)[0]
    assert set(out.piece.notes.channel[12:].tolist()) == {3}


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
        assert found["settings"]["min_p"] == 0.035 and found["request"] == {"seconds": 2}
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
    assert len(out.piece) == 105
    assert out.new.notes.onset_tick[0] == 0 and out.seam_ms >= long.onset_ms[-1]
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
        zip(out.piece.onset_ms[12:].tolist(), out.piece.notes.pitch[12:].tolist(), strict=True)
    )
    assert [p for _, p in heard] == [p for _, p in written] or len(heard) == len(written)
    assert np.abs(np.array(heard)[:, 0] - np.array(written)[:, 0]).max() <= 1


def test_what_a_cancelled_stream_decided_is_a_piece(tiny) -> None:
    stream = ContinuationStream(tiny.engine(), waltz(), Request(seconds=60), SamplingSettings())
    for i, _ in enumerate(stream):
        if i == 4:
            stream.cancel()
    out = stream.results()[0]
    assert out.stats.reason == "cancelled" and len(out.new) == 5
    untouched = ContinuationStream(tiny.engine(), waltz(), Request(seconds=9), SamplingSettings())
    untouched.cancel()
    out = untouched.run()[0]
    assert len(out.new) == 0 and len(out.piece) == 12
    assert out.piece.pedals.value[-1] == 0
    assert len(read_bytes(out.new.to_bytes())) == 0


def test_prompts_that_cannot_be_continued(tiny) -> None:
    with pytest.raises(InputError, match="scratch"):
        run(tiny, Piece(TempoMap.constant(), empty_notes(), source="e.mid"), seconds=1)
    drums = Piece(TempoMap.constant(), note_table([0], [9], 40, 60, 9))
    with pytest.raises(InputError):
        run(tiny, drums, seconds=1)


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"seconds": 3, "bars": 2}, "--bars"),
        ({"bars": 0}, "--bars"),
        ({"prompt_seconds": -1}, "--prompt-seconds"),
        ({"seconds": 0}, "--seconds"),
        ({"tokens": -4}, "--tokens"),
        ({"variations": 0}, "--variations"),
    ],
)
def test_bad_requests_name_the_flag(values, flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        Request(**values)


def test_shipped_prompts(tiny, prompts_dir) -> None:
    for path in sorted(prompts_dir.glob("*.mid")):
        prompt = read(path)
        out = run(tiny, prompt, prompt_seconds=6, notes=8)[0]
        again = read_bytes(out.to_bytes())
        assert len(again) == len(out.piece) == len(out.prompt) + 8
        assert np.array_equal(
            out.piece.notes.onset_tick[: len(out.prompt)],
            prompt.notes.onset_tick[: len(out.prompt)],
        )
