import doctest

from spotting.base import text_table as module
from spotting.base.text_table import printable, text_table


def test_example_of_the_docstring():
    assert doctest.testmod(module) == (0, 1)


def test_columns_are_as_wide_as_their_widest_cell():
    rows = [("a", "long name", "1.5"), ("bbb", "x", "100.25"), ("c",)]
    lines = text_table(rows, ("", "what", "score"), names=2, indent="> ").split("\n")
    assert lines == [
        ">      what        score",
        "> a    long name     1.5",
        "> bbb  x          100.25",
        "> c",
    ]


def test_a_line_of_its_own_makes_no_column_wider():
    lines = text_table([("a", "1"), "failed: " + "x" * 50], ("row", "n")).split("\n")
    assert lines[1] == "a    1"
    assert lines[2].startswith("failed: xxx")
    assert text_table([]) == ""


def test_wide_and_combining_characters_keep_the_columns():
    lines = text_table([("日本", "1"), ("e\u0301a", "2"), ("abcd", "3")]).split("\n")
    assert lines == ["日本  1", "e\u0301a    2", "abcd  3"]


def test_control_characters_are_shown():
    assert printable("a\nb\x1b[31m\x00\u202e\ud800é") == "a\\nb\\x1b[31m\\x00\\u202e\\ud800é"
    assert text_table([("a\n\x1b[2J", "1")]) == "a\\n\\x1b[2J  1"
    assert printable("family \U0001f468\u200d\U0001f469") == "family \U0001f468\u200d\U0001f469"
