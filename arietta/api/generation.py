"""Continue a performance: the use case behind ``arietta generate``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any, Unpack

from arietta.api.files import SoundReport, Target, checked_targets, write_sound
from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
from arietta.api.pieces import as_piece
from arietta.errors import UsageError
from arietta.generation.settings import (
    DEFAULT_PRESET,
    GenerateOptions,
    Request,
    SamplingSettings,
    Steering,
    changed,
    settings_from,
)
from arietta.settings import split_options, with_keywords

if TYPE_CHECKING:
    from arietta.generation.continuation import Continuation, ContinuationStream
    from arietta.generation.engine import GenerationProgress, StreamedNote
    from arietta.midi.piece import Piece
    from arietta.models.executors import Device
    from arietta.models.kernel.packing import Precision


@dataclass(frozen=True, eq=False)
class GenerateResult:
    """What ``generate`` made.

    Attributes:
        continuations: one for each variation.
        targets: where each was written; None where it was not.
        progress: notes, tokens and speed of all of them.
        load_seconds: how long the model took to load.
        interrupted: whether the stream was cancelled before its end.
    """

    continuations: tuple[Continuation, ...]
    targets: tuple[Target | None, ...]
    progress: GenerationProgress
    load_seconds: float
    interrupted: bool

    @property
    def notices(self) -> list[str]:
        """What the user should know, each sentence once."""
        return list(dict.fromkeys(line for one in self.continuations for line in one.notices))

    @property
    def places(self) -> list[str]:
        """Where the new notes belong, each place once."""
        return list(dict.fromkeys(one.place for one in self.continuations if one.place))

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values: a row for each file, and the figures of all.

        Speed counts the music that is kept; ``tokens`` are those of all takes.
        """
        done = self.progress
        music_seconds = sum(made.music_seconds for made in self.continuations)
        wall = max(done.wall_seconds - done.prefill_seconds, 1e-9)
        first = done.first_note_seconds
        return {
            "outputs": [
                _row(target, made)
                for target, made in zip(self.targets, self.continuations, strict=True)
                if target is not None
            ],
            "load_seconds": round(self.load_seconds, 3),
            "prefill_seconds": round(done.prefill_seconds, 3),
            "first_note_seconds": None if first is None else round(first + self.load_seconds, 3),
            "wall_seconds": round(done.wall_seconds, 3),
            "notes": sum(len(made.new) for made in self.continuations),
            "tokens": done.tokens,
            "music_seconds": round(music_seconds, 3),
            "takes": len(done.rows),
            "notes_per_second": round(sum(len(made.new) for made in self.continuations) / wall, 1),
            "realtime_factor": round(music_seconds / wall, 1),
            "draft_acceptance": done.acceptance,
            "interrupted": self.interrupted,
            "notices": self.notices,
            "provenance": dict(self.continuations[0].provenance),
        }


def _row(target: Target, made: Continuation) -> dict[str, Any]:
    return {
        "midi": str(target.midi),
        "wav": None if target.wav is None else str(target.wav),
        "variation": made.stats.variation,
        "notes": len(made.new),
        "tokens": made.stats.tokens,
        "music_seconds": round(made.music_seconds, 3),
        "seam_ms": round(made.seam_ms, 3),
        "place": made.place,
        "place_ms": round(made.place_ms, 3),
        "ringing": made.ringing,
        "stopped": made.stats.reason,
        "judged": None if made.verdict is None else made.verdict.to_dict(),
    }


@with_keywords(Request, SamplingSettings, Steering, leave_out=("first_variation",))
def generate(
    prompt: Piece | str | PathLike[str] | None = None,
    *,
    model: Model | str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    wav: bool = False,
    only_new: bool = False,
    force: bool = False,
    variations: int = 1,
    settings: SamplingSettings | None = None,
    preset: str | None = None,
    draft: str | PathLike[str] | None = None,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
    report: Callable[[GenerationProgress], None] | None = None,
    listen: Callable[[StreamedNote], None] | None = None,
    sound_report: SoundReport = lambda *_: None,
    watch: Callable[[ContinuationStream], AbstractContextManager[object]] = nullcontext,
    **options: Unpack[GenerateOptions],
) -> GenerateResult:
    """Continue a piano performance, or improvise from nothing; write files if an output is given.

    Everything that can be refused is refused before the work.

    Args:
        prompt: a piece or the path of a MIDI file; None starts from scratch.
        model: a loaded model, a name or a path; the shipped one by default, the conditioned one
            with ``like``.
        output: MIDI file to write; with several variations OUT-1.mid, OUT-2.mid, ...
        wav: write the sound beside each file.
        only_new: write the continuation without the prompt.
        force: replace files that exist.
        variations: how many continuations; the best of ``of`` takes, the best first.
        settings, preset, options: as for ``Model.generate``.
        draft, device, precision, threads: as for ``load``; not for a loaded model.
        report: called after every step.
        listen: called with every note as soon as it is decided; see ``ContinuationStream``.
        sound_report: called while sound is written.
        watch: gives the context that the stream runs in, such as one that cancels it.

    Raises:
        CheckpointError: there is no such model, or it does not generate.
        InputError: the prompt cannot be read or has no notes.
        OutputError: a file cannot be written there, or exists.
        UsageError: an option is out of range or contradicts another.
    """
    request, drawn, steering = check_request(
        prompt, variations=variations, settings=settings, preset=preset, **options
    )
    targets: list[Target] = []
    if output is not None:
        targets = checked_targets(output, variations, wav=wav, force=force)
    elif wav:
        raise UsageError("`wav` needs an `output` to stand beside")
    piece = None if prompt is None else as_piece(prompt)
    began = time.perf_counter()
    if not isinstance(model, Model):
        steers = steering.like is not None or steering.guidance_vector is not None
        model = load(
            model or (CONDITIONED_MODEL if steers else DEFAULT_MODEL),
            device=device,
            precision=precision,
            threads=threads,
            draft=draft,
        )
    load_seconds = time.perf_counter() - began
    request = request.choosing_from(model.default_takes)
    stream = model.start(piece, request, drawn, steering, settings=settings, preset=preset)
    with watch(stream):
        made = stream.run(report, listen)
    written: list[Target | None] = [None] * len(made)
    interrupted = any(one.stats.reason == "cancelled" for one in made)
    for number, target in enumerate(targets):
        one = made[number]
        if interrupted and not len(one.new):
            continue
        one.save(target.midi, only_new=only_new, force=force)
        write_sound(target, one.new if only_new else one.piece, force=force, report=sound_report)
        written[number] = target
    return GenerateResult(tuple(made), tuple(written), stream.progress(), load_seconds, interrupted)


def check_request(
    prompt: Piece | str | PathLike[str] | None = None,
    *,
    variations: int = 1,
    settings: SamplingSettings | None = None,
    preset: str | None = None,
    **options: Unpack[GenerateOptions],
) -> tuple[Request, dict[str, Any], Steering]:
    """Refuse what ``generate`` would refuse before its work; arguments as there.

    Returns:
        The request, the sampling numbers to change, what to resemble.

    Raises:
        UsageError: an option is out of range, or needs a prompt or an example and has none.
    """
    wanted, drawn, steered = split_options(options, Request, SamplingSettings, Steering)
    request, steering = Request(**wanted, variations=variations), Steering(**steered)
    if settings is None:
        settings_from(preset or DEFAULT_PRESET, **drawn)
    else:
        changed(settings, **drawn)
    if prompt is None and request.prompt_seconds is not None:
        raise UsageError("`prompt_seconds` needs a `prompt`")
    if prompt is None and request.into is not None:
        raise UsageError("`into` names a track of a `prompt`; there is none")
    if prompt is None and request.bars is not None:
        raise UsageError("`bars` counts in the prompt's metre; without one give `seconds`")
    if "guidance" in steered and steering.like is None and steering.guidance_vector is None:
        raise UsageError("`guidance` needs `like`, a piece to resemble")
    return request, drawn, steering
