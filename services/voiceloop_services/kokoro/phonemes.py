"""English text to Kokoro's phonemes, with espeak-ng.

Kokoro was trained on misaki's symbols: one letter for a diphthong or an affricate, T for a flap, no length marks in
American English. espeak writes IPA, so its output is rewritten. espeak is called directly, not through a library:
it takes 0.1 ms a clause that way, and leaves no copies of its shared library in the folder for temporary files when
the service is killed.
"""

# ruff: noqa: RUF001 (IPA's letters look like others, and are meant)

from __future__ import annotations

import ctypes
import re
import threading
from typing import TYPE_CHECKING, Literal

from voiceloop_services.kokoro.speech_text import speakable
from voiceloop_services.runtime import MissingError

if TYPE_CHECKING:
    from collections.abc import Container

Accent = Literal["en-us", "en-gb"]

MAX_SYMBOLS = 510
"""Kokoro's context; a longer text is spoken in several pieces."""

_ESPEAK_VOICES: dict[Accent, bytes] = {"en-us": b"en-us", "en-gb": b"en"}
_AUDIO_NONE = 0x02  # AUDIO_OUTPUT_SYNCHRONOUS: nothing is played
_TIE = "^"
_MODE_IPA_TIED = 0x02 | 0x80 | ord(_TIE) << 8
_UTF8 = 1
_MARKS = ";:,.!?\u2014\u2026"
_QUOTES = '"\u201c\u201d()'
# A mark inside a word (12.50, example.com) is the word's; a cluster of marks stays together.
_PUNCTUATION = re.compile(rf"\s*(?:[{_MARKS}]+(?=[\s{_QUOTES}]|$)|[\u2014\u2026{_QUOTES}])[{_MARKS}{_QUOTES}]*\s*")
_DASH = re.compile(r"\s+[-\u2013]+\s+|\s*--+\s*")

# Longest first, so that no rewriting cuts another's symbols apart.
_SHARED = (
    ("ʔˌn\u0329", "ʔn"),
    ("ʔn\u0329", "ʔn"),
    ("a^ɪ", "I"),
    ("a^ʊ", "W"),
    ("d^ʒ", "ʤ"),
    ("t^ʃ", "ʧ"),
    ("e^ɪ", "A"),
    ("ɔ^ɪ", "Y"),
    ("ə^l", "ᵊl"),
    ("ʲo", "jo"),
    ("ʲə", "jə"),
    ("ʲ", ""),
    ("e^ə", "ɛː"),
    ("ɚɹ", "əɹ"),
    ("ɚ", "əɹ"),
    ("r", "ɹ"),
    ("x", "k"),
    ("ç", "k"),
    ("ɐ", "ə"),
    ("ɬ", "l"),
    ("\u0303", ""),
)
_AMERICAN = (("o^ʊ", "O"), ("ɛː", "ɛɹ"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ː", ""))
_BRITISH = (("iə", "ɪə"), ("ə^ʊ", "Q"))
_LAST = (("e", "A"), ("o", "ɔ"), ("ɾ", "T"), ("ʔ", "t"), ("g", "ɡ"), ("^", ""), ("_", ""), ("-", ""))
_SYLLABIC = re.compile("(\\S)\u0329")
# espeak runs small words together ("on the"), and voices the ending of "faced".
_JOINED = ((re.compile(r"(?<=\w)ðə\b"), " ðə"), (re.compile(r"\b([əʌ])və\b"), r"\1v ə"))
_VOICED_ENDING = re.compile(r"(?<=[ptkfθsʃ])d\b")
_BARE_I = re.compile(r"(?<!\S)I(?!\S)")  # without any stress the pronoun is swallowed
_LANGUAGE_FLAG = re.compile(r"\([a-z]{2,3}(?:-[a-z]+)*\)")


class Phonemizer:
    """English text to Kokoro's phonemes. One per process is enough; it may be called from several threads.

    Raises MissingError where espeak-ng is not installed.
    """

    def __init__(self, accent: Accent) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise MissingError(
                "the library espeakng-loader", "python -m pip install 'pytest-voiceloop[stack]'"
            ) from None
        self._american = accent == "en-us"
        self._lock = threading.Lock()  # espeak keeps one global state
        self._espeak = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        self._espeak.espeak_TextToPhonemes.restype = ctypes.c_char_p
        data = espeakng_loader.get_data_path().encode()
        if self._espeak.espeak_Initialize(_AUDIO_NONE, 0, data, 0) <= 0:
            raise RuntimeError(f"espeak-ng cannot be started with its data at {data.decode()}")
        if self._espeak.espeak_SetVoiceByName(_ESPEAK_VOICES[accent]) != 0:
            raise RuntimeError(f"espeak-ng has no voice {accent}")

    def __call__(self, text: str) -> str:
        """The phonemes of `text` with its punctuation; empty where there is nothing to say."""
        text = _DASH.sub("\u2014", speakable(text))
        made = []
        at = 0
        for found in _PUNCTUATION.finditer(text):
            made += [self._words(text[at : found.start()]), found[0]]
            at = found.end()
        made.append(self._words(text[at:]))
        phonemes = _BARE_I.sub("ˌI", " ".join("".join(made).split()))
        return phonemes if any(char.isalpha() for char in phonemes) else ""

    def _words(self, text: str) -> str:
        if not text.strip():
            return ""
        # espeak takes one clause a call and moves the pointer to the next; a null pointer means that it is done.
        raw = ctypes.create_string_buffer(text.encode())
        pointer = ctypes.c_void_p(ctypes.addressof(raw))
        clauses = []
        with self._lock:
            while pointer.value is not None:
                said = self._espeak.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _MODE_IPA_TIED)
                clauses.append((said or b"").decode())
        return self._rewrite(" ".join(" ".join(clauses).split()))

    def _rewrite(self, ipa: str) -> str:
        ipa = _LANGUAGE_FLAG.sub("", ipa.replace("\u0361", _TIE))
        for joined, apart in _JOINED:
            ipa = joined.sub(apart, ipa)
        ipa = _VOICED_ENDING.sub("t", ipa)
        for old, new in (*_SHARED, *(_AMERICAN if self._american else _BRITISH)):
            ipa = ipa.replace(old, new)
        ipa = _SYLLABIC.sub(r"ᵊ\1", ipa)
        for old, new in _LAST:
            ipa = ipa.replace(old, new)
        return ipa


_BREAKS = (re.compile(r"(?<=[.!?\u2026]) "), re.compile(r"(?<=[;:,\u2014\"\u201d)]) "), re.compile(" "))


def pieces(phonemes: str, vocabulary: Container[str]) -> list[str]:
    """What the model can speak at once, in order; symbols that it does not know are left out."""
    return split(" ".join("".join(symbol for symbol in phonemes if symbol in vocabulary).split()), MAX_SYMBOLS)


def split(phonemes: str, limit: int) -> list[str]:
    """Pieces of at most `limit` symbols, cut after a sentence, else after a clause, else between words."""
    found = []
    while len(phonemes) > limit:
        head = phonemes[: limit + 1]
        cut = limit
        for gap in _BREAKS:
            # A cut near the beginning would leave a fragment that is spoken in another manner than its neighbours.
            places = [found.start() for found in gap.finditer(head) if found.start() > limit // 4]
            if places:
                cut = places[-1]
                break
        found.append(phonemes[:cut].strip())
        phonemes = phonemes[cut:].strip()
    return [*found, phonemes] if phonemes else found
