"""CSV logs of a run: rows are appended and synced, and a mark tells later whether the rows are still the same."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vgm2p.errors import DataError
from vgm2p.io.files import CHUNK, named, open_own, read_small, sync

LARGEST_LOG = 1 << 27  # bytes of a log whose rows are read
LARGEST_MARKED = 1 << 31  # bytes of a log that gets a mark: a foreign file must not keep a command busy for long
LARGEST_HEADER = 1 << 20  # bytes
UPDATE = re.compile(r"[0-9]{1,18}")  # a cell of the first column
Mark = dict[str, int | str]  # of the first `bytes` bytes of a file: their number, and their `sha256`


class CsvLog:
    """A CSV file whose first column is `update`. Appended rows are synced to disk; later rows can be dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Append rows with equal keys, and before the first rows the header.

        Raises StorageError for a link, and DataError if the file has other columns.
        """
        text, columns = io.StringIO(), self._columns()
        for row in rows:
            if other := sorted(set(columns or rows[0]) ^ set(row)):
                raise DataError(f"{self.path}: some rows have no {other[0]}, others have; give all rows the same names")
        writer = csv.DictWriter(text, columns or list(rows[0]), lineterminator="\n")
        if not columns:
            writer.writeheader()
        writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
        with named(self.path, len(text.getvalue())), open_own(self.path, "a") as file:
            file.write(text.getvalue())
            file.flush()
            os.fsync(file.fileno())

    def _columns(self) -> list[str]:
        """Return the columns of the header; none if the file is new, empty or a link."""
        if self.path.is_symlink() or not self.path.exists() or self.path.stat().st_size == 0:
            return []  # a link is refused when the rows are written
        with self._translated(), open(self.path, "rb") as file:
            return next(csv.reader([file.readline(LARGEST_HEADER).decode(errors="replace")]), [])

    def rows(self) -> list[dict[str, str]]:
        """Return the complete rows. An incomplete last line (the process was killed) is left out.

        Raises DataError, with the number of the line, for a row that this program cannot have written.
        """
        lines = self._lines()
        try:
            text = [line.decode() for line in lines]
        except UnicodeDecodeError as error:
            raise self._damaged("it is no text") from error
        reader = csv.DictReader(text, strict=True)
        found = []
        try:
            if text and (reader.fieldnames or [""])[0] != "update":
                raise self._damaged("its first column is not `update`")
            for row in reader:
                if None in row or None in row.values():
                    raise self._damaged(f"line {reader.line_num} has not as many cells as the header")
                if not UPDATE.fullmatch(row["update"]):
                    raise self._damaged(f"line {reader.line_num} has no number of updates")
                found.append(row)
        except csv.Error as error:
            raise self._damaged(f"line {reader.line_num}: {error}") from error
        if lines and len(lines) != len(found) + 1:
            raise self._damaged("it has an empty line, or a line break in a cell")
        return found

    def truncate(self, update: int) -> None:
        """Delete the rows after update `update`. Raises DataError as `rows`."""
        kept = sum(int(row["update"]) <= update for row in self.rows())
        self.cut(sum(map(len, self._lines()[: kept + 1])) if kept else 0)

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes. Without any, delete the file. Raises StorageError for a link."""
        if not self.path.exists():
            return
        if not size:
            self.path.unlink()
            sync(self.path.parent)
        elif size < self.path.stat().st_size:
            with named(self.path), open_own(self.path, "a") as file:
                file.truncate(size)
                os.fsync(file.fileno())

    def mark(self, before: int | None = None) -> Mark:
        """Return the mark of the whole file, or with `before` of the rows before that update.

        Raises DataError as `rows` if `before` is given.
        """
        size = None
        if before is not None:
            kept = sum(int(row["update"]) < before for row in self.rows())
            size = sum(map(len, self._lines()[: kept + 1])) if kept else 0
        return self._begin(size)

    def agrees(self, mark: Mapping[str, Any]) -> bool:
        """Return whether the file begins with the bytes of `mark`."""
        size = mark.get("bytes")
        if not isinstance(size, int) or size < 0:
            return False
        return self._begin(size) == {"bytes": size, "sha256": mark.get("sha256")}

    @property
    def too_large(self) -> bool:
        """Whether the file has so many rows that `rows` refuses to read them."""
        return self.path.is_file() and self.path.stat().st_size > LARGEST_LOG

    def _begin(self, size: int | None) -> Mark:
        """Return the mark of the first `size` bytes, or of as many as there are. None: of all. Takes little memory."""
        digest, done = hashlib.sha256(), 0
        with self._translated():
            if not self.path.exists():
                return {"bytes": 0, "sha256": digest.hexdigest()}
            if self.path.stat().st_size > LARGEST_MARKED:
                raise DataError(f"{self.path}: more than {LARGEST_MARKED} bytes; log less often (log_every)")
            with open(self.path, "rb") as file:
                while block := file.read(CHUNK if size is None else min(CHUNK, size - done)):
                    digest.update(block)
                    done += len(block)
        return {"bytes": done, "sha256": digest.hexdigest()}

    def _bytes(self) -> bytes:
        """Return the content; nothing if there is no file. Raises DataError if it cannot be read, or is `too_large`."""
        with self._translated():
            return read_small(self.path, LARGEST_LOG) if self.path.exists() else b""

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Raise DataError for a file that cannot be read. A pipe would wait for ever."""
        if self.path.exists() and not self.path.is_file():
            raise self._damaged("it is no plain file")
        try:
            yield
        except OSError as error:
            raise self._damaged(f"cannot be read, {error.strerror}") from error

    def _lines(self) -> list[bytes]:
        """Return the complete lines with their ends. (No cell holds a line break.)"""
        return [line + b"\n" for line in self._bytes().split(b"\n")[:-1]]

    def _damaged(self, why: str) -> DataError:
        return DataError(f"{self.path}: damaged ({why}); restore it, or train again with another out=")


def _cell(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return repr(value) if isinstance(value, float) else value
