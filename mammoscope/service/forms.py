"""Read forms with files into memory, whatever the encoding of file names."""

import io
import re
from typing import IO, Any, Final

from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.sansio.multipart import (
    Data,
    Epilogue,
    Event,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)

_BLOCK_BYTES: Final = 64 * 1024
_BLANK_LINE: Final = re.compile(rb"\r\n\r\n|\r\r|\n\n")
_OTHER: Final = re.compile(rb"[\x80-\xff]+\\?")
"""Bytes of non-ASCII encodings. In GBK and Shift JIS, a backslash may be part of a letter."""
_LAST_BACKSLASHES: Final = re.compile(rb'\\+(?="[ \t]*(?:;|[\r\n]|$))')
"""Backslashes at the end of a file name, which would hide its closing quotation mark."""
_UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}".encode()


class FormParser(FormDataParser):
    """Reads forms into memory.

    Werkzeug's parser writes files over 500 kB to the temporary folder. Images of patients must not
    be stored there, and a read-only or full disk must not stop the service. The request queue
    limits the memory. Werkzeug's parser also cannot read forms with file names that are not UTF-8.
    """

    def parse(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str] | None = None,
    ) -> Any:
        """Return the stream, the fields and the files; none of them if the form is damaged."""
        if mimetype != "multipart/form-data":
            return super().parse(stream, mimetype, content_length, options)
        try:
            fields, files = self._read(stream, (options or {}).get("boundary", "").encode("ascii"))
        except ValueError:  # like the framework's parser: the form is then refused as empty
            fields, files = [], []
        return stream, self.cls(fields), self.cls(files)

    def _read(
        self, stream: IO[bytes], boundary: bytes
    ) -> tuple[list[tuple[str, str]], list[tuple[str, FileStorage]]]:
        if not boundary:
            raise ValueError("there is no boundary")
        decoder = _Decoder(boundary, self.max_form_memory_size, max_parts=self.max_form_parts)
        fields: list[tuple[str, str]] = []
        files: list[tuple[str, FileStorage]] = []
        part: Field | File | None = None
        body = io.BytesIO()
        block: bytes | None = b""
        while block is not None:
            block = stream.read(_BLOCK_BYTES) or None
            decoder.receive_data(block)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                if isinstance(event, Field | File):
                    part, body = event, io.BytesIO()
                elif isinstance(event, Data) and part is not None:
                    body.write(event.data)
                    if isinstance(part, Field):
                        self._check_field(body.tell())
                    if event.more_data:
                        continue
                    if isinstance(part, Field):
                        fields.append((part.name, body.getvalue().decode("utf-8", "replace")))
                    else:
                        body.seek(0)
                        file = FileStorage(body, part.filename, part.name, headers=part.headers)
                        files.append((part.name, file))
        return fields, files

    def _check_field(self, size: int) -> None:
        if self.max_form_memory_size is not None and size > self.max_form_memory_size:
            raise RequestEntityTooLarge


class _Decoder(MultipartDecoder):
    """Decodes a form; invalid UTF-8 in part headers becomes replacement characters.

    File names never matter to an upload, so they must not make it unreadable.
    """

    def next_event(self) -> Event:
        if self.state is State.PART and (end := _BLANK_LINE.search(self.buffer)):
            head = bytes(self.buffer[: end.start()])
            try:
                head.decode()
                readable = head
            except UnicodeDecodeError:
                readable = _OTHER.sub(_UNKNOWN, head)
            self.buffer[: end.start()] = _LAST_BACKSLASHES.sub(b"", readable)
        return super().next_event()
