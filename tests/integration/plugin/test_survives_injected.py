"""Faults that the harness injects into the scripted stack, with two calls on it: who recovers, after how long."""

import json

import pytest

PART = "Faults that the harness injects"
SERVICES = ("whisper", "llama", "kokoro", "outbound")
ENDS = ("kill", "restart")
LOSES = ("drop", "corrupt", "truncate", "half_close", "reset")
A_CASE_S = 60
"""What a case may take on average on a busy machine: on an idle one it is 3 to 13 s."""
TESTS = """
import json
import threading
import time
import psutil
import pytest

class Held:
    # Threads and descriptors: of each service, and of this very process, in which the taps are.
    def __init__(self, stack):
        self.stack = stack
        self.before = self.now()

    def now(self):
        held = dict(taps=(threading.active_count(), psutil.Process().num_fds()))
        for one in self.stack.running.processes:
            # The service runs below a shim.
            (service,) = psutil.Process(one.popen.pid).children()
            held[one.name] = (service.num_threads(), service.num_fds())
        return held

    def more(self):
        now = self.now()
        return sum(max(0, n - b) for name in now for n, b in zip(now[name], self.before[name], strict=True))

    def leaked(self):
        # What a call holds is let go a moment after it.
        give_up_s = time.monotonic() + 60
        while self.more() and time.monotonic() < give_up_s:
            time.sleep(0.05)
        return self.more()

@pytest.fixture(scope="module")
def held(voiceloop_stack):
    return Held(voiceloop_stack)

@pytest.mark.parametrize(("kind", "where", "given", "patience"), {cases!r})
def test_it(voiceloop_simulator, voiceloop_faults, held, kind, where, given, patience):
    voiceloop_faults.inject(kind, where, **given)
    recovery = voiceloop_simulator.recover(
        "clip.wav", text="One.", beside="long.wav", beside_text="Two.", patience=patience
    )
    first, last = recovery.turns[0], recovery.turns[-1]
    counted = dict(lost=recovery.lost, doubled=recovery.doubled, crossed=recovery.crossed, leaked=held.leaked())
    row = dict(
        case=f"{{where}}: {{kind.replace('_', '-')}}",
        first=first.status,
        missing=first.missing[:1],
        turns=len(recovery.turns),
        new_call=first.call_id != last.call_id,
        recovered_ms=recovery.recovered_ms,
        counted=counted,
        struck=[fault["kind"] for fault in first.faults],
        beside=[turn.status for turn in recovery.beside],
    )
    print("row:", json.dumps(row))

def test_the_next_call(voiceloop_simulator, voiceloop_stack):
    assert voiceloop_simulator.say("clip.wav", text="One.").status == "ok"
    # What is ended on purpose has not died.
    assert voiceloop_stack.running.restarts == []
"""


def patience(kind):
    """How long the caller waits for a reply: where one is lost, not for ever, and where none is, out of all doubt."""
    return "4s" if kind in ENDS else "10s" if kind in (*LOSES, "pause") else "30s"


def rows_of(repository, cases):
    repository.tests(TESTS.format(cases=[(*case, patience(case[0])) for case in cases]))
    result = repository.run("-s", deadline_s=(2 + len(cases)) * A_CASE_S)
    result.assert_outcomes(passed=len(cases) + 1)
    assert not repository.processes()
    rows = [json.loads(line.removeprefix("row:")) for line in result.outlines if line.startswith("row:")]
    assert {row["counted"]["leaked"] for row in rows} == {0}
    return rows


def happened(row):
    if row["turns"] == 1:
        return "the call went on, and the reply was heard"
    ended = (
        "timed out" if row["first"] == "timeout" else "failed" if row["first"] == "failed" else "was not heard whole"
    )
    missing = "".join(f": {event.upper()} never came" for event in row["missing"])
    call = "on a new call" if row["new_call"] else "on the same call"
    return f"the turn {ended}{missing}; turn {row['turns']}, {call}, was heard whole"


def struck_and_left_the_other_call_alone(rows, cases):
    """Each fault struck and was recovered from, and a second call that talked meanwhile lost nothing by it."""
    assert [row["struck"] for row in rows] == [[kind] for kind, _, _ in cases]
    assert all(row["recovered_ms"] is not None for row in rows)
    assert {row["counted"]["crossed"] for row in rows} == {0}
    # The first of them was said before the fault struck.
    assert all(len(row["beside"]) > 1 for row in rows)
    assert {status for row in rows for status in row["beside"]} == {"ok"}


def told(account, rows):
    for row in rows:
        account(PART, row["case"], happened(row), recovered_s=row["recovered_ms"] / 1000, **row["counted"])


def test_survives_the_end_of_each_service(two_clips, account, soaking):
    given = {"at": "stt_llm", "duration": "200ms"}
    every = [(kind, service, given) for kind in ENDS for service in SERVICES]
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
    struck_and_left_the_other_call_alone(rows, cases)
    # What only comes late is heard all the same.
    assert {row["counted"]["lost"] for row in rows if row["struck"][0] not in LOSES} == {0}
    told(account, rows)


def test_survives_a_paused_service(two_clips, account, soaking):
    every = [("pause", service, {"at": "start", "duration": "1500ms"}) for service in SERVICES]
    cases = every if soaking else every[2:3]
    rows = rows_of(two_clips, cases)
    struck_and_left_the_other_call_alone(rows, cases)
    assert {row["counted"]["lost"] for row in rows} == {0}
    told(account, rows)


def test_survives_a_bad_caller(two_clips, account, soaking):
    every = [
        ("hang_up", "caller", {}),
        ("noise", "caller", {"snr_db": 10}),
        ("rtp_loss", "caller", {"percent": 50}),
        ("mulaw", "caller", {}),
        ("silence", "caller", {}),
        ("rtp_jitter", "caller", {"duration": "200ms"}),
    ]
    cases = every if soaking else every[::2]
    rows = rows_of(two_clips, cases)
    struck_and_left_the_other_call_alone(rows, cases)
    told(account, rows)
