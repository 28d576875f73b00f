"""The keys that a page plays."""

from __future__ import annotations

import base64
import io

import numpy as np
import soundfile

from arietta.sound.keys import for_a_page


def test_a_page_gets_every_key_at_its_place_and_pitch() -> None:
    made = for_a_page()
    packed = base64.b64decode(made["audio"])
    assert len(packed) < 400_000
    audio, rate = soundfile.read(io.BytesIO(packed))
    slot = round(made["slot"] * rate)
    assert len(audio) == slot * len(made["keys"]) and 0.8 < np.abs(audio).max() <= 1
    for number, key in enumerate(made["keys"]):
        part = audio[number * slot : (number + 1) * slot]
        begin = int(np.argmax(np.abs(part) > 0.1 * np.abs(part).max())) / rate
        assert abs(begin - made["lead"]) < 0.02
        sounding = part[round((made["lead"] + 0.2) * rate) :][: 2 * rate]
        hertz = 440 * 2 ** ((key - 69) / 12)
        power = np.abs(np.fft.rfft(sounding * np.hanning(len(sounding)))) ** 2
        lines = np.arange(len(power)) * rate / len(sounding)
        # All of the sound is partials of the key; strings are stiff, so the upper ones are sharp.
        off = np.abs(lines / hertz - np.rint(lines / hertz)) * hertz
        near = (off < 0.03 * lines + 2) & (lines > hertz / 2)
        assert power[near].sum() > 0.5 * power.sum(), key
        assert np.abs(part[-round(0.2 * rate) :]).max() < 0.01
