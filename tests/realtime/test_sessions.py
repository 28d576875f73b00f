"""A few of the scripted sessions that ``benchmarks/duet.py`` plays a thousand of."""

from __future__ import annotations

import arietta
from benchmarks.duet import (
    Played,
    events_of,
    excerpt,
    interruptions,
    musical_gap,
    scripted_sessions,
)


def test_scripted_sessions_have_no_fault() -> None:
    found = scripted_sessions(20, first=1)
    assert found["answers"] > 10 and found["model_notes"] > 100
    assert {name: value for name, value in found.items() if name.startswith("faults")} == {
        f"faults_{name}": 0
        for name in ("hanging", "dropped", "past", "changed_late", "slow_yield", "pedal_repeats")
    }


def test_a_session_with_the_shipped_model_has_no_fault() -> None:
    found = scripted_sessions(1, arietta.load("small").engine, first=0)
    assert found["answers"] >= 1
    assert not any(value for name, value in found.items() if name.startswith("faults"))


def test_the_gap_is_the_one_that_the_model_chooses_offline(prompts_dir) -> None:
    recordings = [events_of(arietta.read(prompts_dir / "nocturne.mid"))]
    found = musical_gap(arietta.load("small").engine, recordings, 3)
    assert found["gap_ms_median_difference"] <= 50


def test_a_player_who_is_cut_off_lifts_everything() -> None:
    events = [
        Played(0, "key", 60, 70),
        Played(100, "pedal", 127, 0),
        Played(200, "key", 60, 0),
        Played(300, "key", 64, 70),
        Played(900, "key", 64, 0),
    ]
    found = excerpt(events, 50, 500)
    assert [e.first for e in found if e.kind == "key"] == [64, 64]
    assert found[-2:] == [Played(501, "key", 64, 0), Played(502, "pedal", 0, 0)]


def test_a_pause_counts_only_with_keys_and_pedal_up(prompts_dir) -> None:
    found = interruptions([arietta.read(prompts_dir / "nocturne.mid")])
    alone, both = (
        found["interruptions_a_minute_onsets_alone"],
        found["interruptions_a_minute_keys_and_pedal"],
    )
    assert both <= alone
