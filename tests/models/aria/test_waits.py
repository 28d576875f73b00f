"""Waits: the clock of ids, relative time in the model, the loss by kind, shared features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arietta.errors import CheckpointError
from arietta.models.aria import native, torch_module
from arietta.models.aria.clock import (
    BEFORE,
    IMPOSSIBLE,
    MAX_WAIT,
    RowClocks,
    clock_of,
    wait_rows,
)
from arietta.models.aria.config import PRESETS, AriaConfig
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.protocol import Backend
from arietta.models.aria.torch_executor import TorchBackend
from arietta.models.aria.torch_module import AriaDecoder, cursors, initialise
from arietta.models.aria.waits import ClockedHead
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import BOS, PAD, TIME
from arietta.training.loss import NextToken
from arietta.training.structured import folded, share_features

NAME = "piano-fill"
CLOCK = clock_of(NAME)
TOKENIZER = AriaTokenizer(NAME)
CONFIG = AriaConfig(
    d_model=32, n_heads=2, n_layers=2, ff_mult=2, vocab_size=CLOCK.size, max_seq_len=512, waits=NAME
)


def onset(step: int) -> int:
    return CLOCK.onset_start + step


def note(pitch: int) -> int:
    return int(TOKENIZER.vocabulary.ids_of([("piano", pitch, 60)])[0])


def duration(steps: int) -> int:
    return int(TOKENIZER.vocabulary.ids_of([("dur", steps * 10)])[0])


def music(rng: np.random.Generator, length: int) -> np.ndarray:
    """Ids of random notes, as a decoder would take them, with silences."""
    ids = [TOKENIZER.vocabulary.instrument_start, BOS]
    at = 0
    while len(ids) < length:
        at += int(rng.integers(0, 400)) * int(rng.random() < 0.7)
        while at >= 500:
            ids.append(TIME)
            at -= 500
        ids += [note(int(rng.integers(21, 109))), onset(at), duration(int(rng.integers(1, 501)))]
    return np.array(ids[:length])


def decoder(seed: int = 0) -> AriaDecoder:
    model = AriaDecoder(CONFIG)
    initialise(model, seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(5)
    return model.eval()


def test_cursor_is_the_latest_onset_seen_from_the_present_segment() -> None:
    ids = [
        BOS,
        note(60),
        onset(480),
        duration(5),
        TIME,
        note(62),
        onset(20),
        duration(5),
        TIME,
        TIME,
    ]
    row = np.array([ids])
    after = CLOCK.cursors(row, np.zeros(1, np.int64))[0]
    assert after.tolist() == [0, 0, 480, 480, -20, -20, 20, 20, -480, -980]
    assert CLOCK.waits(row, np.zeros(1, np.int64))[0].tolist() == [
        -1, -1, 480, -1, -1, -1, 40, -1, -1, -1,
    ]  # fmt: skip


def test_wait_rows_clip_long_waits_and_mark_what_lies_before() -> None:
    assert wait_rows(np.array([499, 3, 2]), np.array([-501, 3, 3])).tolist() == [
        MAX_WAIT,
        0,
        BEFORE,
    ]


@given(st.integers(0, 10_000), st.integers(1, 118))
@settings(max_examples=40, deadline=None)
def test_clock_is_the_same_in_one_go_in_parts_and_in_torch(seed: int, cut: int) -> None:
    ids = np.stack([music(np.random.default_rng((seed, row)), 120) for row in range(3)])
    whole = CLOCK.cursors(ids, np.zeros(3, np.int64))
    assert (cursors(torch.from_numpy(ids), CLOCK).numpy() == whole).all()
    clocks = RowClocks(CLOCK, 3)
    parts = [
        clocks.append(ids[:, :cut], np.zeros(3, np.int64)),
        clocks.append(ids[:, cut:], np.full(3, cut, np.int64)),
    ]
    assert (np.concatenate([p[1] for p in parts], axis=1) == whole).all()
    waits = decoder().model.waits(torch.from_numpy(ids)).numpy()
    assert (np.concatenate([p[0] for p in parts], axis=1) == waits).all()


def test_rewound_and_forked_rows_keep_their_clock() -> None:
    ids = np.stack([music(np.random.default_rng(row), 300) for row in range(2)])
    clocks = RowClocks(CLOCK, 2)
    whole = clocks.append(ids, np.zeros(2, np.int64))[1]
    again = clocks.append(ids[:, 100:], np.array([100, 100]))[1]
    assert (again == whole[:, 100:]).all()
    clocks.fork(np.array([1, 1, 0]))
    three = clocks.append(ids[[1, 1, 0], 150:], np.array([150, 150, 150]))[1]
    assert (three == whole[[1, 1, 0], 150:]).all()


def test_merged_rows_keep_their_clock() -> None:
    ids = np.stack([music(np.random.default_rng(row), 300) for row in range(2)])
    whole = RowClocks(CLOCK, 2).append(ids, np.zeros(2, np.int64))[1]
    first, second = RowClocks(CLOCK, 1), RowClocks(CLOCK, 1)
    first.append(ids[:1, :20], np.zeros(1, np.int64))
    second.append(ids[1:, :280], np.zeros(1, np.int64))
    first.merge(second)
    rest = np.stack((ids[0, 20:30], ids[1, 280:290]))
    found = first.append(rest, np.array([20, 280]))[1]
    assert (found[0] == whole[0, 20:30]).all() and (found[1] == whole[1, 280:290]).all()


def test_logits_forbid_the_kinds_that_cannot_come() -> None:
    row = torch.from_numpy(music(np.random.default_rng(3), 60))[None]
    possible = decoder()(row)[0] > float(IMPOSSIBLE) / 2
    clock = CLOCK
    is_note = ((row[0] >= clock.note_start) & (row[0] < clock.dur_start)).numpy()
    for place in range(60):
        onsets = possible[place, clock.onset_start : clock.onset_end]
        assert onsets.all() if is_note[place] else not onsets.any()
        assert bool(possible[place, BOS]) == (
            not is_note[place] and not clock.onset_start <= int(row[0, place]) < clock.onset_end
        )


def test_wait_head_moves_with_the_cursor() -> None:
    model = decoder()
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.wait_head.weight.zero_()
        model.wait_head.weight[7] = model.model.out_layer_norm.weight * 0 + 1.0
        model.model.out_layer_norm.bias.fill_(1.0)
    for cursor in (0, 100, 480):
        ids = torch.tensor([[BOS, note(60), onset(cursor), duration(3), note(64)]])
        logits = model(ids)[0, -1, CLOCK.onset_start : CLOCK.onset_end]
        assert int(logits.argmax()) == cursor + 7


def test_the_head_of_an_executor_gives_the_logits_of_torch() -> None:
    model, head = decoder(), ClockedHead(NAME)
    ids = np.stack([music(np.random.default_rng(9 + row), 80) for row in range(2)])
    rows = torch.from_numpy(ids)
    with torch.no_grad():
        hidden = model.model(rows)[0].numpy()
        expected = model(rows).numpy()
    states = head.states(hidden, ids, CLOCK.cursors(ids, np.zeros(2, np.int64))).reshape(160, -1)
    table, waits = model.lm_head.weight.detach().numpy(), model.wait_head.weight.detach().numpy()
    for ranges in (
        ((0, CLOCK.size),),
        ((CLOCK.onset_start, CLOCK.onset_end),),
        ((3, 9), (1900, 2300)),
    ):
        found = head.logits(
            states,
            ranges,
            lambda x, ranges=ranges: x @ np.concatenate([table[a:b] for a, b in ranges]).T,
            lambda x: x @ waits.T,
        )
        wanted = np.concatenate([expected[..., a:b] for a, b in ranges], axis=-1)
        np.testing.assert_allclose(found, wanted.reshape(160, -1), atol=1e-4)


@torch.no_grad()
def test_loss_by_kind_is_the_cross_entropy_of_the_logits() -> None:
    model = decoder()
    rows = torch.from_numpy(
        np.stack([music(np.random.default_rng(20 + row), 101) for row in range(3)])
    )
    rows[1, 60:] = PAD
    loss = NextToken(model, PAD, "f32")(rows)
    logits = model(rows[:, :-1])
    target = rows[:, 1:]
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none"
    )
    assert float(loss) == pytest.approx(float(plain[plain > 0].mean()), rel=1e-5)


@torch.no_grad()
def test_what_is_given_is_not_learned() -> None:
    model = decoder()
    vocab = TOKENIZER.vocabulary
    fill, mid = vocab.fill_start + 1, vocab.fill_start + 2
    ids = music(np.random.default_rng(5), 32).tolist()
    told = [*ids, vocab.control_start + 4, note(60), onset(490), duration(9)]
    gap = [*ids, fill, TIME, onset(7), fill, onset(3), mid, note(60), onset(4), duration(9)]
    for row, given_ids in ((told, 1), (gap, 6)):
        rows = torch.tensor([row])
        log_p = model(rows[:, :-1]).log_softmax(-1).gather(2, rows[:, 1:, None])[0, :, 0]
        learned = torch.ones(len(row) - 1, dtype=torch.bool)
        learned[31 : 31 + given_ids] = False
        loss = float(NextToken(model, PAD, "f32")(rows))
        assert loss == pytest.approx(-float(log_p[learned].mean()), rel=1e-5)


def test_attention_in_blocks_is_causal_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, 300, 16, generator=generator) for _ in range(3))
    whole = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch_module.QUERY_BLOCK < 300
    torch.testing.assert_close(torch_module.causal_attention(q, k, v), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_folded_tables_are_the_tables_that_were_trained() -> None:
    model = decoder()
    share_features(model, NAME, fresh=True)
    rows = torch.from_numpy(music(np.random.default_rng(1), 90))[None]
    plain = AriaDecoder(CONFIG).eval()
    state = folded(model, model.state_dict())
    assert set(state) == set(CONFIG.tensor_shapes())
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(rows), model(rows))


@torch.no_grad()
def test_a_trained_model_goes_on_as_it_was_when_its_tables_share_features() -> None:
    model = decoder()
    rows = torch.from_numpy(music(np.random.default_rng(1), 90))[None]
    before = model(rows)
    share_features(model, NAME, fresh=False)
    torch.testing.assert_close(model(rows), before)


def test_rare_tokens_learn_from_their_neighbours() -> None:
    model = decoder()
    share_features(model, NAME, fresh=True)
    table = model.model.tok_embeddings
    before = table.weight.detach().clone()
    table.weight[onset(100)].sum().backward()
    with torch.no_grad():
        for parameter in table.parameters():
            if parameter.grad is not None:
                parameter -= parameter.grad
    moved = (table.weight.detach() - before).abs().sum(1)
    assert moved[onset(100)] > moved[onset(101)] > moved[onset(140)] > 0
    assert moved[note(60)] == 0


def test_config_without_waits_is_written_as_before() -> None:
    assert "waits" not in PRESETS["medium"].to_dict()
    assert AriaConfig.from_dict(CONFIG.to_dict()) == CONFIG


def test_config_refuses_a_vocabulary_of_another_size() -> None:
    with pytest.raises(CheckpointError, match="piano-fill"):
        AriaConfig(d_model=32, n_heads=2, n_layers=1, vocab_size=2565, waits=NAME)


class Weights:
    """What an executor reads of a checkpoint."""

    def __init__(self, model: AriaDecoder) -> None:
        self.config = model.config
        self.tensors = {name: value.numpy() for name, value in model.state_dict().items()}


def executors(model: AriaDecoder) -> list[Backend]:
    found: list[Backend] = [
        OpenVinoBackend(Weights(model), "f32"),
        TorchBackend(Weights(model), "cpu"),
    ]
    if native.supports(model.config, "int8"):
        found.append(native.NativeBackend(Weights(model), "int8"))
    return found


@torch.no_grad()
def test_every_executor_gives_the_logits_of_torch() -> None:
    model = decoder()
    ids = np.stack([music(np.random.default_rng(40 + row), 150) for row in range(3)])
    expected = model(torch.from_numpy(ids)).numpy()
    possible = expected > IMPOSSIBLE / 2
    for backend in executors(model):
        exact = not isinstance(backend, native.NativeBackend)
        session = backend.new_session(3)
        first = session.append(ids[:, :100])
        # Ragged: some rows are given less, and all are rewound and go on.
        session.append(ids[:, 100:], counts=np.array([50, 3, 20]))
        session.rewind(np.array([100, 90, 100]))
        session.append(ids[:, 90:], counts=np.array([0, 10, 0]))
        session.fork(np.array([2, 0, 1]))
        rest = session.append(ids[[2, 0, 1], 100:])[[1, 2, 0]]
        states = np.concatenate((first, rest), axis=1).reshape(450, -1)
        wanted = expected.reshape(450, -1)
        spread = np.abs(expected[possible]).mean()
        for ranges in (None, ((CLOCK.onset_start, CLOCK.onset_end),), ((0, 5), (700, 2200))):
            found = session.head(states, ranges)
            columns = [wanted[:, a:b] for a, b in ranges or ((0, CLOCK.size),)]
            difference = np.abs(found - np.concatenate(columns, axis=1))
            assert difference.max() < (1e-4 if exact else spread), type(backend)
            assert difference.mean() < (1e-5 if exact else 0.03 * spread), type(backend)


@torch.no_grad()
def test_the_last_state_is_that_of_the_last_token_that_counts() -> None:
    model = decoder()
    ids = np.stack([music(np.random.default_rng(60 + row), 40) for row in range(2)])
    for backend in executors(model):
        whole = backend.new_session(2).append(ids)
        last = backend.new_session(2).append(ids, last=True, counts=np.array([40, 17]))
        np.testing.assert_allclose(last, np.stack((whole[0, 39], whole[1, 16])), atol=1e-5)


@torch.no_grad()
def test_waits_and_a_condition_go_together() -> None:
    config = replace(CONFIG, conditioned=True, embedding_size=8)
    model = AriaDecoder(config)
    initialise(model, 1)
    ids = music(np.random.default_rng(2), 61)[None]
    vector = np.linspace(-1, 1, 8, dtype=np.float32)
    expected = model.eval()(torch.from_numpy(ids), torch.from_numpy(vector)[None]).numpy()[0]
    for backend in executors(model):
        session = backend.new_session(1)
        session.condition(vector)
        found = session.head(session.append(ids[:, :-1])[0])
        exact = not isinstance(backend, native.NativeBackend)
        np.testing.assert_allclose(found, expected, atol=1e-4 if exact else 0.3)
