"""Text for people: aligned tables, numbers, lines, commands, and names from files of somebody else."""

from __future__ import annotations

import functools
import math
import re
import shlex
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from vgm2p.io.shell import program, runnable

LONGEST = 120  # characters of a name in a table or a plot
HIDDEN = ("Cc", "Cf", "Cn", "Cs", "Zl", "Zp")  # Unicode categories of characters that show nothing or move the text
OUTPUT = "standard output"
JOINERS = "\u200c\u200d"  # parts of words in some scripts
FORMULA = re.compile(r"[=+@＝＋－＠-]")  # also their wide forms


def plain(text: object) -> str:
    """Return text without control characters and bidirectional marks; an escape such as `\\x1b` stands for each."""
    return "".join(each if _shows(each) else each.encode("unicode_escape").decode() for each in str(text))


def _shows(character: str) -> bool:
    return character in JOINERS or unicodedata.category(character) not in HIDDEN


def one_line(text: object) -> str:
    """Return text as one line without control characters."""
    return plain(" ".join(str(text).split()))


def name(text: object) -> str:
    """Return a name from a file as one line of at most `LONGEST` characters, without control characters."""
    given = str(text)
    return without_middle(one_line(given if len(given) <= 2 * LONGEST else given[:LONGEST] + given[-LONGEST:]), LONGEST)


def without_middle(text: str, most: int) -> str:
    """Return text in at most `most` characters: the middle of a longer one is left out."""
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def markdown(text: object) -> str:
    """Return a name so that Markdown shows it as it is: no HTML, no link, no new column of a table."""
    return re.sub(r"([\\|<`]|\[(?=.*\]\())", r"\\\1", name(text))


def csv_cell(text: object) -> str:
    """Return a name for a cell of a CSV file. A spreadsheet does not read it as a formula."""
    shown = name(text)
    return f"'{shown}" if FORMULA.match(shown) and not _is_number(shown) else shown


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def command(*words: object) -> str:
    """Return a command of this program as a user can type it in a shell: words are quoted where it is necessary."""
    return f"{program()} {shell_words(*words)}"


def shell_words(*words: object) -> str:
    """Return words as a user can type them in a shell, quoted where it is necessary."""
    return " ".join(_shell_word(str(word)) for word in words)


def _shell_word(word: str) -> str:
    """Return a word for a shell; hidden characters in it are written as escapes, which bash and zsh read."""
    if plain(word) == word:
        return shlex.quote(word)
    return "$'" + "".join(each if _shows(each) and each not in "'\\" else _escape(each) for each in word) + "'"


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\U{code:08x}"  # a byte that is no UTF-8


def grid(lines: list[list[str]]) -> str:
    """Return an aligned Markdown table. The first line is the header."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    drawn = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([drawn[0], rule, *drawn[1:]])


def decimals(values: Iterable[float]) -> int:
    """Return the number of decimals for values of this size: 0 from 100 on, 1 from 10 on, else 2. NaN is ignored."""
    largest = max((abs(value) for value in values if not math.isnan(value)), default=0.0)
    return 0 if largest >= 100 else 1 if largest >= 10 else 2


def shown(value: float) -> str:
    """Return a number as text with one decimal, or with two if it is below 10."""
    return f"{value:.{max(1, decimals([value]))}f}"


def say(text: str) -> None:
    """Print lines without control characters, and flush the output. Commands in backticks become runnable.

    Raises OSError, which names the output, if it cannot be written.
    """
    with _output():
        print("\n".join(map(plain, runnable(text).split("\n"))), flush=True)


def flush() -> None:
    """Flush the output. Raises as `say`."""
    with _output():
        sys.stdout.flush()


@contextmanager
def _output() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, OUTPUT) from error


@functools.cache
def warn_once(line: str) -> None:
    """Print a line on stderr, the first time that it is given."""
    print(f"vgm2p: {plain(runnable(line))}", file=sys.stderr, flush=True)
