"""The wheel and what pip installs with it: nothing heavy, and a whole demo."""

import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

MOST_MIB = 160
"""numpy alone takes half of it, more than our own clips and code thirty times over."""
ENGINES = {"torch", "ctranslate2", "faster-whisper", "llama-cpp-python", "onnx", "onnxruntime", "kokoro"}
OF_THE_ENVIRONMENT = {"pip", "setuptools", "wheel"}


def installed():
    return {found.name.lower().replace("_", "-"): found for found in distributions()}


def size_mib(distribution):
    files = [Path(distribution.locate_file(file)) for file in distribution.files or ()]
    return sum(path.stat().st_size for path in files if path.is_file()) / 2**20


def voiceloop(*arguments, **options):
    command = [Path(sysconfig.get_path("scripts")) / "voiceloop", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_no_engine_is_installed():
    assert not ENGINES & installed().keys()


def test_what_is_installed_is_small():
    sizes = {name: size_mib(found) for name, found in installed().items() if name not in OF_THE_ENVIRONMENT}
    assert sum(sizes.values()) < MOST_MIB, sizes


def test_pytest_finds_the_plugin():
    command = [sys.executable, "-m", "pytest", "--version", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "pytest-voiceloop-" in said.stdout + said.stderr


def test_demo_speaks_the_corpus_that_is_in_the_wheel(tmp_path):
    # The machine that runs the matrix may be too busy to time anything; what is tested is the rest.
    (tmp_path / "patient.py").write_text(
        "from pytest_voiceloop.call import assess, machine\n"
        "assess.VOID_LATENESS_MS = 10_000\n"
        "machine.STEAL_LIMIT_PERCENT = machine.FOREIGN_LIMIT_PERCENT = 100\n"
    )
    patient = {"PYTEST_PLUGINS": "patient", "PYTHONPATH": str(tmp_path)}
    done = voiceloop("demo", cwd=tmp_path, env=os.environ | patient)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((tmp_path / "voiceloop-demo" / "run.json").read_text())
    (test,) = document["tests"]
    assert test["outcome"] == "passed"
    assert {turn["utterance"]["corpus"] for turn in test["turns"]} == {"harvard"}
    assert (tmp_path / "voiceloop-demo" / "report.html").is_file()


def test_doctor_names_the_cure_for_the_engines(tmp_path):
    done = voiceloop("doctor", "--json", cwd=tmp_path)
    assert done.returncode == 1
    cures = [finding["cure"] for finding in json.loads(done.stdout)["findings"] if not finding["ok"]]
    assert any("pytest-voiceloop[stack]" in cure for cure in cures), cures
