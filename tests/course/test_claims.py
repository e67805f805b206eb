"""Claim cards: the interval against scipy, the three words, and what is refused."""

import pytest
from scipy import stats

from course.claims import MIME, claim


def card(values, at_least=0.0, **options):
    words = {"quantity": "gain", "paper": "none"}
    return claim(8, "It helps.", values=values, at_least=at_least, **words, **options)


@pytest.mark.parametrize("values", [(0.1, 0.2, 0.3), (1.0, -4.0, 2.5, 0.0, 7.0)])
def test_the_interval_is_students(values):
    expected = stats.t.interval(
        0.95, len(values) - 1, loc=sum(values) / len(values), scale=stats.sem(values)
    )
    assert card(values).interval == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "at_least", "word"),
    [
        ((0.5, 0.51, 0.52), 0.3, "reproduced"),
        ((0.5, 0.51, 0.52), 0.7, "not reproduced"),
        ((0.1, 0.5, 0.9), 0.3, "cannot tell"),
        ((-0.1, 0.0, 0.1), 0.05, "cannot tell"),
        ((0.3, 0.3, 0.3), 0.3, "reproduced"),
    ],
)
def test_the_word_follows_from_the_interval(values, at_least, word):
    assert card(values, at_least).verdict == word


def test_a_count_has_no_interval():
    assert card([11.2], 10, counted=True).interval == (11.2, 11.2)
    assert card([9.8], 10, counted=True).verdict == "not reproduced"


def test_a_notebook_gets_words_and_data():
    bundle = card((0.5, 0.6, 0.7), 0.1)._repr_mimebundle_()
    assert "It helps." in bundle["text/html"]
    assert "0.5, 0.6, 0.7" in bundle["text/plain"]
    assert bundle[MIME]["values"] == [0.5, 0.6, 0.7]
    assert bundle[MIME]["verdict"] == "reproduced"


@pytest.mark.parametrize(
    ("values", "options", "says"),
    [
        ((0.1, 0.2), {}, "at least 3 seeds; got 2"),
        ((0.1, 0.2, float("nan")), {}, "finite"),
        ((1.0, 2.0), {"counted": True}, "one value; got 2"),
    ],
)
def test_what_is_refused(values, options, says):
    with pytest.raises(ValueError, match=says):
        card(values, **options)
