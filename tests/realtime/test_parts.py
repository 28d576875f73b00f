"""The small parts of a duet: pulse, latency, plans as messages, port names, the recording."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import numpy as np
import pytest

from arietta.errors import InputError, MissingExtraError, OutputError, UsageError
from arietta.midi.reader import read_bytes
from arietta.realtime import ports
from arietta.realtime.latency import Latency, clock_offset_ms, tap_latency_ms
from arietta.realtime.plans import Plan, PlannedNote, PlannedPedal
from arietta.realtime.pulse import USUAL_BEAT_MS, beat_ms
from arietta.realtime.recording import ARIETTA, YOU, Recording
from arietta.realtime.scheduler import PlanPlayer
from arietta.realtime.settings import DuetSettings
from tests.realtime.memory_ports import BrokenPorts, Ports


@pytest.mark.parametrize("beat", [500, 600, 750])
@pytest.mark.parametrize("pattern", [[1], [0.5], [1, 0.5, 0.5, 2]])
def test_the_pulse_is_found(beat: int, pattern: list[float]) -> None:
    rng = np.random.default_rng(0)
    onsets = np.cumsum(np.tile(pattern, 8)) * beat
    found = beat_ms(np.concatenate((onsets, onsets + 8)) + rng.normal(0, 6, 2 * len(onsets)))
    # An octave of a pulse is as right as the pulse itself.
    assert min(abs(np.log2(found / beat) - k) for k in (-1, 0, 1)) < 0.08


def test_too_few_onsets_have_the_usual_pulse() -> None:
    assert beat_ms([]) == beat_ms([0, 400, 800]) == beat_ms([5.0] * 40) == USUAL_BEAT_MS


def test_the_quickest_round_trip_tells_the_clock() -> None:
    trips = [(0, 1_030.0, 50), (100, 1_104.0, 106), (200, 1_290.0, 210), (300, 1_310.0, 400)]
    assert clock_offset_ms(trips) == pytest.approx(1_001.0)
    old = [(0.0, 5.0, 0.1), *[(t, t + 77.0, t + 20.0) for t in np.arange(8) * 100.0]]
    assert clock_offset_ms(old) == pytest.approx(67.0)  # the last eight count
    with pytest.raises(InputError, match="round trips"):
        clock_offset_ms([])


def test_taps_tell_the_latency() -> None:
    clicks = [600.0 * i for i in range(12)]
    taps = [click + 45 + d for click, d in zip(clicks, [0, 5, -5, 300, 2] * 3, strict=False)]
    assert tap_latency_ms(clicks, taps) == pytest.approx(45, abs=6)
    assert tap_latency_ms(clicks, [click - 10 for click in clicks]) == 0
    with pytest.raises(InputError, match="at least 5"):
        tap_latency_ms(clicks, taps[:3])
    with pytest.raises(InputError, match="scatter"):
        tap_latency_ms(clicks, [c + d for c, d in zip(clicks, [-250, 250] * 6, strict=True)])


def test_latency_is_linear_between_velocities() -> None:
    assert Latency(10.0).of(64) == 10.0
    table = Latency(10.0, {30: 60.0, 90: 20.0})
    assert [table.of(v) for v in (1, 30, 60, 90, 127)] == [70.0, 70.0, 50.0, 30.0, 30.0]
    with pytest.raises(UsageError, match="`latency`"):
        Latency(-1.0)


def plan(*notes: PlannedNote, number: int = 1, start: float = 0.0, **more: Any) -> Plan:
    values: dict[str, Any] = {"pedals": (), "committed_until_ms": 0.0, **more}
    return Plan(number, None, start, notes, **values)


def test_a_key_that_sounds_is_ended_before_it_is_struck_again() -> None:
    player = PlanPlayer(2)
    player.take(plan(PlannedNote(0, 500, 60, 70), PlannedNote(200, 300, 60, 80)), 0)
    data = [message.data for message in player.due(1_000)]
    assert data == [(0x92, 60, 70), (0x82, 60, 64), (0x92, 60, 80), (0x82, 60, 64)]


def test_a_later_plan_takes_back_what_has_not_begun() -> None:
    player = PlanPlayer()
    player.take(plan(*(PlannedNote(100.0 * i, 100.0 * i + 90, 60 + i, 70) for i in range(6))), 0)
    player.due(250)
    player.take(plan(PlannedNote(400, 500, 40, 70), number=2, start=300.0), 250)
    assert [m.data[1] for m in player.due(900) if m.is_on] == [40]
    assert not player.sounding and player.next_ms is None


def test_everything_off_also_tells_the_instrument() -> None:
    player = PlanPlayer()
    player.take(plan(PlannedNote(0, 9e9, 60, 70), pedals=(PlannedPedal(0, True),)), 0)
    assert len(player.due(0)) == 2 and player.pedal_down
    assert [m.data for m in player.everything_off(5)] == [
        (0x80, 60, 64),
        (0xB0, 64, 0),
        (0xB0, 123, 0),
    ]


def test_a_recording_is_a_file_of_two_tracks() -> None:
    record = Recording()
    record.note(YOU, 10, 60, 70)
    record.note(ARIETTA, 500, 64, 50)
    record.note(YOU, 700, 60, 0)
    record.pedal(YOU, 20, 127)
    record.pedal(YOU, 650, 0)
    record.note(YOU, 900, 62, 71)  # never released
    record.note(ARIETTA, 1_000, 64, 0)
    piece = read_bytes(record.piece().to_bytes())
    assert piece.track_names == {0: "You", 1: "Arietta"}
    rows = zip(piece.onset_ms, piece.duration_ms, piece.notes.pitch, piece.notes.track, strict=True)
    assert [tuple(round(float(x)) for x in row) for row in rows] == [
        (10, 690, 60, 0),
        (500, 500, 64, 1),
        (900, 100, 62, 0),
    ]
    assert len(Recording().piece()) == 0


def test_ports_are_chosen_by_a_part_of_their_name() -> None:
    names = ["Midi Through:0", "Digital Piano 20:0", "Synth 24:0"]
    assert ports.choose("piano", names, "input") == "Digital Piano 20:0"
    assert ports.choose(None, names[:1], "input") == names[0]
    assert ports.choose("Synth 24:0", [*names, "Synth 24:01"], "output") == "Synth 24:0"
    for wanted, said in ((None, "is needed"), ("i", "several"), ("organ", "no port")):
        with pytest.raises(InputError, match=said):
            ports.choose(wanted, names, "input")
    with pytest.raises(InputError, match="`input_port` is needed: there is no MIDI input"):
        ports.choose(None, [], "input")


def test_two_sides_of_one_instrument_are_known() -> None:
    assert ports.same_device(
        "Digital Piano:Digital Piano MIDI 1 20:0", "Digital Piano:Digital Piano MIDI 1 20:0"
    )
    assert ports.same_device("CASIO USB-MIDI 0", "CASIO USB-MIDI 1")
    assert not ports.same_device("Keyboard 20:0", "Synth 24:0")


def test_a_missing_extra_says_how_to_mend_it(monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "mido":
            raise ImportError(name)
        return really(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'arietta\[live\]'"):
        ports.backend()
    monkeypatch.setattr(sys, "version_info", (3, 14, 0))
    with pytest.raises(MissingExtraError, match=r"no ready-made package for Python 3\.14"):
        ports.backend()


def test_a_system_without_midi_says_so() -> None:
    broken = BrokenPorts()
    with pytest.raises(InputError, match=r"no MIDI ports \(no sequencer device\)"):
        ports.port_names(broken)
    with pytest.raises(OutputError, match="cannot be opened"):
        ports.MidiOut(broken, "x")
    with pytest.raises(InputError, match="cannot be opened"):
        ports.MidiIn(broken, "x", print, print)


def test_ports_that_go_away_are_noticed() -> None:
    system = Ports()
    out, into = ports.MidiOut(system, "Synth 1"), ports.MidiIn(system, "Keys 1", print, print)
    out.send((0x90, 60, 70))
    assert system.sent == [[0x90, 60, 70]]
    out.check()
    into.check()
    system.inputs = system.outputs = []
    with pytest.raises(OutputError, match="unplugged"):
        out.check()
    with pytest.raises(InputError, match="unplugged"):
        into.check()
    out.close()
    for check in (out.check, into.check):
        with pytest.raises((OutputError, InputError), match="is closed"):
            check()
    with pytest.raises(OutputError, match="'Synth 1' is gone"):
        out.send((0x80, 60, 70))


def test_an_error_in_the_input_s_thread_is_told() -> None:
    import mido

    system, told = Ports(), []

    def take(data: list[int]) -> None:
        raise RuntimeError(f"cannot take {data}")

    ports.MidiIn(system, "Keys 1", take, told.append)
    system.callback(mido.Message("note_on", note=60, velocity=70))
    assert str(told[0]) == "cannot take [144, 60, 70]"


@pytest.mark.parametrize(
    "wrong",
    [{"mode": "sing"}, {"bars": 0}, {"pause_seconds": 0}, {"budget_ms": -1}, {"takeover_key": 128}],
)
def test_settings_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"`{next(iter(wrong))}`"):
        DuetSettings(**wrong)
