"""What runs a model on this machine: the one place that chooses."""

from __future__ import annotations

from typing import Literal

from arietta.errors import MissingExtraError, UsageError
from arietta.models.aria import native as aria_native
from arietta.models.aria.openvino import OpenVinoBackend
from arietta.models.aria.protocol import Backend
from arietta.models.aria.trace import NumpyTracer, Tracer
from arietta.models.aria.weights import Source
from arietta.models.kernel.packing import Precision
from arietta.models.pianist import native as pianist_native
from arietta.models.pianist.openvino import PianistOpenVino
from arietta.models.pianist.protocol import PianistBackend
from arietta.models.pianist.weights import PianistSource

Device = Literal["cpu", "cuda", "mps"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda", "mps")


def cpu_backend(
    checkpoint: Source, precision: Precision = "int8", threads: int | None = None
) -> Backend:
    """Open the fastest executor of this processor: our kernel, else OpenVINO.

    Args:
        checkpoint: settings and tensors.
        precision: ``int8``, ``int4`` or ``f32`` (for parity).
        threads: processor threads; all physical cores by default.
    """
    if aria_native.supports(checkpoint.config, precision):
        return aria_native.NativeBackend(checkpoint, precision, threads)
    return OpenVinoBackend(checkpoint, precision, threads)


def pianist_cpu_backend(
    checkpoint: PianistSource, precision: Precision = "int8", threads: int | None = None
) -> PianistBackend:
    """Open the fastest executor of this processor: our kernel, else OpenVINO.

    Arguments and errors as for ``PianistOpenVino``.
    """
    if pianist_native.supports(checkpoint.config, precision):
        return pianist_native.PianistNative(checkpoint, precision, threads)
    return PianistOpenVino(checkpoint, precision, threads)


def open_backend(
    checkpoint: Source,
    device: Device = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
) -> Backend:
    """Open the executor of a checkpoint on a device; other arguments as for ``cpu_backend``.

    Raises:
        MissingExtraError: the device needs torch.
        UsageError: there is no such device.
    """
    if device not in DEVICES:
        raise UsageError(f"`device` {device!r} is not one of {', '.join(DEVICES)}")
    if device == "cpu":
        return cpu_backend(checkpoint, precision, threads)
    try:
        from arietta.models.aria.torch_executor import TorchBackend
    except ImportError:
        raise MissingExtraError(f"`device` {device}", "gpu") from None
    return TorchBackend(checkpoint, device)


def open_tracer(checkpoint: Source, backend: Backend) -> Tracer:
    """Return what shows states and attention: a backend in torch itself, else numpy."""
    return backend if isinstance(backend, Tracer) else NumpyTracer(checkpoint)


def open_pianist(
    checkpoint: PianistSource,
    device: str = "cpu",
    precision: Precision = "int8",
    threads: int | None = None,
) -> PianistBackend:
    """Open the executor of a Pianist Transformer on a device; arguments as for ``open_backend``.

    Raises:
        MissingExtraError: the device needs torch.
        UsageError: there is no such device.
    """
    if device == "cpu":
        return pianist_cpu_backend(checkpoint, precision, threads)
    from arietta.models.pianist.torch_executor import open_torch

    return open_torch(checkpoint, device)
