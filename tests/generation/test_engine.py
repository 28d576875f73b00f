"""The engine on a stand-in model: parity, seeds, rows, limits, endings, sliding, cancelling."""

from __future__ import annotations

import gc
import json
import threading
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import arietta
from arietta.checkpoints.tensors import CheckpointTensors, TensorFile
from arietta.errors import UsageError
from arietta.generation.engine import Engine, Guidance
from arietta.generation.forward_pass import cut_left, forward
from arietta.generation.sampling import Sampler
from arietta.generation.settings import SamplingSettings, Stop
from arietta.models.aria.checkpoint import load_file
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import DIM, EOS, TIME

PUBLIC_GREEDY = SamplingSettings(temperature=0, min_p=None, grammar=False)


@pytest.fixture(scope="module")
def golden(aria_model_dir):
    return json.loads((aria_model_dir / "greedy_expected.json").read_text())


@pytest.fixture(scope="module")
def public(aria_model_dir, numpy_backend):
    found = load_file(aria_model_dir / "lm.safetensors", hints={"n_heads": 4, "max_seq_len": 512})
    return Engine(numpy_backend(found.config, found.tensors), AriaTokenizer("full"))


def test_public_greedy(public, golden) -> None:
    prompt = golden["prompt_ids"]
    rows = public.stream(prompt, settings=PUBLIC_GREEDY, stop=Stop(tokens=64), variations=2).run()
    for row in rows:
        assert prompt + row.ids == golden["greedy_64"]["ids"]


def test_public_forced_ending(public, golden) -> None:
    prompt = golden["prompt_ids"]
    stream = public.stream(prompt, settings=PUBLIC_GREEDY, stop=Stop(tokens=160), ending="asked")
    ids = prompt + stream.run()[0].ids
    expected = golden["greedy_160_force_end"]
    assert [i for i, token in enumerate(ids) if token == DIM] == expected["dim_at"]
    assert ids == expected["ids"]


@pytest.mark.parametrize("strength", [0.0, 1.0, 2.5])
def test_public_guidance(aria_model_dir, numpy_backend, golden, strength: float) -> None:
    found = load_file(aria_model_dir / "lm.safetensors", hints={"n_heads": 4})
    adapter = CheckpointTensors(TensorFile(aria_model_dir / "cnd_adapter.safetensors"))
    config = replace(found.config, embedding_size=16, conditioned=True)
    backend = numpy_backend(config, {**found.tensors, **adapter})
    stream = Engine(backend, AriaTokenizer("full")).stream(
        golden["prompt_ids"],
        settings=PUBLIC_GREEDY,
        stop=Stop(tokens=48),
        guidance=Guidance(np.array(golden["cfg_embedding"], np.float32), strength),
    )
    ids = golden["prompt_ids"] + stream.run()[0].ids
    assert ids == golden[f"greedy_48_cfg_{strength}"]["ids"]


@pytest.mark.parametrize("executor", ["openvino", "torch"])
def test_public_greedy_on_the_real_executors(aria_model_dir, golden, executor: str) -> None:
    found = load_file(aria_model_dir / "lm.safetensors", hints={"n_heads": 4, "max_seq_len": 512})
    adapter = CheckpointTensors(TensorFile(aria_model_dir / "cnd_adapter.safetensors"))
    source = SimpleNamespace(
        config=replace(found.config, embedding_size=16, conditioned=True),
        tensors={**found.tensors, **adapter},
    )
    if executor == "openvino":
        from arietta.models.aria.openvino import OpenVinoBackend

        backend = OpenVinoBackend(source, "f32", threads=1)
    else:
        pytest.importorskip("torch").set_num_threads(1)
        from arietta.models.aria.torch_executor import TorchBackend

        backend = TorchBackend(source, "cpu")
    engine, prompt = Engine(backend, AriaTokenizer("full")), golden["prompt_ids"]
    rows = engine.stream(prompt, settings=PUBLIC_GREEDY, stop=Stop(tokens=64), variations=2).run()
    assert [prompt + row.ids for row in rows] == [golden["greedy_64"]["ids"]] * 2
    vector = np.array(golden["cfg_embedding"], np.float32)
    for strength in (1.0, 2.5):
        row = engine.stream(
            prompt,
            settings=PUBLIC_GREEDY,
            stop=Stop(tokens=48),
            guidance=Guidance(vector, strength),
        ).run()[0]
        assert prompt + row.ids == golden[f"greedy_48_cfg_{strength}"]["ids"]


def test_seeds_reproduce_and_differ(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()

    def once(seed: int) -> list[list[int]]:
        rows = engine.stream(prompt, stop=Stop(tokens=40), variations=2, seed=seed).run()
        return [row.ids for row in rows]

    first = once(5)
    assert once(5) == first
    assert once(6) != first
    assert first[0] != first[1]


def test_a_row_does_not_depend_on_those_beside_it(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    # Rows stop after different numbers of tokens, so rows go while others stay.
    stop = Stop(seconds=4)
    together = engine.stream(prompt, stop=stop, variations=4, seed=1).run()
    assert len({len(row.ids) for row in together}) > 1
    for row in together:
        alone = engine.stream(
            prompt, stop=stop, variations=1, first_variation=row.variation, seed=1
        ).run()[0]
        assert alone.ids == row.ids
        assert alone.notes == row.notes
        assert alone.reason == row.reason == "seconds"


def test_a_row_alone_is_drawn_without_the_work_for_many(tiny, monkeypatch) -> None:
    monkeypatch.setattr(Sampler, "draw", lambda *_: pytest.fail("one row was drawn as many"))
    tiny.engine().stream(tiny.prompt(), stop=Stop(tokens=40)).run()


def test_prefill_is_shared(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt(notes=100)
    stream = engine.stream(prompt, stop=Stop(tokens=3), variations=8)
    assert engine.backend.tokens_run == len(prompt)
    stream.run()
    assert engine.backend.tokens_run == len(prompt) + 8 * 2


def test_stepping_equals_running_from_scratch_at_every_place(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    ids = (
        engine.stream(prompt, settings=SamplingSettings(temperature=0), stop=Stop(tokens=30))
        .run()[0]
        .ids
    )
    for n in (1, 2, 3, 17):
        rest = engine.stream(
            prompt + ids[:n], settings=SamplingSettings(temperature=0), stop=Stop(tokens=12)
        ).run()[0]
        # A row that stops in the middle of an event drops the half of it.
        assert ids[n : n + len(rest.ids)] == rest.ids


def test_live_prefill_runs_only_what_changed(tiny) -> None:
    live, prompt = tiny.engine().live(), tiny.prompt(notes=20)
    assert live.prefill(prompt) == len(prompt)
    longer = [*prompt, *prompt[-3:]]
    assert live.prefill(longer) == 3
    assert live.prefill(longer) == 0
    changed = [*longer[:-4], longer[-4] - 1, *longer[-3:]]
    assert live.prefill(changed) == 4
    assert live.prefix == tuple(changed)
    # What came of it equals a fresh run, also after a stream used the cache.
    greedy = SamplingSettings(temperature=0)
    once = live.stream(changed, settings=greedy, stop=Stop(tokens=9)).run()[0].ids
    assert live.prefill(changed) == 0
    again = live.stream(changed, settings=greedy, stop=Stop(tokens=9)).run()[0].ids
    fresh = tiny.engine().stream(changed, settings=greedy, stop=Stop(tokens=9)).run()[0].ids
    assert once == again == fresh


def test_the_next_stream_of_a_live_session_ends_the_one_before(tiny) -> None:
    live, prompt = tiny.engine().live(), tiny.prompt(notes=10)
    first = live.stream(prompt, stop=Stop(notes=50), variations=3)
    first.step()
    second = live.stream(prompt, stop=Stop(notes=4), seed=5)
    assert first.step() == [] and first.done
    assert [row.reason for row in first.rows] == ["cancelled"] * 3
    alone = tiny.engine().stream(prompt, stop=Stop(notes=4), seed=5)
    assert second.run()[0].ids == alone.run()[0].ids


def test_a_live_session_whose_context_slid_starts_again(tiny) -> None:
    live, prompt = tiny.engine(max_seq_len=128).live(), tiny.prompt(notes=10)
    stream = live.stream(prompt, stop=Stop(tokens=200))
    stream.run()
    assert stream.slid
    assert live.prefill(prompt) == len(prompt)


def _run(engine: Engine, prompt: list[int], seed: int, found: dict[int, list[list[int]]]) -> None:
    rows = engine.stream(prompt, stop=Stop(notes=12), variations=2, seed=seed).run()
    found[seed] = [row.ids for row in rows]


@pytest.mark.parametrize("make", ["numpy", "shipped"])
def test_streams_in_threads_give_the_notes_that_each_gives_alone(tiny, make: str) -> None:
    engine = tiny.engine() if make == "numpy" else arietta.load("small").engine
    prompt = tiny.prompt(notes=15)
    alone: dict[int, list[list[int]]] = {}
    for seed in range(4):
        _run(engine, prompt, seed, alone)
    together: dict[int, list[list[int]]] = {}
    threads = [
        threading.Thread(target=_run, args=(engine, prompt, seed, together)) for seed in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_two_streams_side_by_side_give_the_notes_that_each_gives_alone(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt(notes=15)
    asked = {"stop": Stop(notes=10), "variations": 2}
    alone = [[r.ids for r in engine.stream(prompt, seed=s, **asked).run()] for s in (1, 2)]
    streams = [engine.stream(prompt, seed=s, **asked) for s in (1, 2)]
    while not all(stream.done for stream in streams):
        for stream in streams:
            stream.step()
    assert [[row.ids for row in stream.rows] for stream in streams] == alone


def test_a_stream_that_is_done_frees_its_session(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt(notes=10)
    done, cancelled = (engine.stream(prompt, stop=Stop(notes=5)) for _ in range(2))
    held = [weakref.ref(stream._session) for stream in (done, cancelled)]
    done.run()
    cancelled.step()
    cancelled.cancel()
    cancelled.step()
    gc.collect()
    assert [session() for session in held] == [None, None]
    assert done.progress().notes == 5


def test_limits(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    row = engine.stream(prompt, stop=Stop(notes=7)).run()[0]
    assert (row.reason, len(row.notes), len(row.ids) % 3) == ("notes", 7, row.ids.count(TIME) % 3)
    row = engine.stream(prompt, stop=Stop(tokens=10)).run()[0]
    assert row.reason == "tokens" and 8 <= len(row.ids) <= 10
    row = engine.stream(prompt, stop=Stop(seconds=6)).run()[0]
    assert row.reason == "seconds"
    assert all(note.onset_ms - row.start_ms < 6000 for note in row.notes)
    assert row.end_ms >= row.notes[-1].onset_ms


def test_no_end_before_the_asked_length(tiny) -> None:
    # This model would end at once: <E> has the largest logit of all.
    backend = tiny.backend()
    backend.tensors["lm_head.weight"][EOS] = 0
    engine = Engine(backend, AriaTokenizer("piano"))
    hidden = forward(backend.new_session(), [tiny.prompt()])
    backend.tensors["lm_head.weight"][EOS] = 100 * hidden[0]
    row = engine.stream(tiny.prompt(), stop=Stop(seconds=3)).run()[0]
    assert row.reason == "seconds" and EOS not in row.ids
    row = engine.stream(tiny.prompt(), stop=Stop(seconds=3), ending="free").run()[0]
    assert row.reason == "end" and row.ids == [EOS]


@pytest.mark.parametrize("stop", [Stop(seconds=8), Stop(notes=60), Stop(tokens=200)])
def test_an_ending_is_asked_for_once_and_between_events(tiny, stop: Stop) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    tokenizer = engine.tokenizer
    for row in engine.stream(prompt, stop=stop, ending="asked", variations=3).run():
        at = [i for i, token in enumerate(row.ids) if token == DIM]
        assert len(at) == 1
        assert EOS not in row.ids[: at[0]]
        assert tokenizer.decode_columns([*prompt, *row.ids]).dropped == 0
        if stop.tokens:
            assert 200 - 130 <= at[0] < 200 - 130 + 3


def test_an_ending_the_model_wants_is_let_through(tiny) -> None:
    backend = tiny.backend()
    hidden = forward(backend.new_session(), [tiny.prompt()])
    backend.tensors["lm_head.weight"][EOS] = 100 * hidden[0]
    row = (
        Engine(backend, AriaTokenizer("piano"))
        .stream(tiny.prompt(), stop=Stop(tokens=100), ending="asked")
        .run()[0]
    )
    assert row.ids == [EOS] and row.reason == "end"


def test_rows_slide_on_when_the_context_is_full(tiny) -> None:
    engine, prompt = tiny.engine(max_seq_len=128), tiny.prompt(notes=20)
    stream = engine.stream(prompt, stop=Stop(tokens=400), variations=2, seed=3)
    rows = stream.run()
    tokenizer = engine.tokenizer
    for row in rows:
        assert len(row.ids) >= 398
        columns = tokenizer.decode_columns([*prompt, *row.ids])
        assert columns.dropped == 0
        # The clock goes on over every cut.
        onsets = columns.onset_ms[-len(row.notes) :]
        assert onsets.tolist() == [note.onset_ms for note in row.notes]
        assert (np.diff(onsets) >= 0).all()
        assert len(row.context) <= 128
    alone = engine.stream(prompt, stop=Stop(tokens=400), first_variation=1, seed=3).run()[0]
    assert alone.ids == rows[1].ids


def test_a_prompt_beyond_the_context_is_cut_at_a_segment(tiny) -> None:
    engine, prompt = tiny.engine(max_seq_len=128), tiny.prompt(notes=100)
    stream = engine.stream(prompt, stop=Stop(notes=3))
    assert stream.dropped_segments > 0
    heard = stream.rows[0].context
    assert len(heard) <= 96
    cut = len(prompt) - (len(heard) - 2)
    assert prompt[cut - 1] == TIME and list(heard[2:]) == prompt[cut:]
    row = stream.run()[0]
    last = AriaTokenizer("piano").last_onset_ms(prompt)
    assert row.notes[0].onset_ms >= last


def test_cut_left_inside_a_crowded_segment(tiny) -> None:
    tokenizer = AriaTokenizer("piano")
    crowd = tokenizer.encode_columns(
        np.zeros(60, int), np.full(60, 100), np.arange(60), np.full(60, 60), eos=False
    ).tolist()
    kept, dropped = cut_left(tokenizer, crowd, 50)
    assert dropped == 0 and len(kept) == 50
    assert kept[:2] == crowd[:2] and kept[2:] == crowd[-48:]
    assert cut_left(tokenizer, crowd, 1000) == (crowd, 0)


def test_cancelling_keeps_what_was_decided(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    stream = engine.stream(prompt, stop=Stop(tokens=3000), variations=2)
    notes = []
    for note in stream:
        notes.append(note)
        if len(notes) == 9:
            stream.cancel()
    assert stream.done and 9 <= len(notes) <= 10
    assert {row.reason for row in stream.rows} == {"cancelled"}
    assert sum(len(row.notes) for row in stream.rows) == len(notes)
    for row in stream.rows:
        assert engine.tokenizer.decode_columns([*prompt, *row.ids]).dropped == 0
    assert stream.step() == []


def test_cancelling_from_another_thread(tiny) -> None:
    stream = tiny.engine().stream(tiny.prompt(), stop=Stop(tokens=100_000))
    timer = threading.Timer(0.05, stream.cancel)
    timer.start()
    stream.run()
    timer.join()
    assert stream.rows[0].reason == "cancelled"


def test_notes_come_as_they_are_decided(tiny) -> None:
    stream = tiny.engine().stream(tiny.prompt(), stop=Stop(notes=5), variations=2)
    seen = [stream.progress().notes for _ in stream]
    assert seen == sorted(seen) and seen[0] <= 2 and stream.progress().notes == 10
    progress = stream.progress()
    assert progress.acceptance is None
    assert progress.total_music_seconds == pytest.approx(
        sum(row.music_seconds for row in progress.rows)
    )
    assert progress.first_note_seconds <= progress.wall_seconds


def test_requests_that_contradict_themselves(tiny) -> None:
    engine, prompt = tiny.engine(), tiny.prompt()
    with pytest.raises(UsageError, match="`variations`"):
        engine.stream(prompt, stop=Stop(tokens=3), variations=0)
    with pytest.raises(UsageError, match="`seconds`"):
        Stop(seconds=-1)
    with pytest.raises(UsageError, match="`notes`"):
        Stop(notes=0)
    with pytest.raises(UsageError, match="length"):
        engine.stream(prompt)
    with pytest.raises(UsageError, match="conditioned"):
        engine.stream(prompt, stop=Stop(tokens=3), guidance=Guidance(np.zeros(8, np.float32)))
    with pytest.raises(UsageError, match="prompt"):
        engine.stream([], stop=Stop(tokens=3))
    with pytest.raises(UsageError, match="prompt"):
        engine.live().prefill([])
    with pytest.raises(UsageError, match="room"):
        engine.live().prefill(prompt * 300)
    with pytest.raises(UsageError, match="vocabulary"):
        Engine(tiny.backend(), AriaTokenizer("full"))
    with pytest.raises(UsageError, match="emb_head"):
        Engine(tiny.backend(embedding_size=8), AriaTokenizer("piano"))
    with pytest.raises(UsageError, match="`guidance`"):
        Guidance(np.zeros(8, np.float32), 11.0)


@pytest.mark.parametrize(
    ("vocab", "count"), [("piano", 60), ("full", 12), ("piano-demo", 16), ("full-pedal", 12)]
)
def test_everything_that_is_generated_is_a_valid_piece(tiny, vocab: str, count: int) -> None:
    # benchmarks/validity.py does the same a thousand times.
    tokenizer = AriaTokenizer(vocab)
    engine = tiny.engine(vocab, seed=count)
    prompt = [tokenizer.vocabulary.instrument_start, tokenizer.bos]
    rows = engine.stream(prompt, stop=Stop(tokens=90), variations=count, seed=1).run()
    for row in rows:
        columns = tokenizer.decode_columns([*prompt, *row.ids])
        assert columns.dropped == 0
        assert len(columns.onset_ms) == len(row.notes)
        assert (columns.duration_ms > 0).all() and (columns.velocity > 0).all()
        keys = set(zip(columns.onset_ms.tolist(), columns.pitch.tolist(), strict=True))
        assert len(keys) == len(columns.onset_ms), "a key was struck twice at once"


def test_drums_and_other_instruments_follow_the_grammar(tiny) -> None:
    tokenizer = AriaTokenizer("full")
    prompt = [*tokenizer.vocabulary.ids_of_prefix(["piano", "bass", "drum"]), tokenizer.bos]
    rows = tiny.engine("full").stream(prompt, stop=Stop(tokens=150), variations=4, seed=2).run()
    channels = set()
    for row in rows:
        columns = tokenizer.decode_columns([*prompt, *row.ids])
        assert columns.dropped == 0
        channels |= set(columns.channel.tolist())
    assert channels == {0, 1, 9}
