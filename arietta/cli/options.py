"""Options that several commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Precision(StrEnum):
    """Choices of ``--precision``."""

    int8 = "int8"
    int4 = "int4"
    f32 = "f32"


class Device(StrEnum):
    """Choices of ``--device``."""

    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


PrecisionOption = Annotated[
    Precision,
    typer.Option(metavar="TYPE", help="Of the weights: int8, int4 (smaller, faster) or f32."),
]
DeviceOption = Annotated[
    Device, typer.Option(metavar="NAME", help="cpu; or cuda or mps, which need arietta[gpu].")
]
ThreadsOption = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Processor threads. [default: all cores]")
]
AnyProgramFlag = Annotated[
    bool, typer.Option("--any-program", help="Take every instrument but drums as a piano.")
]
WavFlag = Annotated[bool, typer.Option("--wav", help="Write the sound beside each file.")]
