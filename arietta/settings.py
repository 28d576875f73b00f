"""One declaration for each parameter: dataclass fields that hold their range, choices and help.

A group of parameters is a frozen dataclass whose fields come from ``parameter``. Its checks
(``check``), the options of the command line, the keywords of the library (``with_keywords``) and
what files record of it (``values_of``) follow from these fields.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from arietta.errors import UsageError

_KEY = "arietta"
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Parameter:
    """What is known of a parameter besides its name, type and default.

    Attributes:
        help: sentence for the command line; ``{range}``, ``{choices}`` and ``{default}`` stand for
            the values of the declaration. Without one there is no option.
        metavar: what stands for the value in the help.
        low, high: least and greatest value.
        above: all values are above this one.
        choices: all values there are.
        negative: the option switches a parameter off that is on, such as ``--no-pedal``.
        several: the option may be repeated.
    """

    help: str = ""
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[str, ...] = ()
    negative: bool = False
    several: bool = False

    def text(self, default: object) -> str:
        """Return the help with the values of the declaration in it."""
        span = f"{self.low:g}..{self.high:g}" if None not in (self.low, self.high) else ""
        shown = f"{default:g}" if isinstance(default, float) else str(default)
        return self.help.format(range=span, choices=", ".join(self.choices), default=shown)

    def check(self, name: str, value: Any) -> None:
        """Refuse a value that lies outside of the declaration.

        Raises:
            UsageError: it does; the message names the parameter.
        """
        if self.choices:
            if value not in self.choices:
                raise UsageError(f"`{name}` is one of {', '.join(self.choices)}, not {value}")
            return
        if self.low is None and self.above is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if self.above is not None:
            if not number or not self.above < value < float("inf"):
                raise UsageError(f"`{name}` must be above {self.above:g}, not {value}")
        elif self.high is None:
            if not number or not self.low <= value:
                raise UsageError(f"`{name}` must be at least {self.low:g}, not {value}")
        elif not number or not self.low <= value <= self.high:
            raise UsageError(
                f"`{name}` must lie between {self.low:g} and {self.high:g}, not {value}"
            )


def parameter(
    default: Any,
    help: str = "",
    *,
    metavar: str | None = None,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] = (),
    negative: bool = False,
    several: bool = False,
) -> Any:
    """Declare a parameter as a field of a frozen dataclass; see ``Parameter``."""
    known = Parameter(help, metavar, low, high, above, tuple(choices), negative, several)
    return field(default=default, metadata={_KEY: known})


def parameters_of(group: type[Any]) -> dict[str, tuple[Field[Any], Parameter]]:
    """Return the parameters of a group by name."""
    return {one.name: (one, one.metadata.get(_KEY, Parameter())) for one in fields(group)}


def check(group: Any) -> None:
    """Refuse the first value of a group that lies outside of its declaration.

    None is in range where the type allows it.

    Raises:
        UsageError: a value does.
    """
    for name, (one, known) in parameters_of(type(group)).items():
        value = getattr(group, name)
        if value is not None or "None" not in str(one.type):
            known.check(name, value)


def values_of(group: Any, *, changed: bool = False) -> dict[str, Any]:
    """Return the values of a group, for what files record.

    Args:
        group: the dataclass.
        changed: only those that differ from the default.
    """
    return {
        one.name: getattr(group, one.name)
        for one in fields(group)
        if not changed or getattr(group, one.name) != one.default
    }


def with_keywords(*groups: type[Any], leave_out: Sequence[str] = ()) -> Callable[[_F], _F]:
    """Give a function that takes ``**options`` a signature that shows the groups' parameters.

    Args:
        groups: dataclasses of parameters.
        leave_out: names that the function does not take.
    """

    def show(function: _F) -> _F:
        plain = inspect.signature(function)
        known = [one for one in plain.parameters.values() if one.kind is not one.VAR_KEYWORD]
        taken = {one.name for one in known} | {*leave_out}
        for group in groups:
            for name, (one, _) in parameters_of(group).items():
                if name in taken:
                    continue
                taken.add(name)
                default = None if one.default is MISSING else one.default
                known.append(
                    inspect.Parameter(
                        name,
                        inspect.Parameter.KEYWORD_ONLY,
                        default=default,
                        annotation=one.type,
                    )
                )
        function.__signature__ = plain.replace(parameters=known)  # type: ignore[attr-defined]
        return function

    return show


def split_options(options: Mapping[str, Any], *groups: type[Any]) -> tuple[dict[str, Any], ...]:
    """Deal keywords to the groups that declare them; the first group with the name gets it.

    Raises:
        UsageError: no group declares one of them.
    """
    dealt: tuple[dict[str, Any], ...] = tuple({} for _ in groups)
    unknown = []
    for name, value in options.items():
        for part, group in zip(dealt, groups, strict=True):
            if name in group.__dataclass_fields__:
                part[name] = value
                break
        else:
            unknown.append(name)
    if unknown:
        raise UsageError(f"unknown options: {', '.join(sorted(unknown))}")
    return dealt


def type_of(group: type[Any], name: str) -> Any:
    """Return the type of a parameter, without None.

    Types that are known to checkers alone give ``str``.
    """
    text = str(group.__dataclass_fields__[name].type).replace("| None", "").strip()
    return {"int": int, "float": float, "bool": bool, "str": str}.get(text, typing.Any)
