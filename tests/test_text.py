"""Texts that name options, in the words of each way in."""

from __future__ import annotations

import pickle

import pytest

from incarts_pipeline.errors import IncartsError, told_in
from incarts_pipeline.text import Option, OptionText, Surface, joined, spelled

SWITCH = Option(name="allow_empty", value=True)
KEY = Option(name="unique_key", value=["..."], stand_in="COLUMN")


@pytest.mark.parametrize(
    ("option", "shell", "python", "dagster"),
    [
        (Option(name="refuse_over"), "--refuse-over", "refuse_over", "refuse_over"),
        (SWITCH, "--allow-empty", "allow_empty=True", "allow_empty: true"),
        (Option(name="approve", value="0a"), "--approve 0a", 'approve="0a"', 'approve: "0a"'),
        (KEY, "--unique-key COLUMN", 'unique_key=["..."]', 'unique_key: ["..."]'),
        (Option(name="code", argument="codes"), "--code", "codes", "codes"),
        (
            Option(name="quote", value="none", of_reading=True),
            "--quote none",
            'open_catalog(path, quote="none")',
            '`read: {quote: "none"}` in the mapping',
        ),
    ],
)
def test_each_way_in_spells_an_option(
    option: Option, shell: str, python: str, dagster: str
) -> None:
    """A switch is set, a value given, and a name alone stands for itself."""
    assert [option.spelled(surface) for surface in Surface] == [shell, python, dagster]


def test_a_text_is_the_shells_until_it_is_spelled() -> None:
    """It can be put into another text, and survives a process boundary."""
    inner = OptionText("use ", SWITCH, ".")
    text = joined(" ", ["Look, or", inner])
    assert text == "Look, or use --allow-empty."
    assert spelled(pickle.loads(pickle.dumps(text)), Surface.PYTHON) == (
        "Look, or use allow_empty=True."
    )
    assert joined(", ", []) == ""


def test_what_only_looks_like_an_option_stays() -> None:
    """A value of the caller's is quoted as it is, whatever it looks like."""
    text = OptionText("the column '--allow-empty {0}' is not known; see ", SWITCH)
    assert spelled(text, Surface.PYTHON) == (
        "the column '--allow-empty {0}' is not known; see allow_empty=True"
    )
    assert spelled("--allow-empty", Surface.PYTHON) == "--allow-empty"


def test_an_error_is_told_in_the_words_of_its_way_in() -> None:
    """It speaks as the shell does unless the way in said otherwise."""
    error = IncartsError("It is empty.", fix=OptionText("Give ", SWITCH, "."))
    assert str(error) == "It is empty. Give --allow-empty."
    assert error.told(Surface.DAGSTER) == "It is empty. Give allow_empty: true."
    with pytest.raises(IncartsError) as caught, told_in(Surface.PYTHON):
        raise error
    assert str(caught.value) == "It is empty. Give allow_empty=True."
    with pytest.raises(IncartsError, match=r"^It is empty\.$"), told_in(Surface.PYTHON):
        raise IncartsError("It is empty.")
