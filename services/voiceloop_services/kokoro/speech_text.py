"""Written English to words that can be read aloud: numbers, money, times, abbreviations.

espeak reads plain numbers by itself; what is here is what it reads wrong.
"""

from __future__ import annotations

import re

_ABBREVIATIONS = {
    "Mr.": "Mister",
    "Mrs.": "Missus",
    "Ms.": "Miss",
    "Dr.": "Doctor",
    "Prof.": "Professor",
    "St.": "Saint",
    "Jr.": "Junior",
    "Sr.": "Senior",
    "vs.": "versus",
    "etc.": "et cetera",
    "approx.": "approximately",
    "e.g.": "for example",
    "i.e.": "that is",
    "a.m.": "AM",
    "p.m.": "PM",
}
_ABBREVIATION = re.compile(
    r"(?<![\w.])(" + "|".join(re.escape(short) for short in _ABBREVIATIONS) + r")(?!\w)", re.IGNORECASE
)
_FULL = {short.lower(): full for short, full in _ABBREVIATIONS.items()}
_ENDS_A_SENTENCE = {"etc.", "a.m.", "p.m.", "jr.", "sr."}
_NUMBER_SIGN = re.compile(r"\b(?:No\.|Nr\.) ?(?=\d)|#(?=\d)")
_CURRENCY = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent")}
_SCALE = r"hundred|thousand|million|billion|trillion"
_MONEY = re.compile(rf"([$£€]) ?(\d[\d,]*)(?:\.(\d+))?(?: ({_SCALE})\b)?")
_TIME = re.compile(r"\b([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?(?: ?([aApP])\.?[mM]\b\.?)?")
_CLOCK_HOUR = re.compile(r"\b(1[0-2]|[1-9]) ?([aApP])\.?[mM]\b\.?")
_YEAR = re.compile(r"(?<![\d.,$£€:/-])(1[1-9]|20)(\d\d)(?=(?:s\b)?(?![\d:/-]|[.,]\d))")
_UNIT = re.compile(r"(?<=\d) ?(km/h|km|kg|cm|mm|mph|GHz|MHz|kHz|Hz|GB|MB|ms|°C|°F|°|%)(?![\w])")
_UNITS = {
    "km/h": "kilometers per hour",
    "km": "kilometers",
    "kg": "kilograms",
    "cm": "centimeters",
    "mm": "millimeters",
    "mph": "miles per hour",
    "GHz": "gigahertz",
    "MHz": "megahertz",
    "kHz": "kilohertz",
    "Hz": "hertz",
    "GB": "gigabytes",
    "MB": "megabytes",
    "ms": "milliseconds",
    "°C": "degrees Celsius",
    "°F": "degrees Fahrenheit",
    "°": "degrees",
    "%": "percent",
}
_RANGE = re.compile(r"(?<=\d)\s?[\u2013-](?=\d)")
_SYMBOLS = {"&": " and ", "@": " at ", "+": " plus ", "=": " equals ", "/": " slash ", "\u00d7": " times "}
_QUOTES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u00ab": "\u201c", "\u00bb": "\u201d"})
_UNSPEAKABLE = re.compile(r"[^\w\s.,;:!?'\u2019\"\u201c\u201d()\u2014\u2013\u2026-]")


def speakable(text: str) -> str:
    """The text as it is to be said, on one line: figures and signs in words where espeak would misread them."""
    text = text.translate(_QUOTES)
    text = _ABBREVIATION.sub(_abbreviation, text)
    text = _NUMBER_SIGN.sub("number ", text)
    text = _MONEY.sub(_money, text)
    text = _TIME.sub(_time, text)
    text = _CLOCK_HOUR.sub(lambda found: f"{found[1]} {found[2].upper()}M", text)
    text = _UNIT.sub(lambda found: f" {_UNITS[found[1]]}", text)
    text = _YEAR.sub(_year, text)
    text = _RANGE.sub(" to ", text)
    for sign, words in _SYMBOLS.items():
        text = text.replace(sign, words)
    # Markdown, emoji and the like: espeak would say their names.
    return " ".join(_UNSPEAKABLE.sub(" ", text).replace("_", " ").split())


def _abbreviation(found: re.Match[str]) -> str:
    short = found[1].lower()
    at_end = found.end() == len(found.string) or re.match(r"\s+[A-Z]", found.string[found.end() :]) is not None
    return _FULL[short] + ("." if short in _ENDS_A_SENTENCE and at_end else "")


def _money(found: re.Match[str]) -> str:
    sign, whole, cents, scale = found.groups()
    major, minor = _CURRENCY[sign]
    whole = whole.rstrip(",")
    after = "," if found[2].endswith(",") and not cents else ""
    if scale or (cents and len(cents) != 2):
        decimals = f".{cents}" if cents else ""
        return f"{whole}{decimals}{f' {scale}' if scale else ''} {major}s{after}"
    minors = {"penny": "pence"}.get(minor, f"{minor}s")
    parts = []
    if int(whole.replace(",", "")) or not int(cents or 0):
        parts.append(f"{whole} {major if whole == '1' else f'{major}s'}")
    if int(cents or 0):
        parts.append(f"{int(cents)} {minor if int(cents) == 1 else minors}")
    return " and ".join(parts) + after


def _time(found: re.Match[str]) -> str:
    hour, minute, second, half = found.groups()
    words = [str(int(hour))]
    if int(minute):
        words.append(minute if minute[0] != "0" else f"oh {minute[1]}")
    elif not half:
        words.append("o'clock" if 1 <= int(hour) <= 12 else "hundred")
    if second:
        words.append(f"and {int(second)} seconds")
    if half:
        words.append(f"{half.upper()}M")
    return " ".join(words)


def _year(found: re.Match[str]) -> str:
    century, rest = found.groups()
    if century == "20" and rest[0] == "0":
        return found[0]  # two thousand and so many: espeak's own reading
    if rest == "00":
        return f"{century} hundred"
    return f"{century} {f'oh {rest[1]}' if rest[0] == '0' else rest}"
