"""One turn on the scripted stack, and all that it leaves behind."""

import json

STAGES = {
    "complete": ["stt", "llm", "tts", "transfer", "retranscription"],
    "first_audio": ["stt", "llm", "tts", "transfer"],
}
LAST = {"complete": "t5", "first_audio": "t4_first"}


def test_a_turn_is_measured_shown_and_kept(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            turn = voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            assert turn.reply.text == "You said: This is a scripted transcript."
            assert turn.total_ms > turn.voice_to_voice_ms > 0
    """)
    result = repository.run("--voiceloop-report=html")
    result.assert_outcomes(passed=1)

    document = repository.document
    assert document["schema_version"] == 1
    assert {s["name"]: s["engine"] for s in document["services"]} == {
        "whisper": "scripted",
        "llama": "scripted",
        "kokoro": "scripted",
        "outbound": "soxr-pcmu",
    }
    assert all(s["cold_start_ms"] > 0 and s["restarts"] == 0 for s in document["services"])
    (record,) = document["tests"]
    assert (record["nodeid"], record["outcome"], record["budgets"]) == ("test_voice.py::test_turn", "passed", [])
    (turn,) = record["turns"]
    assert (turn["status"], turn["flags"], turn["missing"], turn["pace"]) == ("ok", [], [], "asap")
    assert None not in turn["events_ms"].values()
    assert turn["playout"]["pauses_ms"] == sorted(turn["playout"]["pauses_ms"])
    assert document["summary"][0]["turns"] == 1
    counters = turn["counters"]
    assert (counters["whisper_passes"], counters["llama_tokens"]) == (1, 7)
    assert counters["kokoro_audio_s"] == counters["audio_made_s"] > 0

    # Both ledgers sum to their totals, and these are the events, to the microsecond.
    for name, stages in STAGES.items():
        ledger = turn["ledgers"][name]
        assert list(ledger["stages_ms"]) == stages
        total_us = round(ledger["total_ms"] * 1000)
        assert sum(round(value * 1000) for value in ledger["stages_ms"].values()) == total_us
        assert round(turn["events_ms"][LAST[name]] * 1000) == total_us

    # Every line about a scripted turn says so.
    result.stdout.fnmatch_lines(
        ["*scripted · booting whisper", "*SCRIPTED (no model) ok *", "script| written: *run.json"]
    )
    result.stdout.fnmatch_lines(["* written: *report.html", "* === *SCRIPTED*", "* voiceloop: 1 of 1 turn completed*"])
    assert "SCRIPTED" in (repository.results / "report.html").read_text()

    # Files: voices are personal data, which git must not see.
    assert (repository.results / ".gitignore").read_text() == "*\n"
    for kind in ("caller", "reply"):
        assert (repository.results / turn["audio"][kind]).stat().st_size > 1000
    assert [path.stem for path in repository.found("run-*/logs/*/*.log")] == ["kokoro", "llama", "outbound", "whisper"]
    (journal,) = repository.found("run-*/journal.jsonl")
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["run", "calibration", *["service"] * 4, "turn", "test", "calibration"]
    assert lines[6]["record"] == {"nodeid": record["nodeid"], "base": False, **turn}


def test_quiet_runs_show_no_progress(repository):
    repository.tests("""
        def test_turn(voiceloop_simulator):
            voiceloop_simulator.say("clip.wav", text="Hello there, you.")
    """)
    result = repository.run("-q")
    result.stdout.no_fnmatch_line("*booting*")
    result.stdout.no_fnmatch_line("*SCRIPTED (no model) ok*")
    result.stdout.fnmatch_lines(["script| voiceloop: 1 of 1 turn completed*"])


def test_what_the_caller_cannot_understand_is_said_and_costs_no_turn(repository):
    repository.tests("""
        import socket, threading
        import psutil

        def throw(done):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                while not done.wait(0.005):
                    for ear in psutil.Process().net_connections("udp4"):
                        for datagram in (b"", b"END:153", b"\\x80\\x08" + bytes(170)):
                            sender.sendto(datagram, ear.laddr)

        def test_turn(voiceloop_simulator):
            done = threading.Event()
            thrower = threading.Thread(target=throw, args=[done])
            thrower.start()
            try:
                turn = voiceloop_simulator.say("clip.wav", text="Hello there, you.")
            finally:
                done.set()
                thrower.join()
            assert turn.status == "ok"
    """)
    repository.run().assert_outcomes(passed=1)
    (turn,) = repository.records["test_turn"]["turns"]
    assert turn["errors"]
    assert all(error.startswith("the caller got ") for error in turn["errors"])
