import json

import pytest
from report_documents import HOSTILE, WHISPER, document, one_test, turn

from pytest_voiceloop.cli import main
from pytest_voiceloop.measure.comparing import BASELINE, INTERLEAVED
from pytest_voiceloop.report import reading
from pytest_voiceloop.report.comparison import lines, with_base, with_baseline
from pytest_voiceloop.report.findings import findings
from pytest_voiceloop.text import cells


def turns(n=14, **changes):
    return [turn(f"u{number}", **changes) for number in range(n)]


def run(service=WHISPER, **changes):
    return document(one_test(*turns(**changes)), services=(service,))


SLOWER = with_baseline(run(), run(slower_ms=300, service=WHISPER | {"model": "large"}), "main")


def test_the_verdict_comes_first_then_what_regressed():
    text = lines(SLOWER)
    assert text[0] == "REGRESSED against main, at the door of stt"
    assert text[2] == "  differs: whisper's model: base there, large here"
    shown = [line for line in text if " same" in line or "regressed (" in line]
    assert "regressed" in shown[0]
    assert "same" in shown[-1]
    assert any(line.split()[:5] == ["total", "14", "1690", "1990", "+300"] for line in text)


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("name", ["main", HOSTILE * 5])
def test_no_line_is_wider_than_asked_for_or_does_harm(width, name):
    text = lines(SLOWER | {"with": name, "notes": [HOSTILE * 3]}, width)
    assert all(cells(line) <= width and line.isprintable() for line in text)


def test_what_cannot_be_compared_is_refused():
    other = run()
    other["environment"] = other["environment"] | {"cores": 64}
    found = with_baseline(run(), other, "main")
    assert (found["verdict"], found["rows"]) == ("refused", [])
    assert lines(found)[0] == "REFUSED against main"
    assert "cannot be compared: the machine's cores: 2 there, 64 here" in "\n".join(lines(found))


def test_the_rule_follows_how_it_was_measured():
    interleaved = document(one_test(*turns(), base_turns=turns()), services=(WHISPER, WHISPER | {"base": True}))
    assert with_base(interleaved, "base")["rule"] == {"floor_ms": INTERLEAVED.floor_ms, "percent": INTERLEAVED.percent}
    assert with_baseline(run(), run(), "main")["rule"] == {"floor_ms": BASELINE.floor_ms, "percent": BASELINE.percent}
    assert with_base(interleaved, "base")["verdict"] == "same"


def test_a_version_that_no_longer_answers_has_regressed_against_a_base_measured_turn_about():
    made = one_test(*turns(6, missing=("t4_first", "t4_last", "t5")), base_turns=turns(6))
    found = with_base(document(made, services=(WHISPER, WHISPER | {"base": True})), "base")
    assert found["verdict"] == "regressed"
    assert any(line.split()[:5] == ["timed_out_rate", "6", "0.000", "1.000", "+1.000"] for line in lines(found))


def calibrated(before_ms, after_ms):
    return document(one_test(*turns()), calibration={"before_ms": before_ms, "after_ms": after_ms})


def test_a_machine_that_is_slower_than_then_is_told_with_figures():
    found = with_baseline(calibrated(190.0, 210.0), calibrated(220.0, 240.0), "main")
    assert found["verdict"] == "same"
    (note,) = found["notes"]
    assert note.startswith("the machine is slower than then: the calibration took 200 ms there, 230 ms here (+15 %).")


@pytest.mark.parametrize("there", [(200.0, 210.0), (None, None)], ids=["within 10 %", "without a calibration"])
def test_a_machine_of_which_no_drift_is_known_is_not_spoken_of(there):
    assert with_baseline(calibrated(*there), calibrated(220.0, None), "main")["notes"] == []


@pytest.fixture
def files(tmp_path):
    def write(name, made):
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(made))
        return str(path)

    return write


def test_the_command_exits_as_ci_and_bisect_want(files, capsys):
    same, slower, few = files("same", run()), files("slower", run(slower_ms=300)), files("few", run(n=3))
    assert main(["compare", same, same]) == 0
    assert main(["compare", slower, same]) == 0
    assert main(["compare", same, slower]) == 1
    assert main(["compare", same, slower, "--rule", "90%,25ms"]) == 0
    assert main(["compare", same, few]) == 125
    assert "INCONCLUSIVE against" in capsys.readouterr().out


def test_the_command_refuses_unlike_runs(files, capsys):
    there = files("there", run())
    assert main(["compare", there, files("here", run(pace="realtime"))]) == 125
    assert "cannot be compared: the pace: asap there, realtime here" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{", '{"tests": []}', "[]"])
def test_the_command_says_which_file_it_cannot_read(files, tmp_path, text, capsys):
    broken = tmp_path / "broken.json"
    broken.write_text(text)
    assert main(["compare", files("there", run()), str(broken)]) == 2
    assert "broken.json" in capsys.readouterr().err


def _no_tests(made):
    made["tests"] = None


def _of_a_turn(*keys):
    def change(made):
        place = made["tests"][0]["turns"][3]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = None

    return change


@pytest.mark.parametrize(
    "change",
    [
        _no_tests,
        _of_a_turn("ledgers"),
        _of_a_turn("utterance", "audio_s"),
        _of_a_turn("judge"),
        _of_a_turn("reply", "text"),
    ],
    ids=["tests", "ledgers", "audio_s", "judge", "reply.text"],
)
@pytest.mark.parametrize("place", [0, 1], ids=["base", "head"])
def test_the_command_names_the_run_that_is_wrong_within(files, change, place, capsys):
    wrong, right = run(), files("right", run())
    change(wrong)
    paths = [right, right]
    paths[place] = files("wrong", wrong)
    assert main(["compare", *paths]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"voiceloop compare: {paths[place]} cannot be compared: ")
    assert "no run.json as pytest-voiceloop writes it" in told


def test_the_command_names_both_runs_where_neither_is_wrong_alone(files, capsys):
    one, other = run(), run()
    one["environment"]["memory_mib"], other["environment"]["memory_mib"] = 8000, "much"
    paths = files("one", one), files("other", other)
    assert main(["compare", *paths]) == 2
    assert f"{paths[0]} and {paths[1]} cannot be compared: " in capsys.readouterr().err


def test_the_command_wants_a_rule_that_it_understands(files, capsys):
    same = files("same", run())
    assert main(["compare", same, same, "--rule", "much"]) == 2
    assert "write a percentage" in capsys.readouterr().err


def test_the_command_speaks_json(files, capsys):
    same = files("same", run())
    main(["compare", same, same, "--json"])
    assert json.loads(capsys.readouterr().out)["verdict"] == "same"


def test_a_run_that_got_worse_has_failed_and_says_so_first():
    worse = run(slower_ms=300) | {"comparisons": [SLOWER]}
    found = reading.verdict(worse)
    assert (found.state, found.sentence) == ("failed", "regressed against main, 14 of 14 turns completed")
    assert findings(worse, list(reading.entries(worse)))[0].kind == "Compared"
