"""Eight ids a note: the public tokenizer's, and where ours differs on purpose."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.errors import InputError, TokenError
from arietta.midi.merged import MergedNotes, merge_tracks, read_merged, tidy
from arietta.midi.piece import Piece
from arietta.midi.reader import read, read_bytes
from arietta.tokenizers.pianist import (
    SLOT_RANGES,
    VOCAB_SIZE,
    PianistTokenizer,
    columns_of,
    columns_of_ids,
    ids_of_columns,
)

EDGE = np.load(Path(__file__).parents[1] / "golden" / "pianist" / "edge.npz")
NAMES = sorted({name.split("/")[0] for name in EDGE.files})
TOKENIZER = PianistTokenizer()

# Files that the public code reads otherwise than MIDI means them: struck notes paired in order of
# their ends, tempo changes counted by track, pedals lost, notes without length kept.
READ_OTHERWISE = {
    *(f"fuzz_0{i}" for i in range(6)),
    "overlap_same_pitch",
    "pedal_on_other_channel",
    "pedal_on_other_track",
    "tempo_in_second_track",
    "tempo_zero_in_later_track",
    "unterminated_and_stray",
    "zero_length",
}


def bytes_of(name: str) -> bytes:
    return EDGE[f"{name}/midi"].tobytes()


def notes_table(notes: MergedNotes) -> np.ndarray:
    return np.stack((notes.onset_ms, notes.offset_ms, notes.pitch, notes.velocity), axis=1)


def pedal_table(notes: MergedNotes) -> np.ndarray:
    return np.stack((notes.pedal_ms, notes.pedal_value), axis=1)


def check(notes: MergedNotes, want_notes: np.ndarray, want_pedal: np.ndarray) -> None:
    np.testing.assert_array_equal(notes_table(notes), want_notes)
    np.testing.assert_array_equal(pedal_table(notes), want_pedal.reshape(-1, 2))


@pytest.mark.parametrize("name", NAMES)
def test_strict_reading_is_the_references(name: str, tmp_path: Path) -> None:
    file = tmp_path / "a.mid"
    file.write_bytes(bytes_of(name))
    check(read_merged(bytes_of(name)), EDGE[f"{name}/norm_notes"], EDGE[f"{name}/norm_cc"])
    ids = TOKENIZER.encode_file(file, compat="pianist")
    np.testing.assert_array_equal(ids, EDGE[f"{name}/ids"])


@pytest.mark.parametrize("name", NAMES)
def test_strict_decoding_is_the_references(name: str) -> None:
    plain = TOKENIZER.decode_notes(EDGE[f"{name}/ids"], compat="pianist")
    check(plain, EDGE[f"{name}/detok_notes"], EDGE[f"{name}/detok_cc"])
    performed = TOKENIZER.decode_notes(
        EDGE[f"{name}/ref/pred_ids"], EDGE[f"{name}/ref/ref_ids"], compat="pianist"
    )
    check(performed, EDGE[f"{name}/ref/notes"], EDGE[f"{name}/ref/cc"])


@pytest.mark.parametrize("name", NAMES)
def test_default_differs_only_where_the_reference_errs(name: str) -> None:
    ids = TOKENIZER.encode(read_bytes(bytes_of(name)))
    assert np.array_equal(ids, EDGE[f"{name}/ids"]) == (name not in READ_OTHERWISE)


@pytest.mark.parametrize("name", ["pedal_on_other_track", "pedal_on_other_channel"])
def test_the_pedal_counts_wherever_it_is_written(name: str) -> None:
    ours = columns_of_ids(TOKENIZER.encode(read_bytes(bytes_of(name))))
    lost = columns_of_ids(EDGE[f"{name}/ids"])
    assert ours.pedal[0, 0] == 127 and lost.pedal[0, 0] == 0
    np.testing.assert_array_equal(ours.table()[:, :4], lost.table()[:, :4])


def test_the_test_set(shared_dir: Path) -> None:
    folder = shared_dir / "golden" / "pianist"
    cases = json.loads((folder / "manifest.json").read_text())["tokens"]
    for case in cases:
        want = np.load(folder / case["npz"])["ids"]
        strict = TOKENIZER.encode_file(folder / case["midi"], compat="pianist")
        np.testing.assert_array_equal(strict, want, case["midi"])
        if case["kind"] != "edge":
            np.testing.assert_array_equal(TOKENIZER.encode(read(folder / case["midi"])), want)


def test_pedals_of_several_channels_the_deepest_counts() -> None:
    piece = Piece.from_ms([0, 100], [50, 50], [60, 62], [80, 80])
    both = Piece(
        piece.tempo,
        piece.notes,
        type(piece.pedals)(
            np.array([0, 10, 20, 30, 40]),
            np.array([90, 30, 0, 0, 70], np.uint8),
            np.array([0, 1, 1, 0, 9], np.uint8),  # channel 9 is drums
            np.zeros(5, np.int32),
        ),
    )
    flat = merge_tracks(both)
    assert flat.pedal_ms.tolist() == [0, 10, 20, 30]
    assert flat.pedal_value.tolist() == [90, 90, 90, 0]


notes_strategy = st.lists(
    st.tuples(st.integers(0, 400), st.integers(-5, 600), st.integers(58, 62), st.integers(1, 127)),
    min_size=1,
    max_size=30,
)
pedal_strategy = st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 127)), max_size=12)


@given(notes_strategy, pedal_strategy)
def test_what_is_encoded_comes_back(notes, pedal) -> None:
    pedal = sorted(pedal)
    flat = tidy(
        MergedNotes(
            np.cumsum([gap for gap, *_ in notes]),
            np.cumsum([gap for gap, *_ in notes]) + np.array([length for _, length, *_ in notes]),
            np.array([pitch for *_, pitch, _ in notes]),
            np.array([velocity for *_, velocity in notes]),
            np.array([time for time, _ in pedal], np.int64),
            np.array([value for _, value in pedal], np.int64),
        )
    )
    ids = TOKENIZER.encode_notes(flat)
    low, high = np.array(SLOT_RANGES).T
    assert np.all((ids.reshape(-1, 8) >= low) & (ids.reshape(-1, 8) < high))
    back = TOKENIZER.decode_notes(ids)
    np.testing.assert_array_equal(notes_table(back), notes_table(flat))
    # The pedal is sampled: what is written back samples to the same ids.
    np.testing.assert_array_equal(
        ids_of_columns(columns_of(back)).reshape(-1, 8)[:, :4], ids.reshape(-1, 8)[:, :4]
    )


@given(notes_strategy)
def test_tidied_notes_are_playable(notes) -> None:
    columns = np.array(notes)
    onset = np.cumsum(columns[:, 0])
    none = np.zeros(0, np.int64)
    flat = tidy(MergedNotes(onset, onset + columns[:, 1], columns[:, 2], columns[:, 3], none, none))
    table = notes_table(flat)
    assert np.all(table[:, 1] > table[:, 0])
    np.testing.assert_array_equal(np.lexsort((table[:, 2], table[:, 0])), np.arange(len(table)))
    for pitch in np.unique(table[:, 2]):
        mine = table[table[:, 2] == pitch]
        assert np.all(mine[1:, 0] >= mine[:-1, 1])


def test_silent_and_empty_notes_are_mended_by_default() -> None:
    ids = [5 + 60, 261, 133, 261, 5261, 5261, 5261, 5261]
    strict, ours = (TOKENIZER.decode_notes(ids, compat=c) for c in ("pianist", None))
    assert notes_table(strict).tolist() == [[0, 0, 60, 0]]
    assert notes_table(ours).tolist() == [[0, 1, 60, 1]]
    assert len(TOKENIZER.decode(ids)) == 1


def test_tokens_and_back() -> None:
    ids = TOKENIZER.encode(read_bytes(bytes_of("half_pedal_boundaries")))
    tokens = TOKENIZER.tokens([*ids[:8], 0, 2, VOCAB_SIZE])
    assert tokens[0] == ("pitch", int(ids[0]) - 5)
    assert tokens[8:] == ["<pad>", "<bos>", "<mask>"]
    assert TOKENIZER.ids_of(TOKENIZER.tokens(ids)).tolist() == ids.tolist()
    assert TOKENIZER.ids_of([("pitch", 128), "x", ("ms", 5000), ("tempo", 3)]).tolist() == [1] * 4


def test_the_grammar_goes_round() -> None:
    ids = TOKENIZER.encode(read_bytes(bytes_of("chord_order")))
    for at in range(len(ids)):
        ((low, high),) = TOKENIZER.allowed_next(ids[:at])
        assert low <= ids[at] < high


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([65, 261, 200], "3 ids: notes have eight each"),
        ([65, 261, 300, 261, 5261, 5261, 5261, 5261], "id 300 in slot 2 of note 0"),
        ([0] * 8, "id 0 in slot 0"),
    ],
)
def test_ids_that_are_no_notes(ids: list[int], message: str) -> None:
    with pytest.raises(TokenError, match=message):
        TOKENIZER.decode(ids)


def test_another_length_than_the_score() -> None:
    ids = EDGE["chord_order/ids"]
    with pytest.raises(TokenError, match="1 notes perform a score of 5"):
        TOKENIZER.decode(ids[:8], ids)


def test_nothing_to_encode(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no notes for a piano"):
        TOKENIZER.encode(Piece.from_ms([], [], [], []))
    with pytest.raises(InputError, match="cannot be read"):
        TOKENIZER.encode_file(tmp_path / "none.mid", compat="pianist")
