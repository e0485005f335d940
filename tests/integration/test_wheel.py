"""What is given to others: the wheel and the source distribution."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = {"pytest_voiceloop": "pytest_voiceloop", "services/voiceloop_services": "voiceloop_services"}
"""Where each of the two packages lies in the checkout, and in the wheel."""
CORPUS = "pytest_voiceloop/data"
DIST_INFO = {"METADATA", "WHEEL", "entry_points.txt", "licenses/LICENSE", "RECORD"}


def build(*arguments):
    """Build without an environment of its own: the build system is here already, and no index is asked."""
    command = [sys.executable, "-m", "build", "--no-isolation", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def one(folder, pattern):
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the source distribution, and the wheel that was made of it."""
    folder = tmp_path_factory.mktemp("built")
    build(ROOT, "--outdir", folder)
    return folder


@pytest.fixture(scope="module")
def names(built):
    with zipfile.ZipFile(one(built, "*.whl")) as wheel:
        return wheel.namelist()


def kept_in_git(folder):
    """What git keeps of a folder, or would: no caches, whatever lies about."""
    listed = ["git", "-C", str(ROOT / folder), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, capture_output=True, text=True, check=True)
    return {name for name in done.stdout.splitlines() if (ROOT / folder / name).is_file()}


def test_the_wheel_holds_the_two_packages_the_corpus_and_the_licence(names):
    if not (ROOT / ".git").exists():
        pytest.skip("what belongs to the packages is asked of git, and this is no checkout")
    expected = {f"{there}/{name}" for here, there in FOLDERS.items() for name in kept_in_git(here)}
    expected |= {f"{CORPUS}/{name}" for name in kept_in_git("data") - {"make_corpus.py"}}
    dist_info = {name for name in names if ".dist-info/" in name}
    assert set(names) - dist_info == expected
    assert {name.partition("/")[2] for name in dist_info} == DIST_INFO
    assert len(names) == len(set(names))


def test_each_file_of_the_wheel_is_of_a_kind_that_is_needed_at_run_time(names):
    kinds = [
        r"(pytest_voiceloop|voiceloop_services)/(\w+/)*\w+\.py",
        r"(pytest_voiceloop|voiceloop_services)/py\.typed",
        r"pytest_voiceloop/report/templates/\w+\.(css|js|html\.j2)",
        r"pytest_voiceloop/demo/pytest\.ini",
        r"pytest_voiceloop/config/starter\.toml",
        rf"{CORPUS}/([\w-]+\.(flac|json)|README\.md)",
        r"pytest_voiceloop-[\d.]+\.dist-info/[\w/.]+",
    ]
    assert [name for name in names if not any(re.fullmatch(kind, name) for kind in kinds)] == []
    # The demo's own test is what `voiceloop demo` runs.
    assert [name for name in names if "/test_" in name] == ["pytest_voiceloop/demo/test_demo.py"]
    for kind in kinds:
        assert any(re.fullmatch(kind, name) for name in names), kind


def test_the_source_distribution_makes_the_same_wheel(built, tmp_path):
    build(ROOT, "--wheel", "--outdir", tmp_path)
    assert one(tmp_path, "*.whl").read_bytes() == one(built, "*.whl").read_bytes()


def test_the_source_distribution_holds_the_tests_and_no_caches(built):
    with tarfile.open(one(built, "*.tar.gz")) as archive:
        held = [name.partition("/")[2] for name in archive.getnames()]
    assert {"LICENSE", "README.md", "pyproject.toml", "noxfile.py", "conftest.py"} <= set(held)
    assert "tests/integration/test_wheel.py" in held
    assert [name for name in held if "__pycache__" in name or name.startswith((".venv", "voiceloop-results"))] == []


def test_torch_and_the_engines_come_with_extras_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert extras.keys() == {"stack", "torch", "ear", "wyoming"}
    heavy = re.compile("torch|ctranslate2|faster-whisper|llama-cpp-python|onnx|onnxruntime|kokoro|speechmos")
    asked_for = [re.match(r"[\w-]+", requirement)[0] for requirement in project["dependencies"]]
    assert [name for name in asked_for if heavy.fullmatch(name)] == []
    assert [name for name, extra in extras.items() if any(one.startswith("torch=") for one in extra)] == ["torch"]
