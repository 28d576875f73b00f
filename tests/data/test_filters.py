"""Quality rules against the public reference, and what they must hold for any piece."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arietta.data import filters
from arietta.data.filters import CHECKS, OFF, PRESETS, Filters, Measures, check, with_setting
from arietta.errors import UsageError
from arietta.midi.piece import Piece
from arietta.midi.tempo import TempoMap
from tests.tokenizers.golden import Golden


@pytest.fixture(params=["repository", "shared"])
def golden(request: pytest.FixtureRequest) -> Golden:
    if request.param == "repository":
        return Golden(Path(request.getfixturevalue("golden_dir")) / "aria")
    return Golden(Path(request.getfixturevalue("shared_dir")) / "golden" / "aria")


def setting_of(arguments: dict[str, Any]) -> Any:
    """The reference's keyword arguments as our setting."""
    rows = arguments.get("test_params_list")
    values = [tuple(row.values()) for row in rows] if rows else list(arguments.values())
    return tuple(values) if rows or len(values) > 1 else values[0]


def test_golden_results(golden: Golden) -> None:
    expected = golden.json("filters")
    cases = 0
    for entry in expected["files"]:
        measures = Measures(golden.piece(entry["name"]), compat="aria")
        for title, (passes, value) in entry["results"].items():
            rule = CHECKS[title.split(" ")[0]]
            got = rule(measures, setting_of(expected["args"][title]))
            where = (entry["name"], title)
            assert got[0] == passes, where
            np.testing.assert_allclose(got[1], value, rtol=1e-9, atol=1e-9, err_msg=str(where))
            cases += 1
    assert cases == 20 * len(expected["files"]) >= 400


def test_the_defaults_are_the_published_settings(golden: Golden) -> None:
    arguments = golden.json("filters")["args"]
    for name in CHECKS:
        if name in arguments:
            assert getattr(Filters(), name) == setting_of(arguments[name])


def plain_windows(onset_ms: list[int], length_s: int) -> list[list[int]]:
    """Positions of the notes in each window, one after the other."""
    start = onset_ms[0]
    windows = []
    while True:
        end = start + 1000 * length_s
        windows.append([i for i, t in enumerate(onset_ms) if start <= t <= end])
        if end >= onset_ms[-1]:
            return windows
        start += 1000


@given(
    st.lists(st.tuples(st.integers(0, 40_000), st.integers(30, 40)), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_windows_are_those_of_the_plain_loop(notes: list[tuple[int, int]], length_s: int) -> None:
    # Eighths of a second are exact binary fractions, so no edge is a matter of rounding.
    onset = sorted(t // 125 * 125 for t, _ in notes)
    pitch = [p for _, p in notes]
    measures = Measures(Piece.from_ms(onset, [100] * len(onset), pitch, [64] * len(onset)))
    plain = plain_windows(onset, length_s)
    table = measures.windows(length_s)
    used = sorted(set(pitch))
    assert table.T.tolist() == [[sum(pitch[i] == p for i in w) for p in used] for w in plain]


def melody(n: int = 400) -> Piece:
    rng = np.random.default_rng(1)
    onset = np.cumsum(rng.integers(50, 400, n))
    return Piece.from_ms(
        onset, rng.integers(50, 900, n), rng.integers(40, 90, n), rng.integers(40, 90, n)
    )


def test_a_sound_piece_passes_and_every_value_is_there() -> None:
    refused, values = check(melody(), Filters())
    assert refused == ""
    assert list(values) == list(CHECKS)


@pytest.mark.parametrize(
    ("setting", "rule"),
    [
        ("length=0:10", "length"),
        ("max_programs=0", "max_programs"),
        ("note_pitch_entropy=7", "note_pitch_entropy"),
        ("note_density_in_interval=1:15:3,2:10:5", "note_density_in_interval"),
        ("mean_note_len=1:10", "mean_note_len"),
    ],
)
def test_a_setting_from_the_command_line_refuses(setting: str, rule: str) -> None:
    chosen = with_setting(OFF, setting)
    assert check(melody(), chosen)[0] == rule
    assert check(melody(), with_setting(chosen, f"{rule}=off"))[0] == ""


@pytest.mark.parametrize(
    "text",
    ["", "length", "size=1", "length=a:b", "length=1", "length=1:2,3:4", "max_programs=1:2"],
)
def test_a_wrong_setting_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="`filters`"):
        with_setting(Filters(), text)


def test_windows_last_whole_seconds() -> None:
    with pytest.raises(UsageError, match="whole seconds"):
        with_setting(Filters(), "unique_pitch_count_in_interval=5:2.5")


def test_finetuning_is_stricter_than_pretraining() -> None:
    # What pretraining refuses, finetuning refuses too.
    for piece in (melody(), melody(20), Piece.from_ms([], [], [], [])):
        if check(piece, PRESETS["pretrain"])[0]:
            assert check(piece, PRESETS["finetune"])[0]


def test_a_hostile_tempo_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "MAX_WINDOWS", 1000)
    slow = TempoMap.constant(division=1, us_per_quarter=2**24 - 1)
    notes = melody().notes
    apart = replace(notes, onset_tick=notes.onset_tick * 1000, offset_tick=notes.offset_tick * 1000)
    piece = Piece(slow, apart)
    assert Measures(piece).windows(30).shape[1] == 1001
    assert check(piece, Filters())[0]
