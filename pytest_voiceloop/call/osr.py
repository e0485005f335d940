"""The human recording: fetched from the Open Speech Repository's own site, verified, and described by a manifest."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import sys
import urllib.request
from pathlib import Path

from pytest_voiceloop.call.corpus import default_corpus_folder

URL = "https://www.voiptroubleshooter.com/open_speech/american/OSR_us_000_0010_8k.wav"
SHA256 = "a4bf9becd046d7aedb6d05b6e12347a6294a44f74d263089c636fb0a2b1e6561"


def osr_manifest() -> Path:
    """The manifest that cuts the recording into its ten sentences; it comes with the project."""
    return default_corpus_folder() / "osr.json"


def pull_osr(folder: Path | None) -> int:
    """Fetch the recording into `folder` (default: the user's cache) and make a corpus of it. Returns an exit code."""
    import platformdirs

    place = folder or Path(platformdirs.user_cache_dir("voiceloop")) / "corpora" / "osr"
    place.mkdir(parents=True, exist_ok=True)
    wav = place / Path(URL).name
    if not wav.exists():
        print(f"fetching {URL}", file=sys.stderr)
        try:
            with urllib.request.urlopen(URL, timeout=30) as response:
                data = response.read()
        except (OSError, http.client.HTTPException) as error:
            print(f"{URL} cannot be fetched: {error}. Fetch it by hand and put it at {wav}", file=sys.stderr)
            return 1
        if hashlib.sha256(data).hexdigest() != SHA256:
            print(f"what came from {URL} has another sha256 than {SHA256}; nothing was written", file=sys.stderr)
            return 1
        partial = wav.with_suffix(".part")
        partial.write_bytes(data)
        partial.replace(wav)
    elif hashlib.sha256(wav.read_bytes()).hexdigest() != SHA256:
        print(f"{wav} has another sha256 than {SHA256}; remove it and pull again", file=sys.stderr)
        return 1
    shutil.copyfile(osr_manifest(), place / "manifest.json")
    print(f"Source: Open Speech Repository. Use it with --voiceloop-corpus={place}")
    return 0
