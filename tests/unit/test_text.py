import pytest

from pytest_voiceloop.text import cells, clipped, visible, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 字", "plain, é, 字"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\x00b\x7f\x9b", "a\\x00b\\x7f\\x9b"),
        ("a\r\n\tb", "a   b"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("\u2028\u2029\ufeff", "\\u2028\\u2029\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("\u05e9\u05dc\u05d5\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
        (None, "None"),
    ],
)
def test_controls_are_written_out(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("字\U0001f600", 4), ("e\u0301", 1)])
def test_cells_counts_columns(text, width):
    assert cells(text) == width


@pytest.mark.parametrize("width", [0, 1, 2, 3, 4, 7, 40])
@pytest.mark.parametrize("text", ["", "hello world", "字字字字字", "\U0001f600" * 9])
def test_clipped_never_exceeds_its_width(text, width):
    assert cells(clipped(text, width)) <= width


def test_clipped_marks_what_was_cut():
    assert clipped("hello world", 8) == "hello..."
    assert clipped("hello", 5) == "hello"


@pytest.mark.parametrize("text", ["", "a b c", "word " * 500, "x" * 500, "字" * 500, "aa " + "x" * 100 + " bb"])
@pytest.mark.parametrize("width", [5, 20])
def test_wrapped_keeps_to_its_width_and_lines(text, width):
    lines = wrapped(text, width, 3)
    assert 1 <= len(lines) <= 3
    assert all(cells(line) <= width for line in lines)


def test_wrapped_says_everything_if_there_is_room():
    assert wrapped("one two three four", 9, 3) == ["one two", "three", "four"]
    assert wrapped("one two three four", 9, 2) == ["one two", "three ..."]
