"""Word and character errors between what should have been said and what was.

Both texts go through the same pinned normaliser first: it writes numbers, contractions and spellings one way, and drops
punctuation, fillers ("um") and what stands in brackets.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

NORMALISER = f"whisper_normalizer.EnglishTextNormalizer {metadata.version('whisper-normalizer')} (typography 1)"
"""Name and version of the normaliser. Error rates of two of them cannot be compared.

"Typography" is what `normalised` does beside it; count it up when that changes.
"""
_TYPOGRAPHY = str.maketrans({"\u2018": "'", "\u2019": "'", "\u2026": " "})
Change = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class ErrorCount:
    """Errors against a reference of so many words and characters. There can be more errors than words."""

    errors: int
    words: int
    char_errors: int
    chars: int


class Difference(NamedTuple):
    """A run of words with one fate; `insert` has no reference words and `delete` no heard ones."""

    change: Change
    reference: tuple[str, ...]
    heard: tuple[str, ...]


def normalised(text: str) -> str:
    """`text` as it is compared: lower-case words with one space between them.

    Language models write curly apostrophes and ellipses, which the normaliser takes for parts of words: a curly "it's"
    would not be a straight one, and an ellipsis would be a word that nobody can say.
    """
    words = _normaliser()(text.translate(_TYPOGRAPHY)).split()
    return " ".join(word for word in words if any(letter.isalnum() for letter in word))


def word_errors(reference: str, heard: str) -> ErrorCount | None:
    """Errors in `heard`. Hearing nothing is 100 % error.

    None where the normalised reference has no words: there is no rate without a reference, and no error if nothing was
    to be said. Callers leave such a turn out of a corpus' rate and show that they do.
    """
    import jiwer

    expected, got = normalised(reference), normalised(heard)
    if not expected:
        return None
    words, chars = jiwer.process_words(expected, got), jiwer.process_characters(expected, got)
    return ErrorCount(
        errors=words.substitutions + words.deletions + words.insertions,
        words=words.hits + words.substitutions + words.deletions,
        char_errors=chars.substitutions + chars.deletions + chars.insertions,
        chars=chars.hits + chars.substitutions + chars.deletions,
    )


def word_diff(reference: str, heard: str) -> list[Difference]:
    """How `heard` differs, in order, in normalised words. Empty where both are empty."""
    import jiwer

    expected, got = normalised(reference).split(), normalised(heard).split()
    if not expected or not got:
        # jiwer aligns nothing with an empty text.
        found = [Difference("delete", tuple(expected), ()), Difference("insert", (), tuple(got))]
        return [difference for difference in found if difference.reference or difference.heard]
    (chunks,) = jiwer.process_words(" ".join(expected), " ".join(got)).alignments
    return [
        Difference(
            cast("Change", chunk.type),
            tuple(expected[chunk.ref_start_idx : chunk.ref_end_idx]),
            tuple(got[chunk.hyp_start_idx : chunk.hyp_end_idx]),
        )
        for chunk in chunks
    ]


def wer(counts: Iterable[ErrorCount]) -> float | None:
    """Word error rate of a corpus: all errors over all words, so that a long sentence counts for more than a short one.

    None without words.
    """
    every = list(counts)
    words = sum(count.words for count in every)
    return sum(count.errors for count in every) / words if words else None


def cer(counts: Iterable[ErrorCount]) -> float | None:
    """Character error rate of a corpus, as `wer`."""
    every = list(counts)
    chars = sum(count.chars for count in every)
    return sum(count.char_errors for count in every) / chars if chars else None


@lru_cache(maxsize=1)
def _normaliser() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    made: Callable[[str], str] = EnglishTextNormalizer()
    return made
