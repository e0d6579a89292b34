"""Which files `vgm2p report` may replace: those that a report has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vgm2p.io.files import refuse_foreign


def check_folder(out: Path, table: str, columns: Sequence[str], *others: str) -> None:
    """Raise StorageError if a folder holds files of other origin under the names that a report uses.

    Args:
        out: the folder; it need not exist.
        table: name of the table without its ending. `<table>.csv` tells whether a report wrote the files beside it.
        columns: header of this file.
        others: names of further files that the report writes.
    """
    mark = out / f"{table}.csv"
    header = ",".join(columns).encode()
    refuse_foreign(mark, (header,), "out", "report")
    for path in (out / name for name in (f"{table}.md", *others)):
        if path.exists() and not mark.exists():  # in this order: a report that runs now writes the mark first
            refuse_foreign(path, (), "out", "report")
