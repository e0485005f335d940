"""Where models lie, whether they are what they should be, and how a service finds its own."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import platformdirs

from voiceloop_services.models.catalogue import CATALOGUE, File, Model
from voiceloop_services.runtime import MissingError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT_VARIABLE = "VOICELOOP_MODELS"
State = Literal["ok", "missing", "wrong"]
_VERDICTS = ".verified.json"


@dataclass(frozen=True, slots=True)
class Located(os.PathLike[str]):
    """A model that was found and, where it has a name here, verified.

    `path` is what an engine is handed: the model's file, or its folder where the engine wants that. `sha256` is that
    of the model's main file. `name` is None for a user's own file.
    """

    name: str | None
    path: Path
    folder: Path
    sha256: str

    def __fspath__(self) -> str:
        return str(self.path)


def root() -> Path:
    """The folder that holds every model: $VOICELOOP_MODELS, else the user's cache folder."""
    chosen = os.environ.get(ROOT_VARIABLE)
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("voiceloop", appauthor=False)) / "models"


def folder_of(model: Model) -> Path:
    """The model's folder in the cache; it need not exist."""
    return root() / model.name


def state_of(model: Model, file: File, *, afresh: bool = False) -> State:
    """Whether the cached file is there and has the right hash; `afresh` reads it even if it has not changed."""
    path = folder_of(model) / file.name
    if not path.is_file():
        return "missing"
    got = sha256_of(path, folder_of(model) / _VERDICTS, afresh=afresh)
    return "ok" if got in accepted(model, file) else "wrong"


def accepted(model: Model, file: File) -> set[str]:
    """The hashes that a file may have: the pinned one, and the one noted when the file was made on this machine."""
    if file.made_from is None:
        return {file.sha256}
    made = _read_json(folder_of(model) / f"{file.name}.made.json")
    return {file.sha256, str(made.get("sha256"))}


def note_made(model: Model, file: File, sha256: str, how: dict[str, object]) -> None:
    """Note the hash of a file that was made here, and how: no catalogue can pin it."""
    _write_json(folder_of(model) / f"{file.name}.made.json", {"sha256": sha256, **how})


def sha256_of(path: Path, verdicts: Path, *, afresh: bool = False) -> str:
    """The file's sha256, from `verdicts` if its size and time have not changed since it was last read."""
    about = path.stat()
    stamp = {"size_bytes": about.st_size, "mtime_ns": about.st_mtime_ns}
    known = _read_json(verdicts)
    entry = known.get(path.name)
    if not afresh and isinstance(entry, dict) and {key: entry.get(key) for key in stamp} == stamp:
        return str(entry["sha256"])
    with path.open("rb") as opened:
        got = hashlib.file_digest(opened, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, nothing else
        _write_json(verdicts, {**_read_json(verdicts), path.name: {**stamp, "sha256": got}})
    return got


def locate(name: str, path: str | None = None) -> Located:
    """The verified files of the model `name`, or what the user chose instead of it.

    `path` may be a file, a folder, or the name of another model of the catalogue. A user's own files are not checked
    against anything; their hash is what the record then says. Raises MissingError with the command that cures it.
    """
    if path is not None and path in CATALOGUE:
        name, path = path, None
    model = CATALOGUE[name]
    if path is not None:
        return _users_own(model, Path(path).expanduser())
    bad = {file.name: state for file in model.files if (state := state_of(model, file)) != "ok"}
    cure = f"voiceloop models pull {name}"
    if "wrong" in bad.values():
        wrong = ", ".join(file for file, state in bad.items() if state == "wrong")
        raise MissingError(f"model {name}: {folder_of(model)} has the wrong hash for {wrong}", cure)
    if bad:
        lacks = "is not there" if len(bad) == len(model.files) else f"lacks {', '.join(bad)}"
        raise MissingError(f"model {name}: {folder_of(model)} {lacks}", cure)
    folder = folder_of(model)
    main = folder / model.main
    return Located(name, folder if model.folder_is_model else main, folder, sha256_of(main, folder / _VERDICTS))


def _users_own(model: Model, given: Path) -> Located:
    main = given / model.main if given.is_dir() else given
    if not main.is_file():
        known = ", ".join(CATALOGUE)
        raise MissingError(
            f"model {given}: {main} is no file, and {str(given)!r} is none of the named models ({known})",
            "give --model an existing file or folder, or one of those names",
        )
    own = root() / ".own"
    with contextlib.suppress(OSError):
        own.mkdir(parents=True, exist_ok=True)
    # Verdicts on a user's files lie in the cache: her folder is not ours to write to.
    verdicts = own / f"{hashlib.sha256(str(main.resolve().parent).encode()).hexdigest()[:16]}.json"
    folder = main.parent
    return Located(None, folder if model.folder_is_model else main, folder, sha256_of(main, verdicts))


@contextlib.contextmanager
def lock(model: Model) -> Iterator[None]:
    """Hold the model's lock: two runs never fetch the same model at once. Says so when it has to wait."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{model.name}.lock").open("w") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"{model.name}: another run is fetching it; waiting for that", file=sys.stderr, flush=True)
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)
