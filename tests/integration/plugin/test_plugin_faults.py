"""Faults by marker and by fixture: what the record says, what a failure says, and how a stack recovers."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "faults.md"


def test_every_block_of_the_page_runs(two_clips):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    two_clips.tests("\n\n".join(blocks))
    two_clips.run().assert_outcomes(passed=len(re.findall(r"^def test_", "\n".join(blocks), re.MULTILINE)))
    (turn,) = two_clips.records["test_a_stalled_language_model_costs_its_time_and_no_word"]["turns"]
    (fault,) = turn["faults"]
    assert (fault["kind"], fault["link"], fault["into"], fault["ms"]) == ("stall", "llm_tts", "kokoro", 300)
    assert fault["line"] == 'fault("stall", "llm_tts", duration="300ms")'
    assert fault["at_ms"] == pytest.approx(turn["events_ms"]["t2_first"], abs=5)


def test_a_failure_says_what_was_injected_and_the_line_that_does_it_again(repository):
    repository.tests("""
        import pytest

        @pytest.mark.fault("delay", "llm_tts", duration="150ms")
        @pytest.mark.latency(total="1ms")
        def test_slow(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.fault("drop", "llm_tts", item=7)
        def test_spared(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.fault("truncate", "stt_llm")
        def test_unanswered(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.fault("kill", "piper")
        def test_nobody(voiceloop_simulator):
            raise AssertionError("this is told before the first turn")

        def test_nowhere(voiceloop_simulator, voiceloop_faults):
            voiceloop_faults.inject("reset", "whisper")
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(failed=4, errors=1)
    again = '@pytest.mark.fault("delay", "llm_tts", duration="150ms")'
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_nobody*",
            'test_voice.py::test_nobody: fault("kill", "piper"): no service is called \'piper\'; there are whisper, *',
        ]
    )
    result.stdout.fnmatch_lines(
        [
            "*_ test_slow _*",
            "total is over its limit of 1 ms *",
            f"  injected into call 151: every frame into kokoro was held back by 150 ms (at ?*); again: {again}",
            "*- voiceloop faults -*",
            "injected into call 151: *",
            "*_ test_spared _*",
            'fault("drop", "llm_tts", item=7, seed=0) never struck in 1 turn: its moment (item 7 on llm_tts) did not *',
            "*_ test_unanswered _*",
            "*- voiceloop faults -*",
            'injected into *: the connection into llama was cut *; again: @pytest.mark.fault("truncate", "stt_llm")',
            "*_ test_nowhere _*",
            'E *FaultError: fault("reset", "whisper"): no tapped link is or leads into *',
        ]
    )
    (slow,) = repository.records["test_slow"]["turns"]
    assert slow["ledgers"]["first_audio"]["stages_ms"]["tts"] >= 150


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ('fault("rest", "llm_tts")', "there is no fault 'rest'; did you mean reset?"),
        ("fault()", 'takes a kind and where it strikes: fault("reset", "llm_tts", item=2)'),
        ('fault("stall", "llm_tts", duration=300)', 'duration: 300 has no unit; write "300s" or "300ms"'),
        ("fault(kind='reset')", "takes a kind and where it strikes"),
    ],
)
def test_a_marker_that_is_none_stops_the_run_at_collection(repository, marker, said):
    repository.tests(f"import pytest\n@pytest.mark.{marker}\ndef test_it(voiceloop_simulator): pass")
    result = repository.check()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: @pytest.mark.fault on test_voice.py::test_it: {said}" in result.stderr.str() + result.stdout.str()


def test_a_marker_of_that_name_on_somebody_elses_test_is_left_alone(repository):
    repository.tests("import pytest\n@pytest.mark.fault('San Andreas')\ndef test_it(): pass")
    repository.check().assert_outcomes(passed=1)


def test_faults_on_the_caller(two_clips):
    two_clips.tests("""
        import pytest

        def say(simulator):
            return simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.fault("rtp_loss", percent=20, seed=5)
        def test_loss(voiceloop_simulator):
            first, second = say(voiceloop_simulator), say(voiceloop_simulator)
            assert first.playout["lost"] == second.playout["lost"] > 0

        @pytest.mark.fault("rtp_jitter", duration="200ms")
        def test_jitter(voiceloop_simulator):
            turn = say(voiceloop_simulator)
            assert turn.playout["reordered"] > 0 == turn.playout["lost"]
            assert turn.status == "ok"

        @pytest.mark.fault("noise", snr_db=10)
        @pytest.mark.fault("mulaw")
        def test_telephone(voiceloop_simulator):
            assert {fault["kind"] for fault in say(voiceloop_simulator).faults} == {"noise", "mulaw"}

        @pytest.mark.fault("silence")
        def test_half_a_sentence(voiceloop_simulator):
            half = say(voiceloop_simulator)
            assert half.status == "ok"
            assert len(half.transcript.text.split()) <= 4

        @pytest.mark.fault("silence", at="start")
        def test_not_a_word(voiceloop_simulator):
            silent = say(voiceloop_simulator)
            assert silent.void_because == ("the caller said nothing, on purpose",)
            assert not silent.reply.text

        @pytest.mark.fault("hang_up", at="llm_tts")
        def test_gone_before_the_answer(voiceloop_simulator):
            first, second = say(voiceloop_simulator), say(voiceloop_simulator)
            assert first.void_because == ("the caller hung up, on purpose",)
            assert (first.call_id, first.index) != (second.call_id, second.index)
    """)
    two_clips.run().assert_outcomes(passed=6)


def test_a_paused_service_goes_on(two_clips):
    two_clips.tests("""
        def test_it(voiceloop_simulator, voiceloop_faults):
            voiceloop_faults.inject("pause", "llama", at="start", duration="1500ms")
            turn = voiceloop_simulator.say("clip.wav", text="One.")
            assert turn.status == "ok"
            (fault,) = turn.faults
            # The clip is 0.8 s long, and llama hears of it while it stands still.
            assert turn.events_ms["t2_first"] >= fault["at_ms"] + 1500
    """)
    two_clips.run().assert_outcomes(passed=1)


def test_recover_raises_what_ended_the_caller_beside(two_clips):
    two_clips.tests("""
        import threading
        import pytest
        from pytest_voiceloop.call import recovering

        SAID = recovering.Talk.turn

        def full(talk, faults=()):
            if threading.current_thread().name == "beside":
                raise OSError("no space left")
            return SAID(talk, faults)

        @pytest.mark.fault("delay", "llm_tts", duration="10ms")
        def test_it(voiceloop_simulator, voiceloop_stack, monkeypatch):
            monkeypatch.setattr(recovering.Talk, "turn", full)
            with pytest.raises(OSError, match="no space left"):
                voiceloop_simulator.recover("clip.wav", text="One.", beside="long.wav", beside_text="Two.")
            assert voiceloop_stack.open_calls == 0
    """)
    two_clips.run().assert_outcomes(passed=1)


def test_recover_calls_again_where_the_call_was_broken_off_while_it_began(two_clips):
    two_clips.tests("""
        import pytest
        from pytest_voiceloop.call import recovering
        from pytest_voiceloop.stack.process import StackError

        OPEN, opened = recovering.open_line, []

        def broken_once(live):
            opened.append(live)
            # The first is the caller beside, the second the one who is struck, and the third that one's second call.
            if len(opened) == 3:
                raise StackError("as planned")
            return OPEN(live)

        @pytest.mark.fault("hang_up")
        def test_it(voiceloop_simulator, monkeypatch):
            monkeypatch.setattr(recovering, "open_line", broken_once)
            recovery = voiceloop_simulator.recover("clip.wav", text="One.", beside="long.wav", beside_text="Two.")
            assert recovery.recovered_ms is not None
            assert len(opened) > 3
    """)
    two_clips.run().assert_outcomes(passed=1)
