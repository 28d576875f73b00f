"""What tables say about files, and how it becomes splits, groups and tags.

Tables come as CSV or JSON. Their columns are kept as they are; those with a meaning here are listed
in ``describe``. The layout of the Aria-MIDI ``metadata.json`` is understood (specification G).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from arietta.data.token_grid import tags_of
from arietta.errors import InputError
from arietta.tokenizers.metadata import composer_of, form_of
from arietta.tokenizers.vocabulary import COMPOSERS, plain_name

_KEYS = ("id", "path", "file", "filename", "midi_filename")
# Columns about the file or with a place of their own; the rest becomes metadata of the piece.
_ASIDE = frozenset(
    f"{' '.join(_KEYS)} shard sha256 md5 split source_split piece_id group source dup_of"
    " duplicate_of seconds lead_in notes pedal_events".split()
)
# Initials of the one whom the vocabulary means, where a family had several members.
_INITIALS = {
    "bach": "js",
    "beethoven": "l",
    "brahms": "j",
    "chopin": "f",
    "debussy": "c",
    "liszt": "f",
    "mozart": "w",
    "rachmaninoff": "s",
    "ravel": "m",
    "satie": "e",
    "scarlatti": "d",
    "schubert": "f",
}


class MetadataTable:
    """Rows of a table by the file they speak of.

    A row is found by the path of its file inside the source, by the file's name, by its name
    without suffix, or in the Aria-MIDI layout by the number before the first underscore.

    Args:
        rows: key -> fields.
        numbered: whether the keys are Aria-MIDI numbers.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, Any]], *, numbered: bool = False) -> None:
        self._rows = rows
        self._numbered = numbered

    @classmethod
    def read(cls, path: Path) -> MetadataTable:
        """Read CSV with a column path, file or id; or JSON: a list of such objects, an object by
        path, or the Aria-MIDI layout.

        Raises:
            InputError: the table is missing, damaged or of another layout.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not UTF-8 text") from None
        if path.suffix.lower() == ".json":
            try:
                content = json.loads(text)
            except ValueError as error:
                raise InputError(f"{path}: not JSON: {error}") from None
        else:
            content = list(csv.DictReader(text.splitlines()))
        if isinstance(content, dict) and content:
            if all(isinstance(row, dict) and "metadata" in row for row in content.values()):
                return cls({str(k): v for k, v in content.items()}, numbered=True)
            if all(isinstance(row, dict) for row in content.values()):
                return cls(content)
        if isinstance(content, list) and all(isinstance(row, dict) for row in content):
            key = next((k for k in _KEYS if content and k in content[0]), None)
            if key and all(row.get(key) for row in content):
                return cls({str(row[key]): row for row in content})
        raise InputError(
            f"{path}: needs a column path, file or id; or JSON of the same, or Aria-MIDI's layout"
        )

    def lookup(self, path: str) -> dict[str, str]:
        """Fields of a file as text; empty where the table does not know it."""
        name = PurePosixPath(path)
        if self._numbered:
            number, _, segment = name.stem.partition("_")
            entry = self._rows.get(str(int(number))) if number.isdecimal() else None
            if entry is None:
                return {}
            fields = {**entry["metadata"], "file_id": str(int(number))}
            scores = entry.get("audio_scores") or {}
            if segment in scores:
                fields["audio_score"] = scores[segment]
            return _texts(fields)
        for key in (path, name.name, name.stem):
            if key in self._rows:
                return _texts(self._rows[key])
        return {}


def _texts(fields: Mapping[str, Any]) -> dict[str, str]:
    texts = {}
    for name, value in fields.items():
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        if name is not None and value is not None and not isinstance(value, dict):
            texts[str(name)] = str(value).strip()
    return texts


@dataclass(frozen=True)
class Described:
    """What is known of a file, sorted by use.

    Attributes:
        split: given split, or empty.
        group: given composition group, or empty.
        duplicate_of: id of a file that holds the same recording, or empty.
        composer, opus, number: of the work, for the caps of compositions; empty where unknown.
        metadata: composer, form, genre in the vocabulary's spelling where it knows them, and
            everything else that was said. ``composer_name`` is the composer's name as given, known
            to the vocabulary or not; one that was found in a text has the vocabulary's spelling.
    """

    split: str = ""
    group: str = ""
    duplicate_of: str = ""
    composer: str = ""
    opus: str = ""
    number: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


def describe(known: Mapping[str, str], *, infer_from: str | None = None) -> Described:
    """Sort what tables say of a file.

    Columns: ``split``; ``piece_id`` or ``group``; ``dup_of`` or ``duplicate_of``; ``composer``,
    ``opus``, ``piece_number`` (or ``number``), ``form``, ``genre`` (or ``style``). The rest is kept
    as metadata.

    Args:
        known: fields of the file.
        infer_from: a text such as the file's name in which composer and form may be found where
            nothing else tells them.
    """
    fields = {k.strip().lower().replace(" ", "_"): v.strip() for k, v in known.items() if v}
    metadata = {k: v for k, v in fields.items() if k not in _ASIDE and v}
    name = fields.get("composer", "")
    label = known_composer(name)
    texts = [t for t in (fields.get("title", ""), infer_from or "") if t]
    if infer_from is not None and not name:
        label = composer_of(texts)
    if label:
        metadata["composer"] = label
    if label or name:
        metadata["composer_name"] = name or label or ""
    genre = fields.get("genre") or fields.get("style", "")
    if genre:
        metadata["genre"] = genre
    if infer_from is not None and "form" not in metadata:
        form = form_of(" ".join(texts))
        if form:
            metadata["form"] = form
    metadata |= tags_of(metadata)
    return Described(
        split=fields.get("split", ""),
        group=fields.get("piece_id") or fields.get("group", ""),
        duplicate_of=fields.get("dup_of") or fields.get("duplicate_of", ""),
        composer=label or plain_name(name),
        opus=plain_name(fields.get("opus", "")),
        number=plain_name(fields.get("piece_number") or fields.get("number", "")),
        metadata=metadata,
    )


def known_composer(name: str) -> str | None:
    """Return the vocabulary's label of a composer, from a name in any usual spelling.

    An arrangement ("Franz Schubert / Franz Liszt") counts as its last name. Only the member of the
    family that the vocabulary means is taken: Johann Sebastian Bach, not his sons.
    """
    last = plain_name(name).split("/")[-1].strip()
    family, comma, given = last.partition(",")
    if not comma:
        *rest, family = last.split() or [""]
        given = " ".join(w for w in rest if w not in ("van", "von", "de"))
    family = family.strip()
    if family not in COMPOSERS:
        return None
    initials = "".join(word[0] for word in given.replace(".", " ").split())
    wanted = _INITIALS[family]
    # A single word such as "js" stands for its letters.
    spelt = given.replace(".", "").replace(" ", "")
    fits = not initials or initials.startswith(wanted) or spelt == wanted
    return family if fits else None
