"""The record's schema: the fast reading of it and the explaining one agree on every record."""

import json
from dataclasses import replace
from typing import Any

import pytest
from fastjsonschema import JsonSchemaException
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from autograder import records
from autograder.records import SCHEMA, Check, Flag, Question, Result, from_json, to_json

RESULT = Result(
    "ann",
    "Ann",
    "01_lab",
    "graded",
    (
        Question("ex-1-1-check", "1.1", 4, 2.5, True, (Check("odd sizes", 4, 2.5, False, True),)),
        Question("ex-1-1-think", "1.1", 2, None),
    ),
    (Flag("answer-missing", "The answer of 1.1 is empty.", "ex-1-1-answer"),),
    ("exercise 1.1: stopped after 3 s",),
    seconds=1.5,
)
ODD: list[Any] = [None, True, -1, 0, 1e300, "", "x" * 500, "graded", [], [1], {}, {"code": "a"}]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a record."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    below = [p for k, v in inside if isinstance(v, (dict, list)) for p in places(v, (*path, k))]
    inside = value.keys() if isinstance(value, dict) else range(len(value))
    return [*((*path, key) for key in inside), *below]


@given(
    st.sampled_from(places(json.loads(json.dumps(to_json(RESULT))))),
    st.sampled_from([*ODD, "remove", "add"]),
)
def test_both_readings_of_the_schema_agree(path: tuple[Any, ...], change: Any) -> None:
    record = json.loads(json.dumps(to_json(RESULT)))
    parent = record
    for key in path[:-1]:
        parent = parent[key]
    if change == "remove":
        del parent[path[-1]]
    elif change == "add" and isinstance(parent, dict):
        parent["surplus"] = 1
    else:
        parent[path[-1]] = change
    explained = list(Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(record))
    try:
        records._accepts()(record)
    except JsonSchemaException:
        assert explained
        with pytest.raises(ValueError, match="result of"):
            from_json(record)
    else:
        assert not explained


def test_a_refusal_names_the_place_and_the_reason() -> None:
    wrong = replace(RESULT, questions=(replace(RESULT.questions[0], points=-1),))
    with pytest.raises(ValueError, match=r"result of ann: questions/0/points: -1 is less than"):
        to_json(wrong)
