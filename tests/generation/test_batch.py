"""Streams in one batch: the notes that each gives alone, whoever comes and goes beside it."""

from __future__ import annotations

import numpy as np
import pytest

from arietta.generation.batch import PREFILL_CHUNK, Batch
from arietta.generation.engine import Engine, Guidance, Stream
from arietta.generation.settings import SamplingSettings, Stop

SETTINGS = (
    SamplingSettings(),
    SamplingSettings(0.9, min_p=0.02, density=1.5),
    SamplingSettings(1.1, top_p=0.9, min_p=None),
    SamplingSettings(0.0),
)


def stream(engine: Engine, tiny, number: int, *, waits: bool, **changes) -> Stream:
    options = {
        "settings": SETTINGS[number % len(SETTINGS)],
        "stop": Stop(tokens=12 + 5 * number),
        "variations": 1 + number % 3,
        "seed": number,
        "ending": "asked" if number % 4 == 1 else "never",
        **changes,
    }
    return engine.stream(tiny.prompt(notes=3 + 4 * number), waits=waits, **options)


def outcome(found: Stream) -> list[tuple]:
    # The stand-in's products are rounded by how a prompt was cut, in the last digit.
    return [(row.ids, row.notes, row.reason, round(row.nats, 6)) for row in found.rows]


def run(batch: Batch) -> None:
    while batch.rows:
        batch.step()


def test_rows_give_what_they_give_alone(tiny) -> None:
    engine = tiny.engine()
    alone = [stream(engine, tiny, i, waits=False) for i in range(6)]
    for one in alone:
        one.run()
    batch = Batch(engine)
    together = [stream(engine, tiny, i, waits=True) for i in range(6)]
    for one in together:  # each comes while the ones before it run
        batch.join(one)
        batch.step()
    assert batch.rows > 2
    run(batch)
    assert all(one.done for one in together)
    assert [outcome(one) for one in together] == [outcome(one) for one in alone]


def test_notes_are_given_once_and_in_order(tiny) -> None:
    engine = tiny.engine()
    batch = Batch(engine)
    one = stream(engine, tiny, 4, waits=True)
    batch.join(one)
    told = []
    while batch.rows:
        for whose, notes in batch.step():
            assert whose is one
            told += [tuple(note)[1:] for note in notes if note.variation == 0]
    assert told == [tuple(note) for note in one.rows[0].notes] and told


def test_a_full_context_slides_as_it_does_alone(tiny) -> None:
    engine = tiny.engine(max_seq_len=96)
    changes = {"stop": Stop(tokens=160), "variations": 2, "ending": "never"}
    alone = stream(engine, tiny, 2, waits=False, **changes)
    alone.run()
    assert alone.slid
    batch = Batch(engine)
    together = [stream(engine, tiny, 2, waits=True, **changes)]
    together.append(stream(engine, tiny, 3, waits=True, **changes))
    for one in together:
        batch.join(one)
    run(batch)
    assert outcome(together[0]) == outcome(alone)


def test_guided_rows_stand_beside_plain_ones(tiny) -> None:
    engine = tiny.engine(embedding_size=8, conditioned=True)
    vector = np.linspace(-1, 1, 8).astype(np.float32)
    guided = {"guidance": Guidance(vector, 2.0), "ending": "never"}
    alone = [stream(engine, tiny, 1, waits=False, **guided), stream(engine, tiny, 2, waits=False)]
    for one in alone:
        one.run()
    batch = Batch(engine)
    together = [stream(engine, tiny, 1, waits=True, **guided), stream(engine, tiny, 2, waits=True)]
    for one in together:
        batch.join(one)
    run(batch)
    assert [outcome(one) for one in together] == [outcome(one) for one in alone]


def test_cancelling_ends_a_stream_before_its_next_token(tiny) -> None:
    engine = tiny.engine()
    batch = Batch(engine)
    leaves, stays = (stream(engine, tiny, i, waits=True) for i in (3, 4))
    for one in (leaves, stays):
        batch.join(one)
    for _ in range(4):
        batch.step()
    decided = [len(row.ids) for row in leaves.rows]
    leaves.cancel()
    batch.step()
    assert leaves.done and {row.reason for row in leaves.rows} == {"cancelled"}
    assert all(len(row.ids) <= n for row, n in zip(leaves.rows, decided, strict=True))
    assert batch.rows == len(stays.rows)
    run(batch)
    alone = stream(engine, tiny, 4, waits=False)
    alone.run()
    assert outcome(stays) == outcome(alone)


def test_cancelling_while_the_prompt_is_run(tiny) -> None:
    engine = tiny.engine()
    batch = Batch(engine)
    runs, waits = (stream(engine, tiny, i, waits=True) for i in (4, 5))
    batch.join(runs)
    batch.step()
    batch.join(waits)
    waits.cancel()
    batch.step()
    assert waits.done and waits.rows[0].reason == "cancelled" and waits.rows[0].ids == []


def test_a_long_prompt_is_run_in_parts_while_others_go_on(tiny, monkeypatch) -> None:
    monkeypatch.setattr("arietta.generation.batch.LEAST_PREFILL_SECONDS", 0.0)
    engine = tiny.engine()
    batch = Batch(engine)
    runs = stream(engine, tiny, 2, waits=True, stop=Stop(tokens=40), variations=1)
    batch.join(runs)
    batch.step()
    long = engine.stream(tiny.prompt(notes=200), stop=Stop(tokens=4), waits=True)
    assert len(long.rows[0].context) > 4 * PREFILL_CHUNK
    batch.join(long)
    batch._step_seconds = 0.0
    before = len(runs.rows[0].ids)
    batch.step()
    assert not long.rows[0].ids and len(runs.rows[0].ids) == before + 1
    run(batch)
    alone = engine.stream(tiny.prompt(notes=200), stop=Stop(tokens=4))
    alone.run()
    assert outcome(long) == outcome(alone)


def test_first_takes_go_before_the_takes_of_a_big_request(tiny) -> None:
    engine = tiny.engine()
    batch = Batch(engine, rows_per_step=3)
    big = stream(engine, tiny, 1, waits=True, variations=8, stop=Stop(tokens=30))
    small = [
        stream(engine, tiny, i, waits=True, variations=1, stop=Stop(tokens=30)) for i in (2, 3)
    ]
    for one in (big, *small):
        batch.join(one)
    for _ in range(15):
        batch.step()
    first = [len(one.rows[0].ids) for one in (big, *small)]
    others = [len(row.ids) for row in big.rows[1:]]
    assert min(first) >= 13 and max(others) <= 3
    run(batch)
    alone = stream(engine, tiny, 1, waits=False, variations=8, stop=Stop(tokens=30))
    alone.run()
    assert outcome(big) == outcome(alone)


def test_nothing_is_kept_of_streams_that_are_done(tiny) -> None:
    engine = tiny.engine()
    batch = Batch(engine, rows_per_step=2)
    for i in range(4):
        batch.join(stream(engine, tiny, i, waits=True, variations=2))
    run(batch)
    assert batch._session is None and not batch._places and not batch._turn


def test_a_stream_with_a_draft_runs_by_itself(tiny) -> None:
    engine = tiny.engine(draft=("piano", 1))
    found = stream(engine, tiny, 1, waits=True)
    assert not found.waits
    with pytest.raises(AssertionError):
        Batch(engine).join(found)
