"""What is written wrongly stops the run before anything is booted, and is told where it was written."""

import pytest

UTTERANCE_TEST = "def test_it(voiceloop_utterance): pass"


def refused(repository, *arguments):
    """Run pytest, which must refuse; returns what it said."""
    result = repository.check(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    assert not repository.results.exists()
    said = result.stderr.str() + result.stdout.str()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('latency(totl="2s")', "there is no 'totl'; did you mean total? Known are"),
        ("latency(total=2)", 'total: 2 has no unit; write "2s" or "2ms"'),
        ('latency(total="soon")', "total: 'soon' is no duration"),
        ('latency("2s")', "takes keywords only: latency(total="),
        ('latency(total="2s", percentile="p95")', "percentile='p95' is no number"),
        ('latency(total="2s", percentile=100)', "percentile=100 lies not between 0 and 100"),
        ("quality(loop_wer=1.5)", "loop_wer=1.5 is no share"),
        ("quality(loop_wer='0.1')", "loop_wer='0.1' is no share"),
        ("quality(wer=0.1)", "there is no 'wer'. Known are"),
        ("quality()", "takes at least one keyword"),
        ("quality(0.1)", "takes at least one keyword"),
    ],
)
def test_marker(repository, marker, message):
    repository.tests(f"""
        import pytest

        @pytest.mark.{marker}
        def test_it(voiceloop_simulator): pass
    """)
    said = refused(repository)
    assert f"@pytest.mark.{marker.partition('(')[0]} on test_voice.py::test_it" in said
    assert message in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pace", "fast", "write one of asap, realtime"),
        ("ports", "some", "write one of auto, fixed"),
        ("report", "pdf", "write a format (html, json, summary, text), or format:path"),
        ("junit", "perhaps", "write true or false"),
        ("trials", "0", "write a whole number of at least 1"),
        ("trials", "many", "write a whole number of at least 1"),
        ("warmup", "-1", "write a whole number of at least 0"),
        ("seed", "1.5", "write a whole number of at least 0"),
        ("slow", "llama", "write service=duration"),
        ("slow", "llama=1", "has no unit"),
        ("dir", "", "write a folder"),
    ],
)
def test_option(repository, name, value, message):
    said = refused(repository, f"--voiceloop-{name}={value}")
    assert f"--voiceloop-{name}: {value!r} will not do" in said
    assert message in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pace", "fast", "write one of asap, realtime"),
        ("report", "pdf", "write a format"),
        ("trials", "many", "write a whole number"),
        ("require", "perhaps", "write true or false"),
        ("slow", "llama", "write service=duration"),
    ],
)
def test_ini_value(repository, name, value, message):
    repository.pytester.makeini(f"[pytest]\nvoiceloop_{name} = {value}\n")
    said = refused(repository)
    assert f"voiceloop_{name} in {repository.path / 'tox.ini'}: {value!r} will not do" in said
    assert message in said


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("VOICELOOP_PORTS", "some", "write one of auto, fixed"),
        ("VOICELOOP_REQUIRE", "perhaps", "write true or false"),
    ],
)
def test_environment_value(repository, monkeypatch, name, value, message):
    monkeypatch.setenv(name, value)
    said = refused(repository)
    assert f"the environment variable {name}: {value!r} will not do; {message}" in said


def test_option_goes_over_environment_and_that_over_ini(repository, monkeypatch):
    repository.pytester.makeini("[pytest]\nvoiceloop_ports = ini\n")
    assert "voiceloop_ports in" in refused(repository)
    monkeypatch.setenv("VOICELOOP_PORTS", "environment")
    assert "variable VOICELOOP_PORTS" in refused(repository)
    assert "--voiceloop-ports: 'option'" in refused(repository, "--voiceloop-ports=option")


def test_fixed_ports_with_workers(repository):
    said = refused(repository, "--voiceloop-ports=fixed", "-n", "2")
    assert "--voiceloop-ports=fixed: two workers cannot share one plan" in said


@pytest.mark.parametrize("metric", ["total", "transfer"])
def test_a_budget_that_means_nothing_at_realtime(repository, metric):
    repository.tests(f"""
        import pytest

        @pytest.mark.latency({metric}="2s")
        def test_it(voiceloop_simulator): pass
    """)
    said = refused(repository, "--voiceloop-pace=realtime")
    assert f"test_voice.py::test_it: at pace realtime, {metric} contains the reply's whole duration" in said


def test_a_budget_at_the_realtime_one_of_two_paces(repository):
    repository.tests("""
        import pytest

        @pytest.mark.latency()
        @pytest.mark.parametrize("voiceloop_pace", ["asap", "realtime"], indirect=True)
        def test_it(voiceloop_simulator): pass
    """)
    assert "test_it[realtime]: at pace realtime, total contains" in refused(repository)


def test_slowing_a_service_that_is_not_there(repository):
    repository.tests("def test_it(voiceloop_simulator): pass")
    result = repository.run("--voiceloop-slow=nosuch=1s")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["--voiceloop-slow=nosuch: no service is called 'nosuch'; there are whisper, llama,*"])


def unusable(repository, corpus="corpus"):
    """Collect with an unusable corpus, set in the ini file; returns the message."""
    repository.pytester.makeini(f"[pytest]\nvoiceloop_corpus = {corpus}\n")
    result = repository.check()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = result.stdout.str()
    assert "ERROR collecting test_voice.py" in said
    assert "pytest_voiceloop" not in said, "a trace through the plugin helps nobody"
    return said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "has no manifest.json; write one"),
        (lambda path: path.write_text("{"), "manifest.json cannot be read as JSON"),
        (lambda path: path.write_text("[]"), "needs the key 'utterances'"),
        (lambda path: path.write_bytes(b'"\xff"'), "manifest.json cannot be read as JSON"),
    ],
    ids=["no manifest", "half a manifest", "a list", "not UTF-8"],
)
def test_corpus_without_a_usable_manifest(repository, change, message):
    change(repository.path / "corpus" / "manifest.json")
    repository.tests(UTTERANCE_TEST)
    assert message in unusable(repository)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ({"text": " "}, "utterance 0 (one) needs the key 'text' with some text"),
        ({"text": None}, "utterance 0 (one) needs the key 'text' with some text"),
        ({"file": 7}, "utterance 0 (one) needs the key 'file' with some text"),
        ({"id": "two"}, "the id 'two' stands twice; every utterance needs an id of its own"),
        ({"from_s": -1}, "utterance 0 (one): from_s is -1; write seconds from the file's start"),
        ({"to_s": "2"}, "utterance 0 (one): to_s is '2'; write seconds from the file's start"),
        ({"to_s": True}, "utterance 0 (one): to_s is True; write seconds from the file's start"),
        ({"from_s": 2, "to_s": 1}, "utterance 0 (one): to_s is 1, which is not after from_s, 2"),
    ],
)
def test_corpus_with_an_unusable_utterance(repository, first, message):
    one, two = repository.corpus()
    repository.corpus(utterances=[one | first, two])
    repository.tests(UTTERANCE_TEST)
    said = unusable(repository)
    assert str(repository.path / "corpus" / "manifest.json") in said
    assert message in said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"utterances": []}, "needs the key 'utterances' with a list of at least one utterance"),
        ({"synthetic": None}, "needs the key 'synthetic': true for made speech, false for human speech"),
    ],
)
def test_corpus_without_what_every_corpus_has(repository, changes, message):
    repository.corpus(**changes)
    repository.tests(UTTERANCE_TEST)
    assert message in unusable(repository)


def test_corpus_that_is_not_there(repository):
    repository.tests(UTTERANCE_TEST)
    assert f"{repository.path / 'nowhere'} has no manifest.json" in unusable(repository, "nowhere")
