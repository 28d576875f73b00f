"""The prompts that come with arietta, by name: the use case behind the page that is never empty."""

from __future__ import annotations

from dataclasses import dataclass

from arietta.errors import InputError
from arietta.paths import assets_dir


@dataclass(frozen=True)
class Example:
    """A shipped prompt.

    Attributes:
        name: what it is asked for by.
        title: what a person reads.
    """

    name: str
    title: str


EXAMPLES = (
    Example("nocturne", "Nocturne"),
    Example("waltz", "Waltz"),
    Example("classical", "Classical"),
    Example("smooth_jazz", "Smooth jazz"),
    Example("pokey_jazz", "Pokey jazz"),
)


def example_bytes(name: str) -> bytes:
    """Return the MIDI file of a shipped prompt.

    Raises:
        InputError: there is none of that name.
    """
    if not any(one.name == name for one in EXAMPLES):
        known = ", ".join(one.name for one in EXAMPLES)
        raise InputError(f"there is no example {name!r}; there are {known}")
    return (assets_dir() / "prompts" / f"{name}.mid").read_bytes()
