"""The account of what was survived, from rows to a document."""

import pytest
import reliability
from reliability import Row


def test_rows_come_back_as_they_were_written(tmp_path):
    rows = [Row("part", "killed", "closed", 1.25, lost=1), Row("part", "garbage", "refused")]
    for row in rows:
        reliability.write(row, tmp_path / "rows.jsonl")
    assert reliability.read(tmp_path / "rows.jsonl") == rows


def test_rows_of_a_part_stand_together_in_the_order_in_which_they_came():
    made = reliability.table([Row("b", "first", ""), Row("a", "second", ""), Row("b", "third", "")])
    assert [made.index(each) for each in ("### b", "first", "third", "### a", "second")] == sorted(
        made.index(each) for each in ("### b", "first", "third", "### a", "second")
    )


def test_a_row_shows_what_was_counted_and_nothing_for_what_was_not():
    line = reliability.table([Row("part", "killed", "closed", 1.25, lost=1, leaked=0)]).splitlines()[-1]
    assert line == "| killed | closed | 1.2 s | 1 |  |  | 0 |"


def test_a_log_line_cannot_break_the_table():
    line = reliability.table([Row("part", "case", "said a | b\n<script>")]).splitlines()[-1]
    assert line == "| case | said a \\| b &lt;script> |  |  |  |  |  |"


def test_the_table_takes_the_place_of_the_old_one_alone():
    document = f"before\n{reliability.BEGIN}\nold\n{reliability.END}\nafter\n"
    made = reliability.put_in(document, [Row("part", "new", "")])
    assert made.startswith(f"before\n{reliability.BEGIN}\n")
    assert made.endswith(f"{reliability.END}\nafter\n")
    assert "old" not in made
    assert "| new |" in made


def test_a_document_without_a_place_for_the_table_is_refused():
    with pytest.raises(ValueError, match="needs the lines"):
        reliability.put_in("nothing", [])
