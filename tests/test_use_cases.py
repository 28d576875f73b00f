"""The use cases as functions: a frozen result, the files that were wanted, nothing printed."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta import api
from arietta.errors import OutputError, UsageError
from arietta.generation.settings import DEFAULT_TAKES, PRESETS, SamplingSettings


@pytest.fixture(autouse=True)
def silent(capfd: pytest.CaptureFixture[str]):
    yield
    assert capfd.readouterr().out == ""


@pytest.fixture
def waltz(prompts_dir: Path) -> Path:
    return prompts_dir / "waltz.mid"


def test_every_name_is_there_and_every_result_frozen() -> None:
    assert set(api.__all__) <= set(dir(api))
    for name in api.__all__:
        value = getattr(api, name)
        if name.endswith("Result"):
            assert dataclasses.is_dataclass(value) and value.__dataclass_params__.frozen, name
            if name != "FillResult":
                assert callable(value.to_dict), name


def test_generate_writes_and_tells(waltz: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.mid"
    done = api.generate(waltz, output=out, prompt_seconds=4, notes=6, variations=2, seed=3)
    assert [t.midi.name for t in done.targets] == ["a-1.mid", "a-2.mid"]
    assert all(t.midi.is_file() for t in done.targets) and not done.interrupted
    told = json.loads(json.dumps(done.to_dict()))
    assert told["notes"] == 12 and told["takes"] == DEFAULT_TAKES
    assert told["outputs"][0]["judged"]["score"] >= told["outputs"][1]["judged"]["score"]
    with pytest.raises(OutputError, match="`force=True`"):
        api.generate(waltz, output=out, notes=6, variations=2)
    # A loaded model, whole settings, nothing written.
    model = arietta.load("small")
    again = api.generate(waltz, model=model, prompt_seconds=4, notes=6, variations=2, seed=3)
    assert again.targets == (None, None)
    for one, two in zip(done.continuations, again.continuations, strict=True):
        assert np.array_equal(one.ids, two.ids)


def test_settings_presets_and_single_numbers_agree(waltz: Path) -> None:
    model = arietta.load("small")
    asked = {"prompt_seconds": 4, "notes": 8, "seed": 5}
    whole = model.generate(waltz, settings=SamplingSettings(temperature=0.7), **asked)
    named = model.generate(waltz, preset="faithful", **asked)
    single = model.generate(waltz, temperature=0.7, **asked)
    assert PRESETS["faithful"] == SamplingSettings(temperature=0.7)
    assert whole.ids.tolist() == named.ids.tolist() == single.ids.tolist()
    assert "preset" not in whole.provenance and named.provenance["preset"] == "faithful"
    assert whole.provenance["settings"] == SamplingSettings(temperature=0.7).to_dict()
    with pytest.raises(UsageError, match="one of `settings` and `preset`"):
        model.generate(waltz, settings=SamplingSettings(), preset="faithful")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"prompt_seconds": 3}, "prompt_seconds"),
        ({"into": "1"}, "into"),
        ({"bars": 2}, "bars"),
        ({"guidance": 2.0}, "guidance"),
        ({"wav": True}, "wav"),
        ({"variations": 0}, "variations"),
    ],
)
def test_what_needs_something_else_is_refused(options, name: str) -> None:
    with pytest.raises(UsageError, match=f"`{name}`"):
        api.generate(**options)


def test_cancelling_from_outside(waltz: Path) -> None:
    from contextlib import contextmanager

    @contextmanager
    def at_once(stream):
        stream.cancel()
        yield

    done = api.generate(waltz, prompt_seconds=4, seconds=30, watch=at_once)
    assert done.interrupted and len(done.continuations[0].new) == 0


def test_render(waltz: Path, tmp_path: Path) -> None:
    done = api.render(waltz, tmp_path / "p.mid", model="rules", variations=2, seed=4)
    assert [t.midi.name for t in done.targets] == ["p-1.mid", "p-2.mid"]
    assert done.to_dict()["outputs"][1]["performed"] == len(arietta.read(waltz))
    with pytest.raises(UsageError, match="`variations`"):
        api.render(waltz, variations=0)


def test_tokens_by_both_names_of_a_vocabulary(waltz: Path) -> None:
    one, other = (api.tokenize(waltz, tokenizer=name) for name in ("piano", "aria-piano"))
    assert np.array_equal(one.ids, other.ids) and one.vocab_size == 2_565
    assert len(api.tokenize(waltz, tokenizer="pianist").ids) == 8 * len(one.piece)
    with pytest.raises(UsageError, match="`tokenizer` 'pianola'"):
        api.tokenize(waltz, tokenizer="pianola")


def test_synth_and_score(waltz: Path, tmp_path: Path) -> None:
    short = arietta.read(waltz)
    done = api.synth(short, tmp_path / "a.wav")
    assert done.output.is_file() and done.notes == len(short)
    scored = api.score(short, [tmp_path / "a.csv"], quick=True, top=3)
    assert len(scored.top) == 3 and scored.by_bits and (tmp_path / "a.csv").is_file()
    with pytest.raises(UsageError, match="`output`"):
        api.score(short, [tmp_path / "a.txt"])


def test_vectors(prompts_dir: Path, tmp_path: Path) -> None:
    done = api.embed([prompts_dir])
    assert done.output is None and len(done.collection) == len(list(prompts_dir.glob("*.mid")))
    made = api.index([prompts_dir], str(tmp_path / "index"), passages=0)
    assert made.pieces == len(done.collection)
    found = api.search(prompts_dir / "waltz.mid", str(tmp_path / "index"), count=2)
    assert len(found.hits) == min(2, made.pieces - 1) and found.to_dict()["by"] == "piece"
    with pytest.raises(UsageError, match="nothing to do"):
        api.index([], str(tmp_path / "index"))


def test_recipes_are_summed_up_without_training() -> None:
    from arietta.api.training import plan, recipe_summaries

    assert "small-pretrain" in recipe_summaries()
    assert plan("small-pretrain")[0]["parameters"] > 1e6


def test_a_plan_takes_what_the_run_takes(prompts_dir: Path, tmp_path: Path) -> None:
    from arietta.api.training import plan

    (values,) = plan("finetune-folder", prompts_dir, tmp_path / "run", steps=2)
    assert values["tokens per epoch"] > 1_000 and values["steps"] > 0
    assert values["stops after step"] == 2
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="classifies nothing"):
        plan("finetune-folder", prompts_dir, labels=tmp_path / "labels.csv")
