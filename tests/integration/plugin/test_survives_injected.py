"""Faults that the harness injects into the scripted stack, with two calls on it: who recovers, after how long."""

import json

import pytest

PART = "Faults that the harness injects"
SERVICES = ("whisper", "llama", "kokoro", "outbound")
TESTS = """
import json
import pytest

@pytest.mark.parametrize(("kind", "where", "given"), {cases!r})
def test_it(voiceloop_simulator, voiceloop_faults, kind, where, given):
    voiceloop_faults.inject(kind, where, **given)
    recovery = voiceloop_simulator.recover(
        "clip.wav", text="One.", beside="long.wav", beside_text="Two.", patience="4s"
    )
    first, last = recovery.turns[0], recovery.turns[-1]
    row = dict(
        case=f"{{where}}: {{kind.replace('_', '-')}}",
        first=first.status,
        missing=first.missing[:1],
        turns=len(recovery.turns),
        new_call=first.call_id != last.call_id,
        recovered_ms=recovery.recovered_ms,
        counted=dict(lost=recovery.lost, doubled=recovery.doubled, crossed=recovery.crossed),
        struck=[fault["kind"] for fault in first.faults],
    )
    print("row:", json.dumps(row))

def test_the_next_call(voiceloop_simulator, voiceloop_stack):
    assert voiceloop_simulator.say("clip.wav", text="One.").status == "ok"
    # What is ended on purpose has not died.
    assert voiceloop_stack.running.restarts == []
"""


def rows_of(repository, cases):
    repository.tests(TESTS.format(cases=cases))
    result = repository.run("-s")
    result.assert_outcomes(passed=len(cases) + 1)
    assert not repository.processes()
    return [json.loads(line.removeprefix("row:")) for line in result.outlines if line.startswith("row:")]


def happened(row):
    if row["turns"] == 1:
        return "the call went on, and the reply was heard"
    ended = (
        "timed out" if row["first"] == "timeout" else "failed" if row["first"] == "failed" else "was not heard whole"
    )
    missing = "".join(f": {event.upper()} never came" for event in row["missing"])
    call = "on a new call" if row["new_call"] else "on the same call"
    return f"the turn {ended}{missing}; turn {row['turns']}, {call}, was heard whole"


def told(account, rows):
    for row in rows:
        account(PART, row["case"], happened(row), recovered_s=row["recovered_ms"] / 1000, **row["counted"])


def test_survives_the_end_of_each_service(two_clips, account, soaking):
    given = {"at": "stt_llm", "duration": "200ms"}
    every = [(kind, service, given) for kind in ("kill", "restart") for service in SERVICES]
    cases = every if soaking else every[::3]
    rows = rows_of(two_clips, cases)
    assert [row["struck"] for row in rows] == [[kind] for kind, _, _ in cases]
    assert all(row["recovered_ms"] > 200 for row in rows)
    # A restarted service begins with the next turn at the earliest.
    assert all(row["turns"] > 1 for row in rows)
    assert {(row["counted"]["doubled"], row["counted"]["crossed"]) for row in rows} == {(0, 0)}
    for service in SERVICES:
        lives = 1 + sum(where == service for _, where, _ in cases)
        assert len(two_clips.found(f"run-*/logs/*/{service}*.log")) == lives, "each life has a log of its own"
    told(account, rows)


@pytest.mark.parametrize("link", ["stt_llm", "llm_tts", "tts_out"])
def test_survives_what_happens_to_a_link(two_clips, account, soaking, link):
    every = [
        ("delay", link, {"duration": "300ms"}),
        ("jitter", link, {"duration": "100ms"}),
        ("stall", link, {"duration": "500ms"}),
        ("drop", link, {}),
        ("corrupt", link, {"bytes": 3, "seed": 1}),
        ("truncate", link, {}),
        ("half_close", link, {}),
        ("reset", link, {}),
    ]
    cases = every if soaking else every[1::3]
    rows = rows_of(two_clips, cases)
    assert [row["struck"] for row in rows] == [[kind] for kind, _, _ in cases]
    assert all(row["recovered_ms"] is not None for row in rows)
    assert {row["counted"]["crossed"] for row in rows} == {0}
    # What only comes late is heard all the same.
    late = [row["counted"]["lost"] for row in rows if row["struck"][0] in ("delay", "jitter", "stall")]
    assert set(late) == {0}
    told(account, rows)


def test_survives_a_pause_and_a_bad_caller(two_clips, account, soaking):
    every = [("pause", service, {"at": "start", "duration": "1500ms"}) for service in SERVICES]
    cases = [*every, ("hang_up", "caller", {}), ("rtp_loss", "caller", {"percent": 50})]
    cases = cases if soaking else cases[2::2]
    rows = rows_of(two_clips, cases)
    assert all(row["recovered_ms"] is not None for row in rows)
    assert {row["counted"]["crossed"] for row in rows} == {0}
    told(account, rows)
