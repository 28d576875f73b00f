"""What travels: the JSON of requests and answers. The OpenAPI page is made from these.

Times are seconds from the start of the piece; ranges are those of the library's own declarations.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from arietta.generation.fill_settings import FillRequest
from arietta.generation.settings import Groove, Request, SamplingSettings
from arietta.settings import parameters_of

SEED = Field(None, ge=0, le=2**53 - 1, description="The same seed gives the same music.")
"""Whole numbers that JavaScript can hold exactly."""


def _declared(group: type[Any], name: str, description: str, **more: Any) -> Any:
    """Return a pydantic field with the range of a declared parameter; see ``arietta.settings``."""
    known = parameters_of(group)[name][1]
    return Field(None, ge=known.low, le=known.high, gt=known.above, description=description, **more)


class Strict(BaseModel):
    """A request: what it does not know is refused, so that a misspelt name is noticed."""

    model_config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False)


class File(Strict):
    """A file inside JSON.

    Attributes:
        name: its suffix tells the format; it is never used as a path.
        data: base64 of its bytes.
    """

    name: str = Field("piece.mid", max_length=255, examples=["nocturne.mid"])
    data: bytes = Field(description="base64", json_schema_extra={"format": "byte"})

    @field_validator("data", mode="before")
    @classmethod
    def _decoded(cls, value: object) -> bytes:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str):
            raise ValueError("base64 text is needed")
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("this is not base64") from None


class OneFile(Strict):
    """A request about one file."""

    file: File


class GenerateBody(Strict):
    """A request for continuations.

    Attributes:
        file: what to go on from; None starts from scratch.
        prompt_seconds: where the prompt is cut, from the start of the piece; or
        prompt_bars: how many of its bars make the prompt. All of it by default.
        seconds, bars: length of the new music.
        variations: how many takes come back.
        of: how many are decided, of which the best come back.
        like: a piece to resemble.
    """

    file: File | None = None
    prompt_seconds: float | None = Field(None, gt=0, le=86_400)
    prompt_bars: int | None = Field(None, ge=1, le=100_000)
    seconds: float | None = _declared(Request, "seconds", "Length of the new music.")
    bars: float | None = _declared(Request, "bars", "Length in bars instead.")
    variations: int = Field(1, ge=1, le=64)
    of: int | None = Field(None, ge=1, le=64)
    seed: int | None = SEED
    temperature: float | None = _declared(SamplingSettings, "temperature", "0 is greedy.")
    density: float | None = _declared(SamplingSettings, "density", "1 is the model's own taste.")
    like: File | None = None
    end: bool = False
    model: str | None = Field(None, max_length=255)
    seam: Literal["now", "release", "bar"] | None = None


class FillBody(OneFile):
    """A request to fill a gap; ``bars`` are the first and the last bar, from 1."""

    from_seconds: float | None = Field(None, ge=0, le=86_400)
    to_seconds: float | None = Field(None, ge=0, le=86_400)
    bars: tuple[int, int] | None = None
    keep: str | None = Field(None, max_length=20, examples=["right-hand", "C4-C8"])
    density: float | None = Field(None, ge=0.1, le=10)
    groove: Groove = FillRequest.groove
    variations: int = Field(4, ge=1, le=64)
    of: int = Field(16, ge=1, le=64)
    seed: int = Field(0, ge=0, le=2**53 - 1)
    model: str | None = Field(None, max_length=255)


Share = Annotated[float, Field(ge=0, le=1.5)]


class RenderControls(Strict):
    """How much of the performance to take, 0 to 1.5; ``hands`` spreads right against left."""

    rubato: Share = 1.0
    dynamics: Share = 1.0
    pedal: Share = 1.0
    hands: Share = 1.0


class RenderBody(OneFile):
    """A request to perform a score."""

    controls: RenderControls = RenderControls()
    tempo: Literal["written", "free"] | Annotated[float, Field(gt=0, le=1000)] = "written"
    variations: int = Field(1, ge=1, le=16)
    seed: int = Field(0, ge=0, le=2**53 - 1)
    style: str | None = Field(None, max_length=100)
    model: str | None = Field(None, max_length=255)


class ScoreBody(OneFile):
    """A request for the surprise of each note; ``quick`` leaves the suspicion out."""

    quick: bool = False
    model: str | None = Field(None, max_length=255)


class ModelBody(OneFile):
    """A request that a model answers about one file."""

    model: str | None = Field(None, max_length=255)


class SearchBody(Strict):
    """A request to find what is like a file, or what is titled so."""

    file: File | None = None
    text: str | None = Field(None, min_length=1, max_length=200)
    index: str = Field(max_length=100)
    by: Literal["style", "notes"] = "style"
    top: int = Field(10, ge=1, le=200)


class SynthBody(OneFile):
    """A request for sound; ``Accept`` chooses the format where the body does not."""

    format: Literal["wav", "mp3", "flac", "ogg"] | None = None


class PostcardBody(OneFile):
    """A request for one page with roll and sound."""

    title: str = Field("", max_length=200)
    seed: int | None = SEED
    text: str = Field("", max_length=2000)
    from_seconds: float | None = Field(None, ge=0, le=86_400)


class TrainBody(Strict):
    """Settings of a training on one's own files."""

    recipe: Literal["finetune-folder"] = "finetune-folder"
    steps: int | None = Field(None, ge=1, le=1_000_000)
    files: list[File] = Field(default_factory=list, max_length=10_000)


class ProblemBody(BaseModel):
    """What an error looks like."""

    type: str
    title: str
    status: int
    what: str
    why: str
    mend: str
