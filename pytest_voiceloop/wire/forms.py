"""Uploads: multipart/form-data as it comes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from pytest_voiceloop.wire.http import Said, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pytest_voiceloop.wire.http import Reader

_MAX_FIELDS = 100
_MAX_FIELD_BYTES = 10_000


class Form:
    """Reads a form: the content of files by `file`, short fields into `fields`."""

    def __init__(self, content_type: str, file: Reader, fields: dict[str, str]) -> None:
        self._content_type = content_type
        self._file = file
        self._fields = fields
        self._parser: MultipartParser | None = None
        self._said: list[Said] = []
        self._begin()

    def feed(self, data: bytes) -> Iterator[Said]:
        """What the file says. Raises UnreadableError."""
        try:
            self._parser = self._parser or self._opened()
            self._parser.write(data)
        except FormParserError as error:
            raise UnreadableError(f"it is no form: {error}") from None
        finally:
            said, self._said = self._said, []
            yield from said

    def end(self) -> Iterable[Said]:
        """A part says itself that it is complete."""
        return ()

    def _opened(self) -> MultipartParser:
        kind, options = parse_options_header(self._content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise UnreadableError(f"{self._content_type!r} is no form with a boundary")
        return MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._part,
                "on_part_end": self._part_end,
            },
        )

    def _begin(self) -> None:
        self._name = self._value = self._held = b""
        self._field = ""
        self._is_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._field = options.get(b"name", b"").decode(errors="replace")
            self._is_file = b"filename" in options
        self._name = self._value = b""

    def _part(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._said += self._file.feed(data[start:end])
        else:
            self._held += data[start : min(end, start + _MAX_FIELD_BYTES - len(self._held))]

    def _part_end(self) -> None:
        if self._is_file:
            self._said += self._file.end()
        elif len(self._fields) < _MAX_FIELDS:
            self._fields[self._field] = self._held.decode(errors="replace")
