"""Pieces as vectors: the public procedure, batches, passages."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arietta.errors import CheckpointError, InputError, UsageError
from arietta.midi.notes import program_table
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.vectors.embedding import Embedder, Passages, default_model

NAMES = ("waltz", "smooth_jazz", "nocturne")


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    folder = Path(__file__).resolve().parents[2] / "arietta" / "assets" / "prompts"
    return [read(folder / f"{name}.mid") for name in NAMES]


@pytest.fixture(scope="module")
def small() -> Embedder:
    return Embedder(aria_checkpoint.load("small"), threads=1)


def golden(name: str, precision: str = "f32") -> Embedder:
    folder = Path(__file__).resolve().parents[1] / "golden" / "aria" / "model"
    heads = json.loads((folder / "config.json").read_text())
    return Embedder(
        aria_checkpoint.load_file(
            folder / f"{name}.safetensors", hints={"n_heads": heads[name]["config"]["n_heads"]}
        ),
        precision=precision,
        threads=1,
    )


def test_the_public_procedure(golden_dir: Path) -> None:
    embedder = golden("emb")
    assert embedder.pooling == "end" and embedder.size == 16
    expected = json.loads((golden_dir / "aria" / "model" / "heads_expected.json").read_text())
    for case in expected["embedding"]:
        piece = read(golden_dir / "aria" / "midi" / f"{case['name']}.mid")
        found = embedder.embed(piece)
        np.testing.assert_allclose(found.chunks.vectors, case["per_chunk"], atol=1e-4)
        np.testing.assert_allclose(found.vector, case["global"], atol=1e-4)
        assert len(found.passages.vectors) == 0


def test_what_stands_beside_a_piece_changes_nothing(small: Embedder, pieces: list[Piece]) -> None:
    short = [
        replace(piece, notes=piece.notes.take(slice(0, 340 + 9 * i)))
        for i, piece in enumerate(pieces)
    ]
    alone = [small.embed(piece, passages=Passages()) for piece in short]
    together = dict(small.embed_many(enumerate(short), passages=Passages()))
    assert sorted(together) == [0, 1, 2]
    for i, one in enumerate(alone):
        np.testing.assert_allclose(together[i].vector, one.vector, atol=1e-5)
        np.testing.assert_allclose(together[i].passages.vectors, one.passages.vectors, atol=1e-5)


def test_a_language_model_gives_its_mean_hidden_state(small: Embedder, pieces: list[Piece]) -> None:
    from arietta.models.executors import cpu_backend
    from arietta.tokenizers.aria import AriaTokenizer

    assert small.pooling == "mean" and small.size == 512
    (first, *_) = AriaTokenizer("piano").embedding_chunks(pieces[0])
    session = cpu_backend(aria_checkpoint.load("small"), threads=1).new_session()
    expected = session.append(first[None])[0, :, :512].mean(axis=0)
    np.testing.assert_allclose(small.embed(pieces[0]).chunks.vectors[0], expected, atol=1e-5)


def test_full_vectors_hold_the_states_behind_the_short_ones(pieces: list[Piece]) -> None:
    from arietta.models.executors import cpu_backend
    from arietta.tokenizers.aria import AriaTokenizer
    from arietta.tokenizers.vocabulary import EOS

    checkpoint = aria_checkpoint.load("small-embedding")
    short, full = Embedder(checkpoint, threads=1), Embedder(checkpoint, threads=1, full=True)
    assert full.pooling == "full" and full.size == 512 + 2 * 256
    found = full.embed(pieces[0])
    np.testing.assert_allclose(found.vector[:512], short.embed(pieces[0]).vector, atol=1e-5)
    start = replace(pieces[0], notes=pieces[0].notes.take(slice(0, 160)), metadata={})
    ids = AriaTokenizer("piano").encode(start)
    ids[-1] = EOS
    states = cpu_backend(checkpoint, threads=1).new_session().append(np.asarray(ids)[None])[0]
    np.testing.assert_allclose(found.chunks.vectors[0, 512:768], states.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.chunks.vectors[0, 768:], states.std(axis=0), atol=1e-5)


def test_full_vectors_of_a_language_model_are_its_states(
    small: Embedder, pieces: list[Piece]
) -> None:
    full = Embedder(small.checkpoint, threads=1, full=True)
    assert full.size == 1024
    found = full.embed(pieces[0]).vector
    np.testing.assert_allclose(found[:512], small.embed(pieces[0]).vector, atol=1e-5)


def test_chunks_and_passages_say_where_they_are(small: Embedder, pieces: list[Piece]) -> None:
    piece = pieces[1]
    found = small.embed(piece, passages=Passages(20, 10))
    onset = piece.onset_ms
    assert found.chunks.start_ms.tolist() == [onset[0], onset[300]]
    assert len(found.chunks.vectors) == 2
    start, end = found.passages.start_ms, found.passages.end_ms
    assert start[0] == onset[0] and end[-1] == piece.end_ms
    assert (np.diff(start) > 0).all() and (np.diff(start)[:-1] < 11_000).all()
    covered = (onset[:, None] >= start) & (onset[:, None] <= end)
    assert covered.any(axis=1).all()


def test_short_pieces_have_one_passage(small: Embedder) -> None:
    piece = Piece.from_ms([0, 500], [400, 400], [60, 64], [70, 70])
    found = small.embed(piece, passages=Passages())
    assert len(found.chunks.vectors) == len(found.passages.vectors) == 1
    np.testing.assert_allclose(found.passages.vectors[0], found.vector, atol=1e-6)


def test_metadata_is_not_shown(small: Embedder, pieces: list[Piece]) -> None:
    tagged = pieces[0].with_metadata(composer="chopin", genre="classical")
    np.testing.assert_array_equal(small.embed(tagged).vector, small.embed(pieces[0]).vector)


def test_refusals(small: Embedder, pieces: list[Piece], tmp_path: Path) -> None:
    organ = replace(pieces[0], programs=program_table([0], [19]))
    with pytest.raises(InputError, match="program 19"):
        small.embed(organ)
    np.testing.assert_array_equal(
        small.embed(organ, any_program=True).vector, small.embed(pieces[0]).vector
    )
    nothing = replace(pieces[0], notes=pieces[0].notes.take(slice(0, 0)))
    found = dict(small.embed_many([("none", nothing), ("waltz", pieces[0])]))
    assert isinstance(found["none"], InputError) and "no notes" in str(found["none"])
    np.testing.assert_allclose(found["waltz"].vector, small.embed(pieces[0]).vector, atol=1e-5)
    with pytest.raises(CheckpointError, match="classifier"):
        golden("cl")
    with pytest.raises(UsageError, match="hop"):
        Passages(10, 20)


def test_long_chunks_are_cut(pieces: list[Piece], tmp_path: Path) -> None:
    config = AriaConfig(
        d_model=32, n_heads=1, n_layers=1, vocab_size=2_565, max_seq_len=64, embedding_size=8
    )
    rng = np.random.default_rng(0)
    tensors = {
        n: rng.standard_normal(shape, np.float32) for n, shape in config.tensor_shapes().items()
    }
    aria_checkpoint.save(tmp_path / "tiny", config, tensors, name="tiny")
    embedder = Embedder(aria_checkpoint.load(tmp_path / "tiny"), threads=1)
    assert embedder.size == 8
    # Nothing behind the context changes the vector.
    start = replace(pieces[0], notes=pieces[0].notes.take(slice(0, 60)))
    whole = Embedder(aria_checkpoint.load(tmp_path / "tiny"), threads=1, chunk_notes=10_000)
    np.testing.assert_allclose(whole.embed(start).vector, whole.embed(pieces[0]).vector, atol=1e-5)


def test_bytes_cost_little(golden_dir: Path, pieces: list[Piece]) -> None:
    exact, packed = golden("emb").embed(pieces[0]), golden("emb", "int8").embed(pieces[0])
    cosine = exact.vector @ packed.vector
    cosine /= np.linalg.norm(exact.vector) * np.linalg.norm(packed.vector)
    assert cosine > 0.995


def test_a_checkpoint_may_name_its_chunks(small: Embedder, tmp_path: Path) -> None:
    found = small.checkpoint
    folder = aria_checkpoint.save(
        tmp_path / "m", found.config, found.tensors, name="m", info={"chunk_notes": 120}
    )
    assert Embedder(aria_checkpoint.load(folder), threads=1).chunk_notes == 120
    assert Embedder(aria_checkpoint.load(folder), threads=1, chunk_notes=7).chunk_notes == 7
    assert small.chunk_notes == 300


def test_the_default_is_there() -> None:
    found = aria_checkpoint.load(default_model())
    assert found.kind == "embedding" and found.info["chunk_notes"] == 160


def test_golden_files_are_the_reference(golden_dir: Path) -> None:
    """The chunks whose expected vectors are used above are those of the reference."""
    path = golden_dir / "aria" / "tokens" / "prompt_waltz.json.gz"
    ids = json.loads(gzip.decompress(path.read_bytes()))["embedding_chunk_ids"]
    embedder = golden("emb")
    piece = read(golden_dir / "aria" / "midi" / "prompt_waltz.mid")
    chunks, _ = embedder._rows(piece, False, None)
    assert [row.tolist() for row in chunks.ids] == ids
