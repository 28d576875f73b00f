"""Build datasets and pairs: the use cases behind ``arietta data``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.data.build import BuildProgress, BuildReport
    from arietta.data.engines import Engine
    from arietta.data.pairs import Pair
    from arietta.data.settings import BuildSettings

__all__ = ["PairsResult", "build", "pairs", "push", "settings_of"]


def settings_of(
    preset: str = "pretrain",
    *,
    filters: Sequence[str] = (),
    per_work: int | None = None,
    **changes: Any,
) -> BuildSettings:
    """Return a preset of a build with some settings changed; None keeps the preset's.

    Args:
        preset: ``pretrain``, ``finetune`` or ``none``.
        filters: rules to change, ``name=value`` each; see ``data.filters.with_setting``.
        per_work: files of one work to keep; 0 for all.
        changes: fields of ``data.settings.BuildSettings``.

    Raises:
        UsageError: there is no such preset or rule, or a setting is out of range.
    """
    from arietta.data.filters import with_setting
    from arietta.data.settings import preset as preset_of

    rules = preset_of(preset).filters
    for text in filters:
        rules = with_setting(rules, text)
    given = {name: value for name, value in changes.items() if value is not None}
    if per_work is not None:
        given |= {"cap_limit": None, "cap_per_work": per_work or None}
    return preset_of(preset, **given, filters=rules)


def build(
    sources: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    settings: BuildSettings | None = None,
    metadata: str | PathLike[str] | None = None,
    engine: str | Engine = "local",
    workers: int | None = None,
    ray_address: str | None = None,
    force: bool = False,
    report: Callable[[BuildProgress], None] = lambda _: None,
) -> BuildReport:
    """Build a dataset, or go on with an unfinished build.

    Args:
        sources: folders, archives, datasets, or folders with ``manifest.csv`` and its archives.
        out: folder of the dataset.
        settings: what to keep and how, as ``settings_of`` makes it; the preset ``pretrain`` by
            default.
        metadata: table about the files.
        engine: ``local``, ``ray`` or an engine.
        workers: processes of the local engine; all cores by default.
        ray_address: of a Ray cluster; one is started here by default.
        force: replace a dataset that is there.
        report: called now and then.

    Raises:
        InputError: a source does not exist, or not one of its files can be kept.
        OutputError: the dataset exists or cannot be written.
        UsageError: there is no such engine.
    """
    from arietta.data.build import build_dataset
    from arietta.data.engines import Local, Ray

    if isinstance(engine, str):
        if engine not in ("local", "ray"):
            raise UsageError(f"`engine` {engine}: choose local or ray")
        engine = Ray(ray_address) if engine == "ray" else Local(workers)
    return build_dataset(
        [Path(source) for source in sources],
        Path(out),
        settings,
        metadata=None if metadata is None else Path(metadata),
        engine=engine,
        force=force,
        report=report,
    )


def push(
    dataset: str | PathLike[str],
    repo: str,
    *,
    licence: str | None = None,
    private: bool = True,
    manifest: bool = False,
) -> str:
    """Put a dataset on the Hugging Face hub, where ``datasets.load_dataset`` opens it.

    Args:
        dataset: folder of a finished dataset.
        repo: ``owner/name``.
        licence: of the music, where the dataset does not tell it.
        private: of a new repository.
        manifest: also put the manifest there, which holds the paths of all input files.

    Returns:
        The repository's address.

    Raises:
        InputError: there is no finished dataset.
        OutputError: the hub cannot be reached, or does not take it.
        UsageError: no licence is known, or the repository's name is none.
    """
    from arietta.data.push import push_dataset

    return push_dataset(Path(dataset), repo, licence=licence, private=private, manifest=manifest)


@dataclass(frozen=True)
class PairsResult:
    """What ``pairs`` wrote.

    Attributes:
        pairs: scores with a take, in the file.
        notes: of the scores.
        matched: of these, those that the take plays.
        segments: stretches without long gaps, for training.
        refused: pairs that were left out, each with its reason.
        twins: scores that hold the music of a test piece under another name: ``score`` and
            ``test_piece``. Training leaves them out by their content.
        file: the Parquet file.
        seconds: how long it took.
    """

    pairs: int
    notes: int
    matched: int
    segments: int
    refused: tuple[Mapping[str, str], ...]
    twins: tuple[Mapping[str, str], ...]
    file: Path
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        values = {**asdict(self), "refused": list(self.refused), "file": str(self.file)}
        values["twins"] = list(self.twins)
        del values["seconds"]
        return values


def pairs(
    source: str | PathLike[str],
    out: str | PathLike[str],
    *,
    min_match: float = 0.0,
    force: bool = False,
    report: Callable[[int, float], None] = lambda *_: None,
) -> PairsResult:
    """Pair takes with their scores, note by note.

    Args:
        source: a folder for each piece with its score and takes, or given alignments with the
            archives that they name.
        out: Parquet file to make.
        min_match: leave out pairs of which a smaller share of the notes matches.
        force: replace a file that exists.
        report: called with pairs and seconds so far.

    Raises:
        InputError: there is no such folder, or no pair in it that can be used.
        MissingExtraError: aligning is not installed.
        OutputError: the file exists or cannot be written.
    """
    from arietta.data.pair_sources import given_pairs, is_given, own_pairs
    from arietta.data.pairs import label_of, write_pairs
    from arietta.notation.reader import NOTATION, read_score
    from arietta.output import check_output

    source, out = Path(source), Path(out)
    check_output(out, force=force)
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    refused: list[dict[str, str]] = []
    segments = notes = matched = 0
    began = time.monotonic()
    scores: dict[str, tuple[Pair, bool]] = {}

    def refuse(name: str, reason: str) -> None:
        refused.append({"pair": name, "reason": reason})

    def counted() -> Iterator[Pair]:
        nonlocal segments, notes, matched
        found = (
            given_pairs(source, refuse)
            if is_given(source)
            else own_pairs(source, read_score, NOTATION, refuse)
        )
        for number, pair in enumerate(found, start=1):
            report(number, time.monotonic() - began)
            share = min(pair.match_score, pair.match_take)
            if share < min_match:
                refuse(pair.id, f"only {share:.0%} of the notes match")
                continue
            if not (pair.stroke >= 0).any():
                refuse(pair.id, "no note matches")
                continue
            segments += len(label_of(pair).segments)
            notes += len(pair.score)
            matched += int((pair.stroke >= 0).sum())
            tested = pair.about.get("pt_test") == "1"
            scores.setdefault(pair.about.get("score_sha256", pair.id), (pair, tested))
            yield pair

    try:
        count = write_pairs(out, counted(), force=force)
    except InputError:
        if refused:
            raise InputError(
                f"{source}: no pair to write; {refused[0]['pair']}: {refused[0]['reason']}"
            ) from None
        raise
    twins = _twins(scores.values())
    seconds = time.monotonic() - began
    return PairsResult(count, notes, matched, segments, tuple(refused), twins, out, seconds)


def _twins(scores: Iterable[tuple[Pair, bool]]) -> tuple[dict[str, str], ...]:
    """Return the scores that hold the music of one of the test set; see ``PairsResult``."""
    from arietta.data.twins import KeptApart

    known = list(scores)
    apart = KeptApart((pair.id, pair.score.piece) for pair, tested in known if tested)
    found = (apart.twin(pair.id, pair.score.piece) for pair, tested in known if not tested)
    return tuple({"score": t.name, "test_piece": t.of} for t in found if t is not None)
