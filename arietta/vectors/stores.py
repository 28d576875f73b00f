"""Where the vectors of an index lie and are compared: a folder of files, or a Qdrant database.

Both hold the same: pieces and passages, each with a unit vector to compare it by in each of two
senses, and with what is to be shown of it. Small collections are searched exactly; a folder with
more rows than ``EXACT_ROWS`` keeps an approximate graph (usearch, HNSW) beside them. A database is
for what outgrows one machine.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from arietta.arrays import Float32Array
from arietta.errors import InputError, MissingExtraError, OutputError
from arietta.output import json_text, whole_file

Kind = Literal["piece", "passage"]
KINDS: tuple[Kind, ...] = ("piece", "passage")
Sense = Literal["likeness", "notes"]
SENSES: tuple[Sense, ...] = ("likeness", "notes")
"""What two rows may have in common: what the model makes of them, or the keys struck."""

EXACT_ROWS = 200_000
"""Rows up to which every query is compared with every row: 20 ms for 256 numbers a row."""
_PAIRS: tuple[tuple[Kind, Sense], ...] = tuple(product(KINDS, SENSES))
FORMAT = "arietta-index-2"
_ABOUT, _ROWS = "index.json", "rows.npz"
_SHOWN = ("path", "sha256", "notes", "seconds", "metadata")


@dataclass(frozen=True, eq=False)
class VectorRecord:
    """A piece or passage.

    Attributes:
        vectors: float32 of length 1, one for each sense.
        shown: ``path``, ``sha256``, ``notes``, ``seconds``, ``metadata``; of a passage also
            ``start_ms`` and ``end_ms``.
    """

    vectors: Mapping[Sense, Float32Array]
    shown: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """A row that is near.

    Attributes:
        score: cosine, -1..1.
        shown: see ``VectorRecord``.
    """

    score: float
    shown: Mapping[str, Any]


class Store(Protocol):
    """A place for rows."""

    @property
    def about(self) -> dict[str, Any] | None:
        """What ``create`` was given; None where nothing has been created."""

    def create(self, about: dict[str, Any]) -> None:
        """Begin, with what has to be remembered; ``about["sizes"]`` has a width for each sense."""

    def contents(self) -> dict[str, str]:
        """Path -> SHA-256 of every piece."""

    def put(self, rows: Mapping[Kind, Sequence[VectorRecord]]) -> None:
        """Add rows of pieces that are not in it."""

    def remove(self, paths: Iterable[str]) -> None:
        """Take out pieces with their passages."""

    def search(
        self, kind: Kind, sense: Sense, vectors: Float32Array, count: int
    ) -> list[list[Found]]:
        """Return the ``count`` nearest rows of each of the vectors (q, D), nearest first."""

    def save(self) -> None:
        """Make what was put and removed last."""

    def close(self) -> None:
        """Let go of it."""


def open_store(where: str) -> Store:
    """Return the store of an address.

    Args:
        where: a folder; ``qdrant:FOLDER`` for a database in one; ``http(s)://HOST:PORT/NAME`` for a
            server.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        InputError: what lies there is no index, or the server does not answer.
    """
    if where.startswith(("http://", "https://")):
        url, _, name = where.rstrip("/").rpartition("/")
        if "//" not in url:
            raise InputError(f"{where}: name the collection: http://HOST:PORT/NAME")
        return QdrantStore(name, url=url)
    if where.startswith("qdrant:"):
        return QdrantStore("arietta", path=where.removeprefix("qdrant:"))
    return FolderStore(Path(where))


class FolderStore:
    """A folder: ``index.json``, ``rows.npz`` and, beyond ``EXACT_ROWS``, graphs of usearch.

    Args:
        path: the folder; it may come into being with ``save``.

    Raises:
        InputError: there is something else at this path, or it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._about: dict[str, Any] | None = None
        self._rows: dict[Kind, list[dict[str, Any]]] = {"piece": [], "passage": []}
        self._vectors: dict[tuple[Kind, Sense], Float32Array] = {}
        self._graphs: dict[tuple[Kind, Sense], Any] = {}
        if path.is_dir() and (path / _ABOUT).is_file():
            self._load()
        elif path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError(f"{path}: exists and is no index; choose another name")

    def _load(self) -> None:
        try:
            about = json.loads((self.path / _ABOUT).read_text(encoding="utf-8"))
            if about.pop("format", None) != FORMAT:
                raise InputError(
                    f"{self.path}: an index of another version of arietta; build it again"
                )
            with (
                (self.path / about.pop("rows")).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                for kind in KINDS:
                    for sense in SENSES:
                        self._vectors[kind, sense] = arrays[f"{kind}_{sense}"]
                    self._rows[kind] = json.loads(bytes(arrays[f"{kind}_shown"]))
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{self.path}: a damaged index ({error}); build it again") from None
        pieces = self._rows["piece"]
        for passage in self._rows["passage"]:  # they are stored by the number of their piece
            passage.update(pieces[passage.pop("piece")])
        self._about = about

    @property
    def about(self) -> dict[str, Any] | None:
        """What ``create`` was given."""
        return self._about

    def create(self, about: dict[str, Any]) -> None:
        """Begin."""
        self._about = about
        self._vectors = {
            (kind, sense): np.zeros((0, int(about["sizes"][sense])), np.float32)
            for kind, sense in _PAIRS
        }

    def contents(self) -> dict[str, str]:
        """Path -> SHA-256 of every piece."""
        return {row["path"]: row["sha256"] for row in self._rows["piece"]}

    def pieces(self) -> tuple[list[dict[str, Any]], Float32Array]:
        """Return what is shown of every piece, and its vectors of likeness (n, D)."""
        return self._rows["piece"], self._vectors["piece", "likeness"]

    def put(self, rows: Mapping[Kind, Sequence[VectorRecord]]) -> None:
        """Add rows of pieces that are not in it."""
        for kind, sense in _PAIRS:
            if rows[kind]:
                new = np.stack([row.vectors[sense] for row in rows[kind]]).astype(np.float32)
                self._vectors[kind, sense] = np.concatenate([self._vectors[kind, sense], new])
        for kind in KINDS:
            self._rows[kind] += [dict(row.shown) for row in rows[kind]]
        self._graphs.clear()

    def remove(self, paths: Iterable[str]) -> None:
        """Take out pieces with their passages."""
        gone = set(paths)
        for kind in KINDS:
            keep = np.array([row["path"] not in gone for row in self._rows[kind]], np.bool_)
            for sense in SENSES:
                self._vectors[kind, sense] = self._vectors[kind, sense][keep]
            self._rows[kind] = [
                row for row, kept in zip(self._rows[kind], keep, strict=True) if kept
            ]
        self._graphs.clear()

    def search(
        self, kind: Kind, sense: Sense, vectors: Float32Array, count: int
    ) -> list[list[Found]]:
        """Return the nearest rows: all compared, or by the graph where there are many."""
        rows, known = self._rows[kind], self._vectors[kind, sense]
        count = min(count, len(rows))
        if not count:
            return [[] for _ in vectors]
        if len(rows) > EXACT_ROWS:
            matches = self._graph(kind, sense).search(vectors, count)
            keys = np.asarray(matches.keys).reshape(len(vectors), -1).astype(np.int64)
            near = 1 - np.asarray(matches.distances, np.float64).reshape(keys.shape)
        else:
            scores = vectors @ known.T
            keys = np.argpartition(-scores, count - 1, axis=1)[:, :count]
            near = np.take_along_axis(scores, keys, axis=1).astype(np.float64)
            # Equal scores in the order they came, so that results do not depend on chance.
            order = np.lexsort((keys, -near), axis=1)
            keys, near = np.take_along_axis(keys, order, 1), np.take_along_axis(near, order, 1)
        return [
            [
                Found(round(float(s), 6), rows[int(key)])
                for key, s in zip(line, scores_of, strict=True)
            ]
            for line, scores_of in zip(keys, near, strict=True)
        ]

    def _graph(self, kind: Kind, sense: Sense) -> Any:
        if (kind, sense) not in self._graphs:
            vectors, place = self._vectors[kind, sense], self._graph_file(kind, sense)
            graph = self._new_graph(vectors.shape[1])
            if place.is_file():
                graph.load(str(place))
            else:
                graph.add(np.arange(len(vectors)), vectors)
            self._graphs[kind, sense] = graph
        return self._graphs[kind, sense]

    def _new_graph(self, size: int) -> Any:
        try:
            from usearch.index import Index
        except ImportError:
            raise MissingExtraError(
                f"an index of more than {EXACT_ROWS:,} rows", "search"
            ) from None
        return Index(ndim=size, metric="cos", dtype="f16")

    def _graph_file(self, kind: Kind, sense: Sense) -> Path:
        """Named by what is in it, so that a graph of other rows is never taken."""
        digest = hashlib.blake2b(self._vectors[kind, sense].tobytes(), digest_size=8).hexdigest()
        return self.path / f"{kind}-{sense}-{digest}.usearch"

    def save(self) -> None:
        """Write the rows under a new name, then the description that names them."""
        assert self._about is not None
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be created ({error.strerror})") from None
        numbers = {row["path"]: i for i, row in enumerate(self._rows["piece"])}
        shown: dict[Kind, list[dict[str, Any]]] = {
            "piece": self._rows["piece"],
            "passage": [
                {
                    "piece": numbers[row["path"]],
                    "start_ms": row["start_ms"],
                    "end_ms": row["end_ms"],
                }
                for row in self._rows["passage"]
            ],
        }
        arrays: dict[str, NDArray[Any]] = {}
        for kind in KINDS:
            text = json_text(shown[kind]).encode()
            arrays[f"{kind}_shown"] = np.frombuffer(text, np.uint8)
            for sense in SENSES:
                arrays[f"{kind}_{sense}"] = self._vectors[kind, sense]
        digest = hashlib.blake2b(digest_size=8)
        for array in arrays.values():
            digest.update(array.tobytes())
        keep = {_ABOUT, name := _ROWS.replace(".", f"-{digest.hexdigest()}.")}
        with whole_file(self.path / name, force=True) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        for kind, sense in _PAIRS:
            if len(self._rows[kind]) > EXACT_ROWS:
                place = self._graph_file(kind, sense)
                if not place.is_file():
                    graph = self._graph(kind, sense)
                    with whole_file(place, force=True) as part:
                        graph.save(str(part))
                keep.add(place.name)
        described = json_text({"format": FORMAT, **self._about, "rows": name})
        with whole_file(self.path / _ABOUT, force=True) as part:
            part.write_text(described + "\n", encoding="utf-8")
        for old in [*self.path.glob("rows-*.npz"), *self.path.glob("*.usearch")]:
            if old.name not in keep:
                with suppress(OSError):
                    old.unlink()

    def close(self) -> None:
        """Nothing is held."""


class QdrantStore:
    """Collections ``NAME-piece``, ``NAME-passage`` and ``NAME-about`` of a Qdrant database.

    Args:
        name: what the collections are called by.
        path: folder of a database in this process; one process at a time.
        url: of a server.

    Raises:
        MissingExtraError: qdrant-client is not installed.
        InputError: the database cannot be opened.
    """

    _BATCH = 256

    def __init__(self, name: str, *, path: str | None = None, url: str | None = None) -> None:
        try:
            from qdrant_client import QdrantClient, models
        except ImportError:
            raise MissingExtraError("a Qdrant index", "search") from None
        self._models = models
        self._name = name
        self._where = url or f"qdrant:{path}"
        try:
            # The version check would only warn, in a thread of its own, of a server that is away.
            self._client = (
                QdrantClient(path=path) if path else QdrantClient(url, check_compatibility=False)
            )
        except Exception as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> InputError:
        """Return an error in our terms; the client passes on whatever its transport raises."""
        return InputError(f"{self._where}: the database does not answer: {error}")

    def _ask(self, method: str, *args: Any, **options: Any) -> Any:
        try:
            return getattr(self._client, method)(*args, **options)
        except Exception as error:
            raise self._failure(error) from None

    def _collection(self, kind: str) -> str:
        return f"{self._name}-{kind}"

    @property
    def about(self) -> dict[str, Any] | None:
        """What ``create`` was given."""
        name = self._collection("about")
        if not self._ask("collection_exists", name):
            return None
        points = self._ask("retrieve", name, [0], with_payload=True)
        return json.loads(points[0].payload["about"]) if points else None

    def create(self, about: dict[str, Any]) -> None:
        """Begin."""
        models = self._models
        config = {
            sense: models.VectorParams(size=size, distance=models.Distance.COSINE)
            for sense, size in about["sizes"].items()
        }
        for kind in KINDS:
            self._ask("create_collection", self._collection(kind), vectors_config=config)
        name = self._collection("about")
        one = models.VectorParams(size=1, distance=models.Distance.DOT)
        self._ask("create_collection", name, vectors_config=one)
        point = models.PointStruct(id=0, vector=[1.0], payload={"about": json.dumps(about)})
        self._ask("upsert", name, [point], wait=True)

    def contents(self) -> dict[str, str]:
        """Path -> SHA-256 of every piece."""
        found: dict[str, str] = {}
        offset = None
        while True:
            points, offset = self._ask(
                "scroll",
                self._collection("piece"),
                limit=1_000,
                offset=offset,
                with_payload=["path", "sha256"],
            )
            found |= {point.payload["path"]: point.payload["sha256"] for point in points}
            if offset is None:
                return found

    def put(self, rows: Mapping[Kind, Sequence[VectorRecord]]) -> None:
        """Add rows of pieces that are not in it."""
        # Passages first: a piece that is there has all of its own.
        for kind in KINDS[::-1]:
            for at in range(0, len(rows[kind]), self._BATCH):
                points = [
                    self._models.PointStruct(
                        id=_point_id(row.shown),
                        vector={sense: vector.tolist() for sense, vector in row.vectors.items()},
                        payload=dict(row.shown),
                    )
                    for row in rows[kind][at : at + self._BATCH]
                ]
                self._ask("upsert", self._collection(kind), points, wait=True)

    def remove(self, paths: Iterable[str]) -> None:
        """Take out pieces with their passages."""
        models, gone = self._models, list(paths)
        for at in range(0, len(gone), self._BATCH):
            match = models.MatchAny(any=gone[at : at + self._BATCH])
            where = models.Filter(must=[models.FieldCondition(key="path", match=match)])
            for kind in ("piece", "passage"):
                chosen = models.FilterSelector(filter=where)
                self._ask("delete", self._collection(kind), chosen, wait=True)

    def search(
        self, kind: Kind, sense: Sense, vectors: Float32Array, count: int
    ) -> list[list[Found]]:
        """Return the nearest rows, as the database finds them."""
        found = []
        for vector in vectors:
            answer = self._ask(
                "query_points",
                self._collection(kind),
                query=vector.tolist(),
                using=sense,
                limit=count,
                with_payload=True,
            )
            found.append([Found(round(float(p.score), 6), p.payload) for p in answer.points])
        return found

    def save(self) -> None:
        """Nothing is left to do: what is put is written at once."""

    def close(self) -> None:
        """Let go of the database, so that another process may open it."""
        self._client.close()


def _point_id(shown: Mapping[str, Any]) -> str:
    """Return a UUID that the same row always gets."""
    text = f"{shown['path']}\0{shown.get('start_ms', '')}"
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return "-".join((digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]))
