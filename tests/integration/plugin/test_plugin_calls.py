"""What the fixtures give: clips, corpora, calls, repetitions, paces, single services."""

import numpy as np
import soundfile


def test_clips_that_cannot_be_used_each_say_why(repository):
    rate_hz, speech = 16_000, repository.speech()
    path = repository.path
    repository.write_clip(path / "silent.wav", np.zeros(rate_hz))
    repository.write_clip(path / "no_samples.wav", np.zeros(0))
    (path / "empty.wav").write_bytes(b"")
    (path / "words.wav").write_text("These are words about a sound.")
    whole = (path / "clip.wav").read_bytes()
    (path / "cut.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(path / "cut.flac", speech, rate_hz)
    whole = (path / "cut.flac").read_bytes()
    (path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    expected = {
        "silent.wav": "silent.wav (utterance 'silent') is silent: no speech rises above its noise",
        "no_samples.wav": "no_samples.wav (utterance 'no_samples') is empty: no samples between",
        "empty.wav": "empty.wav (utterance 'empty') cannot be read as audio",
        "words.wav": "words.wav (utterance 'words') cannot be read as audio",
        "cut.wav": "cut.wav (utterance 'cut') is cut off: its header promises 25600 bytes of audio and 12778 are there",
        "cut.flac": "cut.flac (utterance 'cut') cannot be read as audio",
        "missing.wav": "missing.wav (utterance 'missing') does not exist",
        "folder": "corpus (utterance 'corpus') cannot be read as audio",
        "textless": "clip.wav: say(path, text=…) needs the text that is spoken, to judge the transcript by",
    }
    repository.tests(f"""
        import pytest

        @pytest.mark.parametrize("name", {list(expected)!r})
        def test_clip(voiceloop_simulator, name):
            if name == "textless":
                voiceloop_simulator.say("clip.wav")
            voiceloop_simulator.say("corpus" if name == "folder" else name, text="Hello there, you.")

        def test_nothing_to_measure(voiceloop_simulator):
            voiceloop_simulator.measure([])
    """)
    result = repository.run("--tb=line")
    result.assert_outcomes(failed=len(expected) + 1)
    for name, message in expected.items():
        assert message in repository.records[f"test_clip[{name}]"]["message"], name
    assert "measure() needs at least one utterance" in repository.records["test_nothing_to_measure"]["message"]


def test_clips_of_any_rate_and_number_of_channels_are_measured_alike(repository):
    repository.write_clip(repository.path / "line.wav", repository.speech(rate_hz=8_000), 8_000)
    stereo = np.stack([repository.speech(rate_hz=44_100)] * 2, axis=1)
    repository.write_clip(repository.path / "studio.wav", stereo, 44_100)
    repository.tests("""
        import pytest

        @pytest.mark.parametrize("name", ["line.wav", "studio.wav"])
        def test_clip(voiceloop_simulator, name):
            turn = voiceloop_simulator.say(name, text="Hello there, you.")
            assert turn.status == "ok"
            assert turn.utterance.audio_s == pytest.approx(0.8, abs=0.001)
            # The last syllable ends 0.1 s before the clip: T0 lies there, and the needed silence is 0.3 s.
            assert turn.events_ms["t1"] > 200
    """)
    repository.run().assert_outcomes(passed=2)


def test_a_test_with_an_utterance_runs_once_for_each_with_its_id(repository):
    repository.tests("def test_it(voiceloop_utterance): assert voiceloop_utterance.text")
    result = repository.check("--voiceloop-corpus=corpus", "-v")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*test_it?one? PASSED*", "*test_it?two? PASSED*"])


def test_an_overridden_corpus_or_utterance_is_what_a_test_gets(repository):
    repository.corpus("mine")
    repository.tests(
        """
        from pathlib import Path
        import pytest
        from pytest_voiceloop.call.corpus import Utterance, load_corpus

        @pytest.fixture(scope="session")
        def voiceloop_corpus():
            return load_corpus(Path("mine")).some("two")

        @pytest.fixture(params=["a", "b"])
        def voiceloop_utterance(request):
            return Utterance(request.param, Path("clip.wav"), "Hello there, you.")

        def test_corpus(voiceloop_corpus):
            assert [u.id for u in voiceloop_corpus] == ["two"]
            with pytest.raises(KeyError, match="no utterance 'one' in corpus 'tiny'; there are two"):
                voiceloop_corpus["one"]

        def test_utterance(voiceloop_utterance):
            assert voiceloop_utterance.text == "Hello there, you."
        """
    )
    # The corpus of the option does not exist; nobody asks for it.
    result = repository.check("--voiceloop-corpus=nowhere", "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_utterance?a? PASSED*", "*test_utterance?b? PASSED*"])


def test_both_paces_in_one_run(repository):
    repository.stack(llama=["--script-reply", "A reply of some words."])
    repository.tests("""
        import pytest

        @pytest.mark.parametrize("voiceloop_pace", ["asap", "realtime"], indirect=True)
        def test_it(voiceloop_simulator, voiceloop_pace):
            assert voiceloop_simulator.pace == voiceloop_pace
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    repository.run().assert_outcomes(passed=2)
    turns = {pace: repository.records[f"test_it[{pace}]"]["turns"][0] for pace in ("asap", "realtime")}
    assert {pace: turn["pace"] for pace, turn in turns.items()} == {"asap": "asap", "realtime": "realtime"}
    for turn in turns.values():
        assert (turn["status"], turn["playout"]["lost"], turn["reply"]["audio_s"]) == ("ok", 0, 1.54)
    # asap is done with sending long before the reply has been listened to; a telephone line is not.
    sent_ms = {pace: turn["events_ms"]["t4_last"] - turn["events_ms"]["t4_first"] for pace, turn in turns.items()}
    assert sent_ms["asap"] < 1000
    assert sent_ms["realtime"] > 1400
    assert [row["pace"] for row in repository.document["summary"]] == ["asap", "realtime"], "never pooled"


def test_each_service_alone_runs_no_other(repository):
    repository.stack(
        whisper=["--script-text", "Red green blue."],
        llama=["--script-reply", "Once: {said}", "--script-reply", "Twice: {said}"],
    )
    repository.tests("""
        import numpy as np
        import psutil
        import pytest

        @pytest.fixture(autouse=True)
        def alone(request):
            name = request.node.name.removeprefix("test_")
            service = request.getfixturevalue(f"voiceloop_{name}")
            commands = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
            # Those of earlier tests live until the session ends; the newest is this one's.
            running = service._live.running
            assert [process.name for process in running.processes] == [name]
            assert sum(f"-m voiceloop_services.{name} " in command for command in commands) == 2  # and its shim
            return service

        def test_whisper(voiceloop_whisper):
            found = voiceloop_whisper.transcribe("clip.wav", text="Red green black.")
            assert found.text == "Red green blue."
            assert found.wer == pytest.approx(1 / 3)
            # The silence it waits for is 300 ms.
            assert 200 < found.final_ms < 5000

        def test_llama(voiceloop_llama):
            first, second = voiceloop_llama.chat("Hello.", "And now?")
            assert (first.text, second.text) == ("Once: Hello.", "Twice: And now?")
            assert 0 < first.first_ms <= first.last_ms < 5000
            assert voiceloop_llama.reply("Who?").text == "Once: Who?"

        def test_kokoro(voiceloop_kokoro):
            speech = voiceloop_kokoro.speak("Ten chars.")
            assert (speech.rate_hz, len(speech.samples)) == (24_000, 16_800)
            assert 0 < speech.first_ms <= speech.last_ms < 5000
            assert 0 < speech.rtf < 10

        def test_outbound(voiceloop_outbound):
            tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(24_000) / 24_000).astype(np.float32)
            played = voiceloop_outbound.play(tone)
            assert (played.packets, played.lost) == (50, 0)
            assert len(played.samples) == pytest.approx(8_000, abs=200)
            assert 0 < played.first_ms <= played.last_ms < 5000
            again = voiceloop_outbound.play(tone[:12_000])
            assert again.packets == 25
    """)
    repository.run().assert_outcomes(passed=4)
    assert [s["name"] for s in repository.document["services"]] == ["whisper", "llama", "kokoro", "outbound"]


def test_repetitions_turns_of_a_call_and_calls_at_once(repository):
    repository.stack(
        whisper=["--script-text", "First.", "--script-text", "Second."], llama=["--script-reply", "Heard: {said}"]
    )
    repository.tests("""
        import threading

        def test_measure(voiceloop_simulator, voiceloop_corpus):
            turns = voiceloop_simulator.measure(voiceloop_corpus)
            assert [(t.utterance.id, t.trial, t.index) for t in turns] == [("one", 0, 0), ("two", 0, 0)]
            assert len(turns.all) == 3
            again = voiceloop_simulator.measure(voiceloop_corpus.some("two"), trials=2, warmup=0)
            assert [(t.utterance.id, t.trial, t.index) for t in again] == [("two", 0, 0), ("two", 1, 0)]
            assert again[-1].trial == 1

        def test_call(voiceloop_simulator):
            say = lambda: voiceloop_simulator.say("clip.wav", text="First.")
            turns = [say(), say()]
            voiceloop_simulator.hang_up()
            turns.append(say())
            assert [t.index for t in turns] == [0, 1, 0]
            assert [t.reply.text for t in turns] == ["Heard: First.", "Heard: Second.", "Heard: First."]
            assert turns[0].call_id == turns[1].call_id != turns[2].call_id

        def test_two_at_once(voiceloop_stack, voiceloop_simulator):
            from pytest_voiceloop.call.simulator import Simulator

            other, replies = Simulator(voiceloop_stack), {}
            # One caller is a turn ahead, so that the scripts tell their calls apart.
            voiceloop_simulator.say("clip.wav", text="First.")
            start = threading.Barrier(2)

            def talk(name, simulator):
                start.wait()
                replies[name] = simulator.say("clip.wav", text="First.").reply.text

            named = [("mine", voiceloop_simulator), ("other", other)]
            callers = [threading.Thread(target=talk, args=one) for one in named]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
            other.hang_up()
            assert replies == {"mine": "Heard: Second.", "other": "Heard: First."}
    """)
    repository.run("--voiceloop-corpus=corpus", "--voiceloop-warmup=1", "--voiceloop-trials=1").assert_outcomes(
        passed=3
    )
    turns = repository.records["test_measure"]["turns"]
    assert [turn["warmup"] for turn in turns] == [True, False, False, False, False]
    # The warm-up is in no median; the other corpus is that of clips said by path.
    rows = {row["corpus"]: row for row in repository.document["summary"]}
    assert {name: row["turns"] for name, row in rows.items()} == {"tiny": 4, "": 5}
    assert (rows[""]["first_turns"]["turns"], rows[""]["later_turns"]["turns"]) == (3, 2)
    audio = [path for record in repository.document["tests"] for t in record["turns"] for path in t["audio"].values()]
    assert len(audio) == len(set(audio)) == 2 * 10, "no turn writes over another's audio"


UNTAPPED = """spec = dataclasses.replace(
        spec, links=tuple(dataclasses.replace(link, tap=link.role != "llm_tts") for link in spec.links)
    )"""


def test_stages_that_an_untapped_link_hides_merge_and_the_ledger_still_sums(repository):
    repository.stack(then=UNTAPPED)
    repository.tests("""
        import pytest

        @pytest.mark.latency(total="60s")
        def test_seen(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")

        @pytest.mark.latency(llm="60s")
        def test_hidden(voiceloop_simulator):
            raise AssertionError("this is told before the first turn")
    """)
    result = repository.run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_hidden*",
            "@pytest.mark.latency on test_voice.py::test_hidden: llm cannot be seen * it is part of llm+tts. *",
        ]
    )
    (turn,) = repository.records["test_seen"]["turns"]
    assert (turn["status"], turn["missing"], turn["events_ms"]["t2_first"]) == ("ok", [], None)
    for name, stages in {
        "complete": ["stt", "llm+tts", "transfer", "retranscription"],
        "first_audio": ["stt", "llm+tts", "transfer"],
    }.items():
        ledger = turn["ledgers"][name]
        assert list(ledger["stages_ms"]) == stages
        assert sum(round(ms * 1000) for ms in ledger["stages_ms"].values()) == round(ledger["total_ms"] * 1000)


def test_two_runs_at_once_do_not_meet(repository):
    repository.tests("""
        def test_it(voiceloop_simulator):
            assert voiceloop_simulator.say("clip.wav", text="Hello there, you.").status == "ok"
    """)
    runs = [repository.start(f"--voiceloop-dir=results-{number}") for number in range(2)]
    assert [run.wait(60) for run in runs] == [0, 0], repository.said
