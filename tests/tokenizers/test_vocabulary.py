from __future__ import annotations

import numpy as np
import pytest

from arietta.errors import TokenError, UsageError
from arietta.tokenizers import quantise
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import (
    CONTROLS,
    RELATIVE_NAMES,
    VARIANT_NAMES,
    Kind,
    vocabulary,
)
from tests.tokenizers.golden import Golden

PUBLIC = {
    "base": "full",
    "pedal": "full-pedal",
    "delimiter": "full-delimiter",
    "pedal_delimiter": "full-pedal-delimiter",
    "no_drums": "no-drums",
    "piano_demo": "piano-demo",
    "rel": "relative",
}
# Ours: written down when it was made; a change would orphan every checkpoint trained with it.
PIANO_SHA256 = "4cb4fac65da354d980acbff8576af642dcf0de63c055dd68669a003ba2f29acf"

RELATIVE_PIANO_SHA256 = "7b4944b08ee704b45640600b87325a731a82ec452c75160420c7d73ee13f1c04"


def test_public_vocabularies_have_the_public_order(golden: Golden) -> None:
    expected = golden.json("vocab_variants")
    for public, ours in PUBLIC.items():
        vocab = vocabulary(ours)
        assert vocab.size == len(vocab.tokens) == expected[public]["size"]
        assert vocab.sha256 == expected[public]["sha256_of_compact_json"]


def test_piano_vocabulary_never_changes() -> None:
    vocab = vocabulary("piano")
    assert vocab.size == len(vocab.tokens) == 2565
    assert vocab.sha256 == PIANO_SHA256
    assert (vocab.note_start, vocab.dur_start, vocab.onset_start) == (29, 1565, 2065)
    assert vocab.tokens[29] == ("piano", 0, 10)
    assert vocab.tokens[-1] == ("onset", 4990)


def test_relative_piano_vocabulary_never_changes() -> None:
    vocab = vocabulary("relative-piano")
    assert vocab.size == len(vocab.tokens) == 2565
    assert vocab.sha256 == RELATIVE_PIANO_SHA256
    assert vocab.tokens[28] == ("piano", 0, 10)
    assert vocab.tokens[-1] == ("wait", 5000)
    assert ("prefix", "genre", "jazz") in vocab.tokens


@pytest.mark.parametrize("name", [*VARIANT_NAMES, *RELATIVE_NAMES])
def test_kinds_agree_with_the_tokens(name: str) -> None:
    vocab = vocabulary(name)
    named = {
        "drum": Kind.DRUM, "dur": Kind.DUR, "onset": Kind.ONSET, "wait": Kind.ONSET,
        "<PED_ON>": Kind.PEDAL, "<PED_OFF>": Kind.PEDAL, "<X>": Kind.DELIMITER,
        "<GAPS>": Kind.LABEL, "<SCORE>": Kind.LABEL, "<FILL>": Kind.FILL, "<MID>": Kind.FILL,
        **dict.fromkeys(CONTROLS, Kind.CONTROL),
    }  # fmt: skip
    for token, kind in zip(vocab.tokens, vocab.kinds[:-1].tolist(), strict=True):
        head = token if isinstance(token, str) else token[0]
        if token in vocab.specials:
            assert kind == vocab.specials.index(token)
        elif head == "prefix":
            assert kind == (Kind.INSTRUMENT if token[1] == "instrument" else Kind.LABEL)
        else:
            assert kind == named.get(str(head), Kind.NOTE)
    assert vocab.kinds[-1] == Kind.FOREIGN


def test_quantisation_tables(golden: Golden) -> None:
    expected = golden.json("quantise")
    onset, duration = quantise.ONSET_STEPS * 10, quantise.DURATION_STEPS * 10
    clamped = np.clip(np.arange(6001), 0, 5000)
    assert onset.tolist() == expected["onset_of_ms"]
    assert duration[clamped].tolist() == expected["dur_of_ms_0_to_6000"]
    assert (quantise.WAIT_STEPS * 10)[clamped].tolist() == expected["rel_time_of_ms_0_to_6000"]
    assert (quantise.VELOCITY_STEPS * 10).tolist() == expected["velocity_of_0_to_127"]
    assert set(expected["dur_of_ms_negative_1_to_100"]) == {10}


@pytest.mark.parametrize("source", VARIANT_NAMES)
@pytest.mark.parametrize("target", VARIANT_NAMES)
def test_ids_map_between_vocabularies(source: str, target: str) -> None:
    here, there = AriaTokenizer(source), AriaTokenizer(target)
    table = here.map_to(there)
    ids = here.vocabulary.tokens
    mapped = np.flatnonzero(table >= 0)
    assert [there.vocabulary.tokens[i] for i in table[mapped]] == [ids[i] for i in mapped]
    missing = {ids[i] for i in np.flatnonzero(table < 0)}
    assert not missing & set(there.vocabulary.tokens)
    if source == target:
        assert table.tolist() == list(range(here.vocab_size))


def test_tokens_and_ids_of_unknown_things() -> None:
    tokenizer = AriaTokenizer("piano")
    assert (
        tokenizer.tokens([6, 0, -1, 2565])
        == [("prefix", "instrument", "piano"), "<S>"] + ["<U>"] * 2
    )
    ids = tokenizer.ids_of(["<T>", ["piano", 60, 70], ("piano", 60, 0), ("drum", 40)])
    assert ids.tolist() == [5, 29 + 12 * 60 + 6, 3, 3]


def test_errors_say_what_there_is() -> None:
    with pytest.raises(UsageError, match="full-pedal"):
        AriaTokenizer("fall")
    with pytest.raises(TokenError, match="chopin"):
        vocabulary("piano").ids_of_prefix(["salieri"])
    assert vocabulary("full").ids_of_prefix(["Etude", "ÉTUDE"]) == [32, 32]
