"""Items made ahead: the same ones, in order, with errors and endings handed over."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator

import pytest

from arietta.errors import InputError, TrainingError
from arietta.training.batches import ahead, ahead_in_process


def numbers(count: int) -> Iterator[int]:
    yield from range(count)


def broken() -> Iterator[int]:
    yield 1
    raise InputError("shard 3: cannot be read")


def dying() -> Iterator[int]:
    yield 1
    os._exit(9)


@pytest.mark.parametrize("make", [lambda items: ahead(items(), 2), ahead_in_process])
def test_items_come_in_order_and_end(make: Callable[..., Iterator[int]]) -> None:
    assert list(make(functools.partial(numbers, 50))) == list(range(50))


@pytest.mark.parametrize("make", [lambda items: ahead(items(), 2), ahead_in_process])
def test_errors_are_raised_where_the_items_are_used(make: Callable[..., Iterator[int]]) -> None:
    items = make(broken)
    assert next(items) == 1
    with pytest.raises(InputError, match="shard 3"):
        next(items)


def test_a_dead_process_is_named() -> None:
    items = ahead_in_process(dying, 1)
    with pytest.raises(TrainingError, match="ended with status 9"):
        list(items)


def test_a_process_ends_with_its_user() -> None:
    items = ahead_in_process(functools.partial(numbers, 10**9), 2)
    assert next(items) == 0
    items.close()
    with pytest.raises(StopIteration):
        next(items)
