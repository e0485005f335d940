"""The built wheel in fresh environments: ``nox`` runs all of it, ``nox -l`` lists what there is.

``build`` makes the wheel, ``bare`` installs nothing beside it, ``matrix`` installs what other repositories have, and
``examples`` runs each repository of tests/examples with what it asks for. An interpreter that this machine lacks is
named, and its sessions are skipped.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
TESTS = ROOT / "tests" / "packaging"
EXAMPLES = ROOT / "tests" / "examples"
PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
OF_THE_WHEEL = {"PYTHONPATH": None}
"""Environment of what is run: a path that the shell sets must not lead back to the checkout."""
NEIGHBOURS = ("pytest-asyncio", "pytest-html", "pytest-randomly", "pytest-rerunfailures", "pytest-xdist")


@nox.session
def build(session: nox.Session) -> None:
    """The source distribution, and the wheel made of it, in dist/."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(DIST), silent=True)


def wheel() -> str:
    """The wheel's path."""
    (found,) = DIST.glob("*.whl")
    return str(found)


def run_tests(session: nox.Session, *files: str) -> None:
    """Run tests of tests/packaging away from the checkout, so that nothing but the wheel can be imported."""
    session.chdir(session.create_tmp())
    session.run("pytest", *(str(TESTS / file) for file in files), *session.posargs, env=OF_THE_WHEEL)


@nox.session(requires=["build"])
def bare(session: nox.Session) -> None:
    """The wheel alone."""
    session.install(wheel())
    run_tests(session, "test_bare.py")


@nox.session(python=PYTHONS, requires=["build"])
@nox.parametrize("pytest", ["8.4", "9"])
def matrix(session: nox.Session, pytest: str) -> None:
    """The wheel beside other plugins, in a repository that has a `pipeline` marker of its own."""
    session.install(wheel(), f"pytest~={pytest}.0", *NEIGHBOURS)
    run_tests(session, "test_neighbours.py", "test_off.py")


@nox.session(requires=["build"])
@nox.parametrize("example", sorted(path.parent.name for path in EXAMPLES.glob("*/requirements.txt")))
def examples(session: nox.Session, example: str) -> None:
    """Each repository of tests/examples, with what it asks for."""
    folder = Path(session.create_tmp()) / example
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(EXAMPLES / example, folder)
    session.chdir(folder)
    # Wherever it is asked for, with whatever extra, it is the wheel that was just built.
    Path("this-wheel.txt").write_text(f"pytest-voiceloop @ file://{wheel()}\n")
    session.install("--requirement", "requirements.txt", "--constraint", "this-wheel.txt")
    session.run("voiceloop", "models", "pull")
    session.run("pytest", "--voiceloop-require", "--voiceloop-report=html", *session.posargs, env=OF_THE_WHEEL)
    session.run("python", str(EXAMPLES / "check_run.py"), "voiceloop-results/run.json")
