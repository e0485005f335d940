"""Budgets: what is over fails the test, and says where the time or the words went."""


def test_a_missed_latency_fails_and_names_stage_limit_source_ledger_and_words(repository):
    repository.tests("""
        import pytest

        @pytest.mark.latency(total="1200ms")
        def test_slow(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.latency(total="60s")
        class TestClosestMarkerWins:
            @pytest.mark.xfail(strict=True)
            @pytest.mark.latency(total="1200ms")
            def test_known_to_be_slow(self, voiceloop_simulator):
                voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run("--voiceloop-slow=llama=1s")
    result.assert_outcomes(failed=1, xfailed=1)
    result.stdout.fnmatch_lines(
        [
            "total is over its limit of 1200 ms (@pytest.mark.latency on test_voice.py::test_slow)",
            "  observed 1??? ms (the worst turn; n = 1; *",
            "  complete ledger of clip (call 151, pace asap):",
            "    llm * ms  (target 200 ms)",
            "  over their targets: llm by *",
            "    said        Hello there, you.",
            "    transcript  This is a scripted transcript.",
            "    reply       You said: This is a scripted transcript.",
            "    heard       This is a scripted transcript.",
            "*voiceloop log: llama*",
        ]
    )
    slow = repository.records["test_slow"]
    assert slow["outcome"] == "failed"
    assert [(b["metric"], b["limit_ms"], b["verdict"]) for b in slow["budgets"]] == [("total", 1200, "over")]
    assert slow["turns"][0]["ledgers"]["complete"]["stages_ms"]["llm"] > 600
    assert repository.document["settings"]["slow_ms"] == {"llama": 1000.0}


def test_lost_words_fail_and_are_shown(repository):
    repository.tests("""
        import pytest

        @pytest.mark.quality(transcript_wer=0.5)
        def test_mumbles(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "transcript_wer is over its limit of 0.500 (@pytest.mark.quality on test_voice.py::test_mumbles)",
            "  observed 1.667 *",
            "    said        Hello there, you.",
            "    transcript  This is a scripted transcript.",
        ]
    )


def test_a_percentile_without_enough_turns_is_no_pass(repository):
    repository.tests("""
        import pytest

        @pytest.mark.latency(total="60s", percentile=95)
        def test_too_few(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*@pytest.mark.latency on test_voice.py::test_too_few: total at percentile=95 needs at least 20 turns*1*"]
    )


def test_a_caller_who_hears_nothing_has_failed_without_any_budget(repository):
    # An empty reply is no reply: llama says nothing to kokoro, and kokoro nothing to the caller.
    repository.stack(llama=["--script-reply", ""])
    repository.tests("""
        def test_mute(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["turn 1 (clip, call 151): T2_FIRST never came on the link llm → tts*"])
    (turn,) = repository.records["test_mute"]["turns"]
    assert turn["status"] == "failed"
    assert turn["events_ms"]["t4_first"] is None
    assert turn["ledgers"]["complete"]["total_ms"] is None
    assert repository.document["summary"][0]["ledgers"]["complete"]["total_ms"]["timed_out"] == 1


def test_a_reply_that_does_not_come_in_time_is_a_timeout_and_infinite_for_a_budget(repository):
    repository.stack(kokoro=["--script-delay-ms", "60000"])
    repository.tests("""
        import pytest
        from pytest_voiceloop.call import line

        @pytest.mark.latency(total="60s")
        def test_late(voiceloop_simulator, monkeypatch):
            monkeypatch.setattr(line, "TURN_TIMEOUT_S", 1.0)
            turn = voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            with pytest.raises(AssertionError, match="T3_FIRST never came.*tts → outbound"):
                turn.metric_ms("first_audio_tts")
    """)
    result = repository.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["turn 1 (clip, call 151): T3_FIRST never came *", "*a turn timed out*"])
    record = repository.records["test_late"]
    assert record["turns"][0]["status"] == "timeout"
    assert record["turns"][0]["events_ms"]["t2_last"] is not None
    # Strict JSON has no infinity: null, and the verdict says over.
    assert [(b["observed_ms"], b["verdict"]) for b in record["budgets"]] == [(None, "over")]


def test_a_caller_who_stammered_has_measured_nothing(repository):
    repository.stack(void_ms=-10_000)
    repository.tests("""
        import pytest

        def test_without_budget(voiceloop_simulator):
            assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "void"

        @pytest.mark.latency(total="60s")
        def test_with_budget(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["total could not be held against its limit of *", "  every turn was void: *"])
    (row,) = repository.document["summary"]
    assert (row["turns"], row["void"], row["ledgers"]["complete"]["total_ms"]["n"]) == (0, 2, 0)
