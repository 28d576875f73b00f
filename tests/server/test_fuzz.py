"""Requests made up from the server's own schema: no answer is a fault of the server's."""

from __future__ import annotations

import itertools
import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("ARIETTA_FUZZ", "12"))
"""For each address; `make fuzz` makes more."""
SLOW = {"/v1/train"}
"""Addresses that begin long work; their refusals are tested by hand."""


@pytest.fixture(scope="module")
def schema(running):
    found = running.ask("GET", "/openapi.json")[1]
    for path in SLOW:
        found["paths"].pop(path)
    for methods in found["paths"].values():
        for operation in methods.values():  # parts are tested by hand
            operation.get("requestBody", {}).get("content", {}).pop("multipart/form-data", None)
    return schemathesis.openapi.from_dict(found)


def operations(schema) -> list:
    return [one.ok() for one in schema.get_all_operations()]


def test_every_address_is_fuzzed(schema) -> None:
    assert len(operations(schema)) >= 18


@pytest.mark.parametrize("number", range(24))
def test_made_up_requests(schema, running, number: int) -> None:
    found = operations(schema)
    if number >= len(found):
        pytest.skip("there are fewer addresses")
    operation = found[number]
    asked = itertools.count()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def fuzz(data) -> None:
        case = data.draw(operation.as_strategy())
        if isinstance(case.body, dict) and operation.path == "/v1/generate":
            case.body.update(seconds=0.5, of=1, variations=1)  # what is valid is not long
            case.body.pop("bars", None)
        response = case.call(base_url=f"http://127.0.0.1:{running.port}", timeout=30)
        assert response.status_code < 500 or response.status_code == 503, response.text
        if response.status_code >= 400:
            assert response.headers["content-type"][0] == "application/problem+json"
            assert {"what", "why", "mend"} <= response.json().keys()
        next(asked)

    fuzz()
    assert next(asked) > 0
    running.wait(lambda: running.idle, seconds=60)
