"""The public Python interface, on a small model of random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import arietta
from arietta.errors import AriettaError, CheckpointError, UsageError
from arietta.generation.settings import DEFAULT_TAKES
from arietta.generation.takes import CHEAP_WEIGHTS, default_takes
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.models.performer import checkpoint as performer
from arietta.models.performer.config import PerformerConfig
from arietta.notation.features import FEATURES, SUMMARY


def folder(place: Path, name: str, info=None, **changes) -> Path:
    values = {
        "d_model": 64, "n_heads": 2, "n_layers": 2, "vocab_size": 2_565, "max_seq_len": 512,
        **changes,
    }  # fmt: skip
    config = AriaConfig(**values)
    rng = np.random.default_rng(len(name))
    tensors = {
        n: (1 if "norm" in n and n.endswith("weight") else 0)
        + 0.1 * rng.standard_normal(shape, np.float32)
        for n, shape in config.tensor_shapes().items()
    }
    return aria_checkpoint.save(place / name, config, tensors, name=name, info=info)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory):
    return arietta.load(folder(tmp_path_factory.mktemp("models"), "toy"), threads=1)


@pytest.fixture(scope="module")
def prompt(prompts_dir: Path):
    return arietta.read(sorted(prompts_dir.glob("*.mid"))[0])


def test_the_first_example(model, prompt, tmp_path: Path) -> None:
    out = model.generate(prompt, prompt_seconds=5, seconds=3, seed=0)
    out.save(tmp_path / "b.mid")
    assert len(arietta.read(tmp_path / "b.mid")) == len(out.piece) > len(out.prompt)
    assert out.provenance["model"] == "toy" and len(out.provenance["model_sha256"]) == 64
    assert out.provenance["preset"] == "balanced" and out.provenance["arietta"]


def test_paths_pieces_and_nothing_as_prompt(model, prompts_dir: Path) -> None:
    path = sorted(prompts_dir.glob("*.mid"))[0]
    one = model.generate(path, prompt_seconds=3, notes=4, seed=1)
    two = model.generate(str(path), prompt_seconds=3, notes=4, seed=1)
    assert np.array_equal(one.ids, two.ids)
    assert len(model.generate(notes=4).prompt) == 0


def test_variations_are_the_same_alone(model, prompt) -> None:
    many = model.generate_many(prompt, variations=3, prompt_seconds=4, notes=12, seed=5)
    assert len({tuple(out.ids.tolist()) for out in many}) == 3
    for out in many:
        take = out.provenance["variation"]
        alone = model.generate(prompt, variation=take, prompt_seconds=4, notes=12, seed=5)
        assert np.array_equal(alone.ids, out.ids)


def test_the_best_takes_are_kept(model, prompt) -> None:
    options = {"prompt_seconds": 6, "notes": 40, "seed": 5}
    every = model.generate_many(prompt, variations=12, of=12, **options)
    assert [one.provenance["variation"] for one in every] == list(range(12))
    scores = {one.provenance["variation"]: one.verdict.score for one in every}
    best = sorted(scores, key=lambda take: -scores[take])
    kept = model.generate_many(prompt, variations=3, of=12, **options)
    assert [one.provenance["variation"] for one in kept] == best[:3]
    assert model.generate(prompt, of=12, **options).provenance["variation"] == best[0]
    assert kept[0].provenance["request"]["of"] == 12
    assert model.generate(prompt, of=1, **options).provenance["variation"] == 0


def test_how_many_takes_follows_the_size_of_the_model(model) -> None:
    assert model.default_takes == DEFAULT_TAKES == default_takes(CHEAP_WEIGHTS)
    assert default_takes(CHEAP_WEIGHTS + 1) == 1


def test_contradictory_numbers_of_takes_are_refused(model, prompt) -> None:
    with pytest.raises(UsageError, match=r"`of` is at least `variations`, 3"):
        model.generate_many(prompt, variations=3, of=2)
    with pytest.raises(UsageError, match="names one take"):
        model.generate(prompt, variation=1, of=4)


def test_streaming(model, prompt) -> None:
    stream = model.stream(prompt, prompt_seconds=4, notes=6)
    notes = []
    for note in stream:
        notes.append(note)
        assert stream.progress().notes >= len(notes)
    assert 0 < len(stream.results()[0].new) <= len(notes) <= 6


def test_progress_is_reported(model, prompt) -> None:
    seen = []
    model.generate(prompt, prompt_seconds=4, notes=3, of=1, report=seen.append)
    assert seen[-1].notes == 3 and len(seen) >= 9


def test_a_draft(model, prompt, tmp_path: Path) -> None:
    target = folder(tmp_path, "target")
    drafted = arietta.load(target, draft=folder(tmp_path, "d", n_layers=1), threads=1)
    plain = arietta.load(target, threads=1)
    a = plain.generate(prompt, prompt_seconds=3, tokens=60, temperature=0)
    b = drafted.generate(prompt, prompt_seconds=3, tokens=60, temperature=0)
    assert b.provenance["draft"] == "d"
    # Equal up to ties that rounding decides; test_speculative proves equality without rounding.
    assert a.ids[:9].tolist() == b.ids[:9].tolist()


def test_options_are_checked(model, prompt) -> None:
    with pytest.raises(UsageError, match="`temperature`"):
        model.generate(prompt, temperature=-1)
    with pytest.raises(UsageError, match="`preset`"):
        model.generate(prompt, preset="wild")
    with pytest.raises(UsageError, match="colour"):
        model.generate(prompt, colour="blue")
    with pytest.raises(UsageError, match="`seed`"):
        model.generate(prompt, seed=-3, notes=1)


def test_every_kind_does_what_it_can(model, prompt, prompts_dir: Path, tmp_path: Path) -> None:
    assert model.embed(prompt).shape == (64,)
    path = sorted(prompts_dir.glob("*.mid"))[0]
    assert np.array_equal(model.embed(path), model.embed(str(path)))
    embeds = arietta.load(folder(tmp_path, "e", embedding_size=8), threads=1)
    assert embeds.embed(prompt).shape == (8,)
    assert embeds.embed(prompt, full=True).shape == (8 + 2 * 64,)
    with pytest.raises(CheckpointError, match="kind embedding"):
        embeds.generate(prompt, notes=1)
    tells = arietta.load(folder(tmp_path, "c", class_size=4), threads=1)
    assert sum(tells.classify(prompt).shares.values()) == pytest.approx(1)
    with pytest.raises(CheckpointError, match="kind classifier"):
        tells.generate(prompt, notes=1)
    with pytest.raises(CheckpointError, match="needs classifier"):
        embeds.classify(prompt)
    with pytest.raises(CheckpointError, match="did you mean"):
        arietta.load("smal")
    with pytest.raises(UsageError, match="`device`"):
        arietta.load("small", device="toaster")  # type: ignore[arg-type]
    assert issubclass(UsageError, AriettaError)


def test_public_names() -> None:
    assert set(arietta.__all__) <= set(dir(arietta))
    assert arietta.list_models()[0]["name"] == "small"
    with pytest.raises(AttributeError, match="nothing"):
        arietta.nothing  # noqa: B018


def test_steering_by_example(tmp_path: Path, prompts_dir: Path) -> None:
    one, other = sorted(prompts_dir.glob("*.mid"))[:2]
    vectors = folder(tmp_path, "vectors", embedding_size=8)
    made = {
        "model": str(vectors),
        "model_sha256": aria_checkpoint.load(vectors).sha256,
        "chunk_notes": 50,
    }
    place = folder(tmp_path, "steered", {"embeddings": made}, conditioned=True, embedding_size=8)
    model = arietta.load(place, threads=1)
    asked = {"prompt_seconds": 4, "notes": 12, "seed": 3, "temperature": 1.0}
    free = model.generate(one, like=other, guidance=0.0, **asked)
    steered = model.generate(one, like=arietta.read(other), guidance=4.0, **asked)
    assert not np.array_equal(free.ids, steered.ids)
    assert steered.provenance["like"] == other.name and steered.provenance["guidance"] == 4.0
    vector = model.likeness.embed(arietta.read(other)).vector
    assert len(model.likeness.embed(arietta.read(other)).chunks.vectors) > 1
    by_hand = model.generate(one, guidance_vector=vector, guidance=4.0, **asked)
    assert np.array_equal(by_hand.ids, steered.ids)
    with pytest.raises(UsageError, match="one of `like` and `guidance_vector`"):
        model.generate(one, like=other, guidance_vector=vector, **asked)
    with pytest.raises(UsageError, match="between 0 and 10"):
        model.generate(one, like=other, guidance=11.0, **asked)


def test_steering_needs_the_right_models(model, tmp_path: Path, prompts_dir: Path) -> None:
    reference = sorted(prompts_dir.glob("*.mid"))[0]
    with pytest.raises(CheckpointError, match="has not learned to resemble an example"):
        model.generate(notes=4, like=reference)
    vectors = folder(tmp_path, "vectors", embedding_size=8)
    made = {"model": str(vectors), "model_sha256": "0" * 64, "chunk_notes": 300}
    place = folder(tmp_path, "steered", {"embeddings": made}, conditioned=True, embedding_size=8)
    with pytest.raises(CheckpointError, match="trained with other vectors"):
        arietta.load(place, threads=1).generate(notes=4, like=reference)


def test_a_score_is_played(tmp_path: Path, prompts_dir: Path) -> None:
    score = sorted(prompts_dir.glob("*.mid"))[0]
    someone = arietta.load_renderer("rules", seed=2)
    played = someone.render(score)
    played.save(tmp_path / "played.mid", editable=True)
    assert len(arietta.read(tmp_path / "played.mid")) == len(played.score)
    again = someone.render(arietta.read(score), variation=1)
    assert not np.array_equal(played.performed.velocity, again.performed.velocity)
    config = PerformerConfig(
        d_model=32, n_heads=2, n_layers=1, n_features=len(FEATURES), max_notes=64
    )
    rng = np.random.default_rng(0)
    tensors = {
        n: 0.1 * rng.standard_normal(shape).astype(np.float32)
        for n, shape in config.tensor_shapes().items()
    }
    levels = np.zeros((len(SUMMARY) + 1, 6))
    levels[-1] = [64, 15, 6.2, 0.3, -0.3, 0.7]
    place = performer.save(tmp_path / "player", config, tensors, levels, name="player")
    learned = arietta.load_renderer(place, threads=1).render(score)
    assert learned.provenance["model"] == "player"
    with pytest.raises(CheckpointError, match="plays scores: arietta"):
        arietta.load(place)
