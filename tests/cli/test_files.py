"""Commands that work on one file: tokenize, detokenize, info, synth, play."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from arietta.midi.reader import read
from arietta.tokenizers.aria import AriaTokenizer

from .conftest import Command


@pytest.mark.parametrize(
    ("name", "vocabulary"),
    [
        ("aria", "full"),
        ("aria-full", "full"),
        ("aria-piano", "piano"),
        ("aria-pedal", "full-pedal"),
        ("aria-demo", "piano-demo"),
    ],
)
def test_tokenize_and_back(
    arietta: Command, prompts_dir: Path, tmp_path: Path, name: str, vocabulary: str
) -> None:
    source = prompts_dir / "waltz.mid"
    done = arietta("tokenize", source, "--tokenizer", name, "--json")
    assert done.code == 0 and set(done.json) == {"ids", "tokens"}
    expected = AriaTokenizer(vocabulary).encode(read(source)).tolist()
    assert done.json["ids"] == expected
    assert len(done.json["tokens"]) == len(expected)

    ids = tmp_path / "ids.json"
    ids.write_text(done.out)
    back = arietta("detokenize", ids, "-o", tmp_path / "a.mid", "--tokenizer", name, "--json")
    assert back.json["notes"] == 341 and back.json["ids_without_effect"] == 0
    again = arietta("tokenize", tmp_path / "a.mid", "--tokenizer", name, "--json").json
    # A file orders simultaneous notes its own way, and a key struck again ends its first note.
    kinds = [sorted(t[:3] for t in d["tokens"] if t[0] == "piano") for d in (done.json, again)]
    assert kinds[0] == kinds[1]


def test_tokenize_full_has_prefix_end_and_no_dim(arietta: Command, prompts_dir: Path) -> None:
    done = arietta(
        "tokenize",
        prompts_dir / "nocturne.mid",
        "--json",
        "--prefix",
        "piano",
        "--prefix",
        "chopin",
    )
    tokens = done.json["tokens"]
    assert tokens[:3] == [
        ["prefix", "instrument", "piano"],
        ["prefix", "composer", "chopin"],
        "<S>",
    ]
    assert tokens[-1] == "<E>" and "<D>" not in tokens


def test_tokenize_lines_feed_detokenize(
    arietta: Command, prompts_dir: Path, tmp_path: Path
) -> None:
    done = arietta("tokenize", prompts_dir / "waltz.mid")
    assert done.out.splitlines()[1] == "0\t<S>"
    assert "341 notes" in done.err
    (tmp_path / "ids.txt").write_text(done.out)
    assert arietta("detokenize", tmp_path / "ids.txt", "-o", tmp_path / "a.mid").code == 0
    assert len(read(tmp_path / "a.mid")) == 341


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no ids"),
        ("[]", "no ids"),
        ("hello", "list of ids"),
        ('{"id": [1]}', "list of ids"),
        ("[1, 2.5]", "list of ids"),
        ("[true]", "list of ids"),
        ("[1, 99999]", "another --tokenizer"),
        ("-4", "another --tokenizer"),
    ],
)
def test_detokenize_refuses(arietta: Command, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "ids").write_text(text)
    done = arietta("detokenize", tmp_path / "ids", "-o", tmp_path / "a.mid")
    assert done.code == 1 and words in done.err and done.err.count("\n") == 1
    assert not (tmp_path / "a.mid").exists()


def test_info(arietta: Command, prompts_dir: Path) -> None:
    facts = arietta("info", prompts_dir / "waltz.mid", "--json").json
    assert facts["notes"] == 341
    assert facts["first_note_s"] == 3.2
    assert facts["instruments"] == {"piano": 341}
    assert facts["pedal_events"] == 90 and 0 < facts["pedal_down_share"] < 1
    text = arietta("info", prompts_dir / "waltz.mid").out
    assert "54.0 s" in text and "120 quarters a minute" in text


def midi(*events: bytes, division: int = 96) -> bytes:
    track = b"".join(events) + b"\x00\xff\x2f\x00"
    return (
        b"MThd\x00\x00\x00\x06\x00\x00\x00\x01"
        + division.to_bytes(2, "big", signed=division < 0)
        + b"MTrk"
        + len(track).to_bytes(4, "big")
        + track
    )


def test_info_warns(arietta: Command, tmp_path: Path) -> None:
    path = tmp_path / "odd.mid"
    path.write_bytes(
        midi(
            b"\x00\xff\x51\x03\x09\x27\xc0",  # 100 quarters a minute
            b"\x00\xff\x58\x04\x03\x03\x18\x08\x00\xff\x59\x02\xfd\x01",  # 3/8, C minor
            b"\x00\xff\x03\x04Hand",
            b"\x8f\x00\x90\x0a\x40",  # 20 quarters of silence, a note below the keyboard
            b"\x00\x99\x24\x40\x60\x89\x24\x00",
            b"\xd0\x00\x80\x0a\x00",  # released two minutes later
        )
    )
    facts = arietta("info", path, "--json").json
    assert facts["tempo_bpm"] == 100 and facts["metre"] == ["3/8"] and facts["key"] == ["C minor"]
    assert facts["tracks"][0]["name"] == "Hand"
    warned = " ".join(facts["warnings"])
    for words in ("silence", "longer than", "outside the 88", "drums", "no sustain pedal"):
        assert words in warned
    path.write_bytes(midi())
    assert arietta("info", path, "--json").json["warnings"] == ["no notes"]
    assert arietta("info", path).code == 0
    path.write_bytes(midi(b"\x00\x90\x3c\x40\x40\x80\x3c\x00", division=-(25 << 8) + 40))
    assert arietta("info", path, "--json").json["tempo_bpm"] is None
    assert "SMPTE" in arietta("info", path).out


def test_synth(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    done = arietta("synth", prompts_dir / "waltz.mid", "-o", tmp_path / "w.flac", "--json")
    assert done.json["notes"] == 341
    audio, rate = soundfile.read(tmp_path / "w.flac")
    assert rate == 44_100 and audio.shape[1] == 2
    assert 0.85 < np.abs(audio).max() < 0.99
    assert len(audio) / rate == pytest.approx(done.json["seconds"], abs=1e-3)


def test_synth_goes_beside_its_source(arietta: Command, prompts_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "Étude.mid"
    source.write_bytes((prompts_dir / "waltz.mid").read_bytes())
    assert arietta("synth", source).code == 0
    assert (tmp_path / "Étude.wav").exists()
    assert arietta("synth", source).code == 1
    assert arietta("synth", source, "--force").code == 0


def test_play_through_a_player(
    arietta: Command, prompts_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = tmp_path / "player"
    player.write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/heard.wav\n')
    player.chmod(player.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("ARIETTA_PLAYER", str(player))
    monkeypatch.chdir(tmp_path)
    assert arietta("play", prompts_dir / "waltz.mid", "--json").json["played"] is True
    assert soundfile.info(tmp_path / "heard.wav").duration > 50
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heard.wav", "player"]


def test_play_without_a_device_writes_a_file(
    arietta: Command, prompts_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARIETTA_PLAYER", "false")
    monkeypatch.chdir(tmp_path)
    for name in ("waltz.wav", "waltz-2.wav"):
        done = arietta("play", prompts_dir / "waltz.mid", "--json")
        assert done.code == 0 and json.loads(done.out)["output"] == name
        assert "writing a file instead" in done.err
        assert (tmp_path / name).exists()


def test_info_of_the_system(arietta: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from arietta.midi import reader
    from arietta.models.kernel import bindings

    facts = arietta("info", "--system", "--json").json
    assert facts["kernel"] == bindings.state() and facts["cores"] >= 1
    text = arietta("info", "--system").out
    assert f"kernel                {facts['kernel']}" in text
    monkeypatch.setattr(bindings, "_compiled", lambda: None)
    monkeypatch.setattr(reader, "parse_c", None)
    bindings.library.cache_clear()
    try:
        facts = arietta("info", "--system", "--json").json
    finally:
        bindings.library.cache_clear()
    assert facts["kernel"] == "not built: the install found no C compiler"
    assert facts["int8_and_int4_run_on"] == "openvino"
    assert facts["midi_reader"].startswith("not built")
    assert arietta("info", "a.mid", "--system").code == 2
    assert "--system" in arietta("info").err
