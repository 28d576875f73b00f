"""Listening tests: the use cases behind ``arietta listen``."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.arrays import Float32Array
    from arietta.evaluation.listening.analysis import Analysis
    from arietta.evaluation.listening.page import Texts
    from arietta.evaluation.listening.plan import Clip, Plan
    from arietta.sound.clips import Encoding

__all__ = ["AnalyseResult", "BuildResult", "Planned", "analyse", "build"]

Format = Literal["page", "mirex"]
FORMATS: tuple[Format, ...] = ("page", "mirex")
PAGE, KEY = "listen.html", "key.json"
ANCHORS = 3
"""Pairs of human and floor that are made where the table has none."""
ASSUMED_TIES = 0.15
"""Share of ties that the plan of power reckons with."""
_COLUMNS = ("item", "system_a", "a", "system_b", "b")
_MIDI = (".mid", ".midi")
_SHUFFLED = " (times between onsets in random order)"

Show = Callable[[str], None]
"""Called with a line on the progress of the work."""


@dataclass(frozen=True)
class Planned:
    """What a comparison can show.

    Attributes:
        system, other: their names.
        judgements: of all planned listeners, ties too.
        smallest_share: of wins, that is found with a power of 80 %; None where none is.
        smallest_share_holm: the same, corrected for the number of comparisons.
    """

    system: str
    other: str
    judgements: int
    smallest_share: float | None
    smallest_share_holm: float | None


@dataclass(frozen=True)
class BuildResult:
    """What ``build`` made.

    Attributes:
        output: the folder.
        files: in it.
        test: id of the test; empty for MIREX's form.
        pairs: that were given or made.
        clips: that are in the page; prompts and continuations of MIREX's form.
        trials: that each listener hears.
        forms: orders of them.
        seconds: of sound in all.
        minutes_per_listener: that the sound of a form lasts.
        loudness_lufs: of every clip; None without sound.
        bytes: of all files.
        planned: what each comparison can show with ``listeners``.
        listeners: that the plan of power reckons with.
        made_floor: whether the floor was made from the human takes.
    """

    output: Path
    files: tuple[Path, ...]
    test: str
    pairs: int
    clips: int
    trials: int
    forms: int
    seconds: float
    minutes_per_listener: float
    loudness_lufs: float | None
    bytes: int
    planned: tuple[Planned, ...]
    listeners: int
    made_floor: bool

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **asdict(self),
            "output": str(self.output),
            "files": [str(path) for path in self.files],
            "seconds": round(self.seconds, 3),
            "minutes_per_listener": round(self.minutes_per_listener, 2),
        }


def build(
    pairs: str | PathLike[str],
    output: str | PathLike[str],
    *,
    human: str = "human",
    floor: str = "floor",
    seconds: float = 60.0,
    seed: int = 0,
    forms: int = 8,
    identical: int = 2,
    repeats: int = 2,
    sound: Encoding = "mp3",
    listeners: int = 20,
    texts: Texts | None = None,
    format: Format = "page",
    force: bool = False,
    show: Show = lambda _: None,
) -> BuildResult:
    """Build a listening test out of pairs of files.

    The page works from disk, holds all sound, matched in loudness, and no name. The key says which
    clip is whose; listeners must not get it.

    Args:
        pairs: CSV with the columns item, system_a, a, system_b, b; a and b are MIDI or audio files,
            from the folder of the table.
        output: folder to make.
        human, floor: systems that are the anchors. Where no pair has the floor, it is made from
            human MIDI files: their notes with the times between onsets in random order.
        seconds: of each file that are heard.
        seed: decides ids, sides and orders.
        forms: orders of the pairs, even; listener n gets form n modulo forms.
        identical: pairs of a clip with itself.
        repeats: pairs that are played again.
        sound: MP3 or FLAC.
        listeners: how many are expected, for the plan of power.
        texts: what the page says.
        format: the page, or prompts and continuations as MIREX's yearly task has them.
        force: replace files that exist.
        show: called with a line of progress.

    Raises:
        InputError: the table or a file cannot be used, or an anchor is missing.
        MissingExtraError: the extra ``listen`` is not installed.
        OutputError: files exist or cannot be written.
        UsageError: a number is out of range.
    """
    if format not in FORMATS:
        raise UsageError(f"`format` is one of {', '.join(FORMATS)}, not {format}")
    rows = _read_pairs(Path(pairs))
    target = Path(output)
    if format == "mirex":
        return _build_mirex(rows, target, human, force=force)
    from arietta.evaluation.listening.page import Texts
    from arietta.evaluation.listening.plan import make_plan

    texts = texts or Texts()
    _check_numbers(seconds, listeners, texts.least_seconds, sound)
    page, key = _places(target, (PAGE, KEY), force=force)
    made_floor = not any(floor in (clip.system for clip in row) for row in rows)
    if made_floor:
        rows = [*rows, *_floors(rows, human, floor)]
    plan = make_plan(
        rows,
        human=human,
        floor=floor,
        seed=seed,
        forms=forms,
        identical=identical,
        repeats=repeats,
    )
    planned = _planned(plan, listeners)
    lengths, loudness = _write(plan, texts, page, key, seconds, sound, force=force, show=show)
    heard = sum(lengths[one.left] + lengths[one.right] for one in plan.forms[0])
    return BuildResult(
        target,
        (page, key),
        plan.test,
        len(rows),
        len(plan.clips),
        len(plan.forms[0]),
        forms,
        sum(lengths.values()),
        heard / 60,
        round(loudness, 2),
        page.stat().st_size + key.stat().st_size,
        planned,
        listeners,
        made_floor,
    )


def _check_numbers(seconds: float, listeners: int, least_seconds: float, sound: str) -> None:
    from arietta.sound.clips import ENCODINGS

    if not 1 <= seconds <= 600:
        raise UsageError(f"`seconds` must lie between 1 and 600, not {seconds:g}")
    if listeners < 1:
        raise UsageError(f"`listeners` must be at least 1, not {listeners}")
    if not 0 <= least_seconds <= seconds:
        raise UsageError(
            f"`least_seconds` must lie between 0 and the {seconds:g} s that are heard, not"
            f" {least_seconds:g}"
        )
    if sound not in ENCODINGS:
        raise UsageError(f"`sound` is one of {', '.join(ENCODINGS)}, not {sound}")


def _read_pairs(table: Path) -> list[tuple[Clip, Clip]]:
    from arietta.evaluation.listening.plan import Clip

    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{table}: no table that can be read: {error}") from error
    if not rows:
        raise InputError(f"{table}: has no rows; its columns are {', '.join(_COLUMNS)}")
    missing = [name for name in _COLUMNS if name not in rows[0]]
    if missing:
        raise InputError(
            f"{table}: lacks the column {missing[0]}; its columns are {', '.join(_COLUMNS)}"
        )
    known: dict[str, Clip] = {}
    pairs = []
    for number, row in enumerate(rows, 2):
        values = {name: (row[name] or "").strip() for name in _COLUMNS}
        empty = next((name for name, value in values.items() if not value), None)
        if empty is not None:
            raise InputError(f"{table}, line {number}: {empty} is empty")
        sides = []
        for side in ("a", "b"):
            path = table.parent / values[side]
            if not path.is_file():
                raise InputError(f"{table}, line {number}: there is no file {path}")
            clip = Clip("", values[f"system_{side}"], values["item"], str(path))
            if known.setdefault(clip.source, clip) != clip:
                before = known[clip.source]
                raise InputError(
                    f"{table}, line {number}: {path} was {before.system} with {before.item} before"
                )
            sides.append(clip)
        if sides[0].system == sides[1].system:
            raise InputError(
                f"{table}, line {number}: both sides are {sides[0].system}; identical pairs are"
                " made by themselves"
            )
        pairs.append((sides[0], sides[1]))
    return pairs


def _places(folder: Path, names: Sequence[str], *, force: bool) -> list[Path]:
    """Make a folder for files that may be written there."""
    from arietta.errors import OutputError
    from arietta.output import check_output

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
    return [check_output(folder / name, force=force) for name in names]


def _floors(rows: Sequence[tuple[Clip, Clip]], human: str, floor: str) -> list[tuple[Clip, Clip]]:
    """Pair human takes with the same notes at shuffled times."""
    from arietta.evaluation.listening.plan import Clip

    takes = {clip.source: clip for row in rows for clip in row if clip.system == human}
    midi = [one for one in takes.values() if Path(one.source).suffix.lower() in _MIDI]
    if not midi:
        raise InputError(
            f"no pair has the floor anchor {floor!r}, and no MIDI file of {human!r} is there to"
            f" make one from; add pairs of {human!r} and {floor!r}"
        )
    return [(one, Clip("", floor, one.item, one.source + _SHUFFLED)) for one in midi[:ANCHORS]]


def _planned(plan: Plan, listeners: int) -> tuple[Planned, ...]:
    from arietta.evaluation.listening.statistics import smallest_share

    anchors = [plan.human, plan.floor]
    counts: Counter[tuple[str, str]] = Counter()
    for one in plan.forms[0]:
        if one.kind == "pair":
            names = [plan.clips[side].system for side in (one.left, one.right)]
            names.sort(key=lambda name: (anchors.index(name) + 1 if name in anchors else 0, name))
            counts[names[0], names[1]] += 1
    del counts[plan.human, plan.floor]  # a check of the listeners, and no result
    corrected = 0.05 / max(len(counts), 1)
    found = []
    for (system, other), count in sorted(counts.items()):
        decided = int(count * listeners * (1 - ASSUMED_TIES))
        found.append(
            Planned(
                system,
                other,
                count * listeners,
                smallest_share(decided),
                smallest_share(decided, corrected),
            )
        )
    return tuple(found)


def _write(
    plan: Plan,
    texts: Texts,
    page: Path,
    key: Path,
    seconds: float,
    sound: Encoding,
    *,
    force: bool,
    show: Show,
) -> tuple[dict[str, float], float]:
    """Write page and key; return the seconds of each clip, and the loudness of all."""
    import tempfile

    import numpy as np

    from arietta.evaluation.listening.page import write_page
    from arietta.output import whole_file
    from arietta.sound.clips import MIME, common_loudness, encode, loudness_lufs
    from arietta.sound.sampler import SAMPLE_RATE

    levels: dict[str, tuple[float, float]] = {}
    lengths: dict[str, float] = {}
    # Sound waits on disk: the loudness of all is known only when the last has been made.
    with tempfile.TemporaryDirectory() as folder:
        for done, clip in enumerate(plan.clips.values()):
            show(f"{done} of {len(plan.clips)} clips")
            audio = _sound(clip.source, seconds, plan.seed)
            levels[clip.id] = (loudness_lufs(audio, clip.source), float(np.abs(audio).max()))
            lengths[clip.id] = len(audio) / SAMPLE_RATE
            np.save(Path(folder) / f"{clip.id}.npy", audio)
        loudness = common_loudness(list(levels.values()))

        def encoded() -> Iterator[tuple[str, bytes]]:
            for done, name in enumerate(plan.clips):
                show(f"encoding {done} of {len(plan.clips)} clips")
                audio = np.load(Path(folder) / f"{name}.npy")
                yield name, encode(audio, loudness - levels[name][0], sound)

        with whole_file(page, force=force) as part:
            write_page(part, plan, texts, encoded(), MIME[sound])
    with whole_file(key, force=force) as part:
        values = {**plan.to_dict(), "loudness_lufs": loudness, "seconds": seconds, "sound": sound}
        part.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return lengths, loudness


def _sound(source: str, seconds: float, seed: int) -> Float32Array:
    """Return the sound of a file, or of a floor made from it."""
    from arietta.midi.reader import read
    from arietta.sound.clips import cut, read_sound
    from arietta.sound.sampler import render

    path = Path(source.removesuffix(_SHUFFLED))
    if path.suffix.lower() not in _MIDI:
        return cut(read_sound(path, seconds), seconds)
    piece = _beginning(read(path), seconds, seed if source.endswith(_SHUFFLED) else None)
    return cut(render(piece), seconds)


def _beginning(piece: Any, seconds: float, shuffle: int | None) -> Any:
    """Return the notes that begin within the first seconds, from the first note on."""
    from arietta.evaluation.excerpts import shuffled
    from arietta.generation.measures import Notes
    from arietta.midi.passages import piece_from
    from arietta.midi.piece import Piece

    if not len(piece):
        raise InputError(f"{piece.source}: has no notes")
    piece = piece_from(piece, float(piece.onset_ms.min()))
    keep = piece.onset_ms < seconds * 1000
    notes = Notes(
        piece.onset_ms[keep],
        piece.duration_ms[keep],
        piece.notes.pitch[keep],
        piece.notes.velocity[keep],
    )
    if shuffle is not None:
        notes = shuffled(notes, shuffle)
        return Piece.from_ms(notes.onset_ms, notes.duration_ms, notes.pitch, notes.velocity)
    return Piece.from_ms(
        notes.onset_ms,
        notes.duration_ms,
        notes.pitch,
        notes.velocity,
        pedal_time_ms=piece.tempo.ms_at(piece.pedals.tick),
        pedal_value=piece.pedals.value,
    )


def _build_mirex(
    rows: Sequence[tuple[Clip, Clip]], folder: Path, human: str, *, force: bool
) -> BuildResult:
    """Write prompts/ITEM.json, from the human's first measures, and SYSTEM/ITEM.json."""
    from arietta.evaluation.listening.mirex import CONTINUATION, PROMPT, notes_of
    from arietta.midi.reader import read
    from arietta.output import whole_file

    texts: dict[Path, str] = {}
    clips = {clip.source: clip for row in rows for clip in row}
    for clip in clips.values():
        for name in (clip.item, clip.system):
            if name in (".", "..", "prompts") or Path(name).name != name or "\\" in name:
                raise InputError(f"{name!r} cannot be the name of a file; choose another")
        if Path(clip.source).suffix.lower() not in _MIDI:
            raise InputError(f"{clip.source}: is no MIDI file; MIREX's form holds notes")
        piece = read(clip.source)
        place = folder / clip.system / f"{clip.item}.json"
        if place in texts:
            raise InputError(f"{clip.source}: {clip.system} has another take of {clip.item}")
        texts[place] = json.dumps({"generation": notes_of(piece, CONTINUATION)})
        if clip.system == human:
            prompt = json.dumps({"prompt": notes_of(piece, PROMPT)})
            texts[folder / "prompts" / f"{clip.item}.json"] = prompt
    without = {clip.item for clip in clips.values()} - {
        path.stem for path in texts if path.parent.name == "prompts"
    }
    if without:
        raise InputError(
            f"{min(without)}: no file of {human!r} to take the prompt from; add one, or name who"
            " played with `human`"
        )
    for path in texts:
        _places(path.parent, (path.name,), force=force)
    for path, text in texts.items():
        with whole_file(path, force=force) as part:
            part.write_text(text + "\n", "utf-8")
    size = sum(path.stat().st_size for path in texts)
    return BuildResult(
        folder, tuple(texts), "", len(rows), len(texts), 0, 0, 0.0, 0.0, None, size, (), 0, False
    )


# ---- analysis ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class AnalyseResult:
    """What ``analyse`` found.

    Attributes:
        analysis: of the answers.
        refused: files that were left out, each with its reason.
        key: file of the test's key.
        output: what was written, or None.
    """

    analysis: Analysis
    refused: tuple[Mapping[str, str], ...]
    key: Path
    output: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            **self.analysis.to_dict(),
            "refused": [dict(one) for one in self.refused],
            "key": str(self.key),
            "output": None if self.output is None else str(self.output),
        }


def analyse(
    answers: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    key: str | PathLike[str] | None = None,
    draws: int = 1000,
    seed: int = 0,
    strict: bool = False,
    force: bool = False,
) -> AnalyseResult:
    """Analyse the answers to a listening test.

    Args:
        answers: folder of the JSON or CSV files that listeners saved.
        output: file for the figures: JSON, or the comparisons as CSV.
        key: of the test; by default ``key.json`` in the folder or the one above.
        draws: of listeners, for intervals.
        seed: of the draws.
        strict: leave doubtful listeners out.
        force: replace a file that exists.

    Raises:
        InputError: there is no key, or no answers that can be used.
        MissingExtraError: the extra ``listen`` is not installed.
        OutputError: the file exists or cannot be written.
        UsageError: a number or a suffix is wrong.
    """
    from arietta.evaluation.listening.analysis import analyse as run
    from arietta.evaluation.listening.answers import read_folder
    from arietta.evaluation.listening.plan import Plan
    from arietta.output import check_output, whole_file

    if not 100 <= draws <= 100_000:
        raise UsageError(f"`draws` must lie between 100 and 100000, not {draws}")
    target = None if output is None else check_output(output, force=force)
    if target is not None and target.suffix.lower() not in (".json", ".csv"):
        raise UsageError(f"{target}: figures are written as .json or .csv; name one of these")
    folder = Path(answers)
    place = _key_of(folder, None if key is None else Path(key))
    try:
        plan = Plan.from_dict(json.loads(place.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{place}: no key that can be read: {error}") from error
    found, refused = read_folder(folder, plan)
    analysis = run(found, plan, draws=draws, seed=seed, strict=strict)
    result = AnalyseResult(analysis, tuple(refused), place, target)
    if target is not None:
        with whole_file(target, force=force) as part:
            if target.suffix.lower() == ".csv":
                rows = [asdict(one) for one in analysis.comparisons]
                with part.open("w", encoding="utf-8", newline="") as file:
                    table = csv.DictWriter(file, list(rows[0]))
                    table.writeheader()
                    table.writerows(rows)
            else:
                text = json.dumps(result.to_dict(), indent=2, ensure_ascii=False)
                part.write_text(text + "\n", "utf-8")
    return result


def _key_of(folder: Path, given: Path | None) -> Path:
    if given is not None:
        return given / KEY if given.is_dir() else given
    for place in (folder / KEY, folder.resolve().parent / KEY):
        if place.is_file():
            return place
    raise InputError(
        f"there is no {KEY} in {folder} or above it; name the one that `arietta listen build` made"
        " with `key`"
    )
