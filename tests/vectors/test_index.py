"""Collections on disk, an index that follows its files, maps that stand alone."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arietta.data.shards import PieceRecord, ShardWriter
from arietta.data.token_grid import grid_of
from arietta.errors import InputError, UsageError
from arietta.midi.piece import Piece
from arietta.midi.reader import read
from arietta.models.aria import checkpoint as aria_checkpoint
from arietta.models.aria.config import AriaConfig
from arietta.vectors import collection as collections
from arietta.vectors import stores
from arietta.vectors.collection import TRANSPOSED, TRANSPOSED_OF, Collection, build
from arietta.vectors.embedding import Embedder, Passages
from arietta.vectors.index import Index, Space
from arietta.vectors.map import Start, columns, layout, page, picture
from arietta.vectors.stores import FolderStore, QdrantStore, VectorRecord, open_store

WINDOWS = Passages(6, 3)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Embedder:
    """Random weights: equal notes are near each other all the same."""
    config = AriaConfig(
        d_model=32, n_heads=1, n_layers=1, vocab_size=2_565, max_seq_len=512, embedding_size=16
    )
    rng = np.random.default_rng(0)
    tensors = {
        n: (1 if "norm" in n and n.endswith("weight") else 0)
        + 0.1 * rng.standard_normal(shape, np.float32)
        for n, shape in config.tensor_shapes().items()
    }
    folder = aria_checkpoint.save(tmp_path_factory.mktemp("m") / "e", config, tensors, name="e")
    return Embedder(aria_checkpoint.load(folder), threads=1)


def piece(seed: int, seconds: float = 20.0) -> Piece:
    rng = np.random.default_rng(seed)
    onset = np.sort(rng.uniform(0, seconds * 1000, int(seconds * 5)))
    n = len(onset)
    low = 30 + 4 * seed
    return Piece.from_ms(
        onset, rng.uniform(50, 900, n), rng.integers(low, low + 12, n), rng.integers(30, 100, n)
    )


@pytest.fixture
def music(tmp_path: Path) -> Path:
    folder = tmp_path / "music"
    folder.mkdir()
    for i in range(6):
        piece(i).save(folder / f"p{i}.mid")
    (folder / "metadata.csv").write_text(
        "path,composer,title\n" + "".join(f"p{i}.mid,{'XY'[i % 2]},T{i}\n" for i in range(6))
    )
    return folder


# Collections


def test_a_collection_survives_the_disk(embedder: Embedder, music: Path, tmp_path: Path) -> None:
    (music / "broken.mid").write_text("dear diary")
    refused: dict[str, InputError] = {}
    made = build([music], embedder, passages=WINDOWS, refused=refused.__setitem__)
    assert list(made.entries) == [str(music / f"p{i}.mid") for i in range(6)]
    assert list(refused) == [str(music / "broken.mid")]
    made.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["embeddings"].shape == (6, 16) and arrays["embeddings"].dtype == np.float32
        assert arrays["paths"].tolist() == list(made.entries)
    found = Collection.load(tmp_path / "a.npz")
    assert found.about == made.about
    for path, entry in made.entries.items():
        other = found.entries[path]
        assert (other.notes, other.seconds, other.title) == (
            entry.notes,
            entry.seconds,
            entry.title,
        )
        assert other.title == f"{'XY'[int(path[-5]) % 2]}: T{path[-5]}"
        for one, two in (
            (entry.embedding.chunks, other.embedding.chunks),
            (entry.embedding.passages, other.embedding.passages),
        ):
            np.testing.assert_array_equal(one.vectors, two.vectors)
            np.testing.assert_array_equal(one.end_ms, two.end_ms)
    made.save(tmp_path / "b.npz", chunks=False)
    slim = Collection.load(tmp_path / "b.npz").entries[str(music / "p0.mid")]
    assert not len(slim.embedding.chunks.vectors) and len(slim.embedding.passages.vectors)
    (tmp_path / "c.npz").write_text("no")
    with pytest.raises(InputError, match="not a collection"):
        Collection.load(tmp_path / "c.npz")


def test_pieces_in_another_register(embedder: Embedder, music: Path) -> None:
    (music / "broken.mid").write_text("dear diary")
    refused: list[str] = []
    made = build([music], embedder, transposed=5, refused=lambda path, _: refused.append(path))
    assert len(made) == 12 and refused == [str(music / "broken.mid")]
    for i in range(6):
        whole, moved = list(made.entries.values())[2 * i : 2 * i + 2]
        semitones = int(moved.metadata[TRANSPOSED])
        assert moved.metadata[TRANSPOSED_OF] == whole.path == str(music / f"p{i}.mid")
        assert 1 <= abs(semitones) <= 5 and moved.path == f"{whole.path} {semitones:+d}"
        plain = read(music / f"p{i}.mid")
        pitch = (plain.notes.pitch.astype(np.int64) + semitones).astype(np.uint8)
        other = replace(plain, notes=replace(plain.notes, pitch=pitch))
        np.testing.assert_allclose(moved.embedding.vector, embedder.embed(other).vector, atol=1e-5)
    again = build([music], embedder, transposed=5)
    assert list(again.entries) == list(made.entries)


def test_a_stopped_run_goes_on(
    embedder: Embedder, music: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "_SAVE_EVERY_S", 0.0)
    monkeypatch.setattr("arietta.vectors.embedding._BATCH_TOKENS", 1)
    journal = tmp_path / "j.npz"

    def stop(so_far: Collection, tokens: int) -> None:
        if len(so_far) >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build([music], embedder, journal=journal, report=stop)
    assert len(Collection.load(journal)) == 3
    ran: list[int] = []
    made = build([music], embedder, journal=journal, report=lambda c, tokens: ran.append(tokens))
    whole: list[int] = []
    fresh = build([music], embedder, report=lambda c, tokens: whole.append(tokens))
    assert 0 < ran[-1] < 0.7 * whole[-1]
    assert list(made.entries) == list(fresh.entries)
    np.testing.assert_array_equal(made.vectors, fresh.vectors)
    other = Embedder(embedder.checkpoint, threads=1, chunk_notes=50)
    again = build([music], other, journal=journal)  # made in another way: of no use
    np.testing.assert_array_equal(again.vectors, build([music], other).vectors)


# The index


@pytest.fixture(params=["folder", "qdrant"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "qdrant":
        pytest.importorskip("qdrant_client")
        yield f"qdrant:{tmp_path / 'database'}"
    else:
        yield str(tmp_path / "index")


def update(where: str, embedder: Embedder, *paths: Path) -> dict[str, list[str]]:
    index = Index(where)
    try:
        changes = index.update(paths, embedder, passages=WINDOWS)
        found = {k: sorted(Path(p).stem for p in v) for k, v in changes.__dict__.items() if v}
        assert len(index.contents()) == len(Index.contents(index))
        return found
    finally:
        index.close()


def test_an_index_follows_its_files(embedder: Embedder, music: Path, where: str) -> None:
    names = [f"p{i}" for i in range(6)]
    assert update(where, embedder, music) == {"added": names}
    assert update(where, embedder, music) == {"unchanged": names}
    piece(17).save(music / "p1.mid", force=True)
    piece(9).save(music / "p9.mid")
    rest = [n for n in names if n != "p1"]
    assert update(where, embedder, music) == {"added": ["p9"], "updated": ["p1"], "unchanged": rest}
    index = Index(where)
    assert index.remove([str(music / "p0.mid")]).removed == [str(music / "p0.mid")]
    with pytest.raises(InputError, match="not in the index"):
        index.remove(["nobody.mid"])
    index.close()
    index = Index(where)
    assert sorted(Path(p).stem for p in index.contents()) == ["p1", "p2", "p3", "p4", "p5", "p9"]
    query = embedder.embed(read(music / "p1.mid"), passages=WINDOWS)
    hits = index.search(query, 3)
    assert Path(hits[0].path).stem == "p1" and hits[0].score == pytest.approx(1, abs=1e-3)
    assert hits[0].metadata["title"] == "Y: T1" and len(hits) == 3
    assert hits[0].score >= hits[1].score >= hits[2].score
    assert all(Path(hit.path).stem != "p0" for hit in index.search(query, 10))
    with pytest.raises(UsageError, match="chunk_notes"):
        index.update([music], Embedder(embedder.checkpoint, threads=1, chunk_notes=9))
    index.close()


def test_passages_say_where(embedder: Embedder, music: Path, where: str) -> None:
    update(where, embedder, music)
    whole = read(music / "p3.mid")
    inside = (whole.onset_ms >= 9_000) & (whole.onset_ms < 15_000)
    excerpt = Piece.from_ms(
        whole.onset_ms[inside] - 9_000,
        whole.duration_ms[inside],
        whole.notes.pitch[inside],
        whole.notes.velocity[inside],
    )
    index = Index(where)
    query = embedder.embed(excerpt, passages=WINDOWS)
    hits = index.search(query, 2, by="passage")
    assert Path(hits[0].path).stem == "p3"
    assert hits[0].match is not None and abs(hits[0].match.start_ms - 9_000) < 1_500
    sha = index.contents()[str(music / "p3.mid")]
    assert all(hit.sha256 != sha for hit in index.search(query, 9, by="passage", without=sha))
    index.close()


def test_notes_find_the_work_in_any_key(embedder: Embedder, music: Path, where: str) -> None:
    stray = Piece.from_ms([0, 500], [100, 100], [5, 120], [60, 60])  # no key of a piano
    stray.save(music / "stray.mid")
    update(where, embedder, music)
    whole = read(music / "p3.mid")
    rng = np.random.default_rng(1)
    played = Piece.from_ms(  # faster, louder, five semitones down
        whole.onset_ms * 0.7 + rng.uniform(0, 30, len(whole)),
        whole.duration_ms * 0.5,
        whole.notes.pitch.astype(np.int64) - 5,
        rng.integers(90, 127, len(whole)),
    )
    index = Index(where)
    hits = index.search(embedder.embed(played, passages=index.passages()), 3, sense="notes")
    assert Path(hits[0].path).stem == "p3" and hits[0].semitones == 5
    assert hits[0].score == pytest.approx(1, abs=1e-5) and hits[1].score < 0.99
    assert hits[0].match is not None
    late = (whole.onset_ms >= 12_000) & (whole.onset_ms < 18_000)
    part = Piece.from_ms(
        whole.onset_ms[late] - 12_000,
        whole.duration_ms[late],
        whole.notes.pitch[late].astype(np.int64) + 6,
        whole.notes.velocity[late],
    )
    found = embedder.embed(part, passages=index.passages())
    (hit,) = index.search(found, 1, by="passage", sense="notes")
    assert Path(hit.path).stem == "p3" and hit.semitones == -6
    assert hit.match is not None and abs(hit.match.start_ms - 12_000) < 1_500
    with pytest.raises(UsageError, match="query has no passages"):
        index.search(embedder.embed(part), 1, by="passage", sense="notes")
    kept = build([music], embedder)
    kept.save(where_kept := music.parent / "kept.npz")
    read_back = Collection.load(where_kept).entries[str(music / "p3.mid")].embedding
    with pytest.raises(UsageError, match="without its notes"):
        index.search(read_back, 1, sense="notes")
    (first,) = index.search(embedder.embed(stray), 1, sense="notes")
    assert first.score == 0  # nothing is like nothing
    index.close()


def test_the_graph_finds_what_comparing_all_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("usearch")
    rng = np.random.default_rng(0)
    vectors = Space().place(rng.standard_normal((500, 16)).astype(np.float32))
    rows = [
        VectorRecord(
            {"likeness": v, "notes": -v},
            {"path": str(i), "sha256": str(i), "notes": 1, "seconds": 1.0, "metadata": {}},
        )
        for i, v in enumerate(vectors)
    ]
    exact = FolderStore(tmp_path / "i")
    exact.create({"sizes": {"likeness": 16, "notes": 16}})
    exact.put({"piece": rows, "passage": []})
    exact.save()
    near = exact.search("piece", "likeness", vectors[:20], 5)
    monkeypatch.setattr(stores, "EXACT_ROWS", 100)
    large = FolderStore(tmp_path / "i")
    large.save()
    assert len(list((tmp_path / "i").glob("piece-*.usearch"))) == 2
    again = FolderStore(tmp_path / "i").search("piece", "likeness", vectors[:20], 5)
    same = [
        len({f.shown["path"] for f in a} & {f.shown["path"] for f in b})
        for a, b in zip(near, again, strict=True)
    ]
    assert np.mean(same) > 4.5 and [a[0].shown["path"] for a in again] == [
        str(i) for i in range(20)
    ]
    # A graph of other rows is not taken.
    large.remove(["0"])
    large.save()
    assert len(list((tmp_path / "i").glob("piece-*.usearch"))) == 2
    first = FolderStore(tmp_path / "i").search("piece", "likeness", vectors[:1], 3)[0]
    assert "0" not in {f.shown["path"] for f in first}


def test_damage_and_strangers(embedder: Embedder, music: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no index here"):
        _ = Index(tmp_path / "none").about
    with pytest.raises(InputError, match="is no index"):
        Index(music)
    update(str(tmp_path / "i"), embedder, music / "p0.mid")
    about = tmp_path / "i" / "index.json"
    text = about.read_text()
    about.write_text(text.replace(stores.FORMAT, "arietta-index-1"))
    with pytest.raises(InputError, match="another version of arietta; build it again"):
        Index(tmp_path / "i")
    about.write_text(text)
    (rows,) = (tmp_path / "i").glob("rows-*.npz")
    rows.write_bytes(rows.read_bytes()[:100])
    with pytest.raises(InputError, match="damaged index"):
        Index(tmp_path / "i")
    with pytest.raises(InputError, match="name the collection"):
        open_store("http://localhost")


def test_a_server_that_is_not_there() -> None:
    pytest.importorskip("qdrant_client")
    found = QdrantStore("x", url="http://127.0.0.1:1")
    with pytest.raises(InputError, match="does not answer"):
        _ = found.about


def test_hidden_states_are_standardised() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.standard_normal((60, 8)) * np.arange(1, 9) + 50).astype(np.float32)
    space = Space.of(rows, "mean")
    placed = space.place(rows)
    np.testing.assert_allclose(np.linalg.norm(placed, axis=1), 1, atol=1e-6)
    assert abs(placed.mean()) < 0.05 and abs((placed @ placed.T).mean()) < 0.1
    np.testing.assert_array_equal(Space.from_dict(space.to_dict()).place(rows), placed)
    assert Space.of(rows, "end").mean is None and Space.of(rows[:9], "mean").mean is None


# The map


def test_the_map_stands_alone(embedder: Embedder, music: Path, tmp_path: Path) -> None:
    for i in range(6, 12):
        piece(i, 5).save(music / f"p{i}.mid")
    piece(3).save(music / "p5.mid", force=True)  # the same notes as p3
    (music / "metadata.csv").write_text(
        "path,composer,title\np3.mid,X,</script><b>&\np4.mid,Y,two\n"
    )
    made = build([music], embedder)
    places = layout(made)
    assert places.shape == (12, 2) and abs(places).max() <= 1 + 1e-9
    np.testing.assert_array_equal(places, layout(made))
    order = list(made.entries)
    gap = np.linalg.norm(places[:, None] - places, axis=2) + 9 * np.eye(12)
    assert order[int(gap[order.index(str(music / "p3.mid"))].argmin())].endswith("p5.mid")
    starts = {path: Start.of(read(path), 2.0) for path in list(made.entries)[:3]}
    text = page(made, places, starts, title="mine", piano={"keys": [60]})
    assert not re.search(r"(src|href)=(?!\"data:)|https?://|@import|url\(", text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    data = json.loads(re.search(r"^const data = (.*);$", script, re.MULTILINE)[1])
    assert data["colour"] == "composer" and "X: </script><b>&" in data["titles"]
    assert data["columns"]["composer"]["kinds"] == ["X", "Y"]
    assert data["columns"]["composer"]["of"].count(-1) == 10
    first = read(order[0])
    rows = np.frombuffer(base64.b64decode(data["starts"][0]), np.dtype("<u2,<u2,u1,u1"))
    early = first.onset_ms - first.onset_ms.min() < 2_000
    assert rows["f2"].tolist() == first.notes.pitch[early].tolist() and 0 < len(rows) < len(first)
    assert data["starts"][3] == "" and data["piano"] == {"keys": [60]}
    picture(tmp_path / "m.png", made, places, title="mine")
    picture(tmp_path / "n.png", made, places, title="mine", colour="minutes")
    assert (
        (tmp_path / "m.png").read_bytes()[:4] == (tmp_path / "n.png").read_bytes()[:4] == b"\x89PNG"
    )


def test_a_picture_of_a_few_pieces_tells_titles_as_they_are(
    embedder: Embedder, music: Path, tmp_path: Path
) -> None:
    made = build([music], embedder)
    places = np.arange(12.0).reshape(6, 2)
    picture(tmp_path / "plain.png", made, places, title="mine", colour="notes per second")
    kinds = [r"$\frac$", "$x_$"]
    for i, (path, entry) in enumerate(made.entries.items()):
        costly = {"title": r"$\frac$ for $", "composer": kinds[i % 2]}
        made.entries[path] = replace(entry, metadata=costly)
    picture(tmp_path / "costly.png", made, places, title=r"$\frac$", colour="composer")
    picture(tmp_path / "named.png", made, places, title="mine", colour="notes per second")
    plain, named = ((tmp_path / f"{n}.png").read_bytes() for n in ("plain", "named"))
    assert plain != named


def test_what_points_can_be_coloured_by(embedder: Embedder, music: Path) -> None:
    shutil.copytree(music, music / "inner")
    entries = list(build([music], embedder).entries.values())
    found = columns(entries)
    assert set(found) == {"composer", "folder", "minutes", "notes per second"}
    assert len(set(found["folder"])) == 2
    few = Collection({"pooling": "end"}, {e.path: e for e in entries[:2]})
    assert layout(few).shape == (2, 2) and np.isfinite(layout(few)).all()


def test_a_dataset_on_the_grid_gives_the_same_vectors(embedder: Embedder, tmp_path: Path) -> None:
    assets = Path(__file__).resolve().parents[2] / "arietta" / "assets" / "prompts"
    files = sorted(assets.glob("*.mid"))
    with ShardWriter(tmp_path / "set", "grid", rows_per_group=2) as writer:
        for file in files:
            row = PieceRecord(file.stem, "train", f"g-{file.stem}", "prompts", {"composer": "x"})
            writer.add(row, grid_of(read(file)))
    from_files = build(files, embedder)
    from_grid = build([tmp_path / "set"], embedder)
    assert set(from_grid.entries) == {file.stem for file in files}
    for file in files:
        found = from_grid.entries[file.stem]
        # The pedal lies in the durations of the one and beside the notes of the other.
        wanted = from_files.entries[str(file)].embedding.vector
        np.testing.assert_allclose(found.embedding.vector, wanted, atol=1e-5)
        assert found.metadata["split"] == "train" and found.metadata["composer"] == "x"


def test_a_removed_piece_takes_its_passages_along(
    embedder: Embedder, music: Path, where: str
) -> None:
    update(where, embedder, music)
    index = Index(where)
    query = embedder.embed(read(music / "p2.mid"), passages=WINDOWS)
    vectors = np.ones((1, index.about["sizes"]["likeness"]), np.float32)

    def passages_of(name: str) -> int:
        (found,) = index._store.search("passage", "likeness", vectors, 10_000)
        return sum(Path(f.shown["path"]).stem == name for f in found)

    assert passages_of("p2") > 1 and passages_of("p3") > 1
    assert Path(index.search(query, 1, by="passage")[0].path).stem == "p2"
    others = passages_of("p3")
    index.remove([str(music / "p2.mid")])
    assert passages_of("p2") == 0 and passages_of("p3") == others
    index.close()
    # A piece that changed leaves no passage of what it was.
    index = Index(where)
    assert passages_of("p2") == 0
    index.close()
    piece(3, seconds=10).save(music / "p3.mid", force=True)
    assert update(where, embedder, music)["updated"] == ["p3"]
    index.close()
    index = Index(where)
    assert 0 < passages_of("p3") < others
    index.close()
