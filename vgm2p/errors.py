"""Errors that a user can cause: one line, an exit code, no traceback."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from vgm2p.io.shell import as_typed, runnable
from vgm2p.io.text import plain, without_middle

PREFIX = "vgm2p: "  # of every printed line
MAX_LINE = 200 - len(PREFIX)
CLOSE = 0.7  # likeness of two words (difflib) from which one is taken for a misspelling of the other
SHORT_LIST, NEAREST_LIST = 90, 150  # characters of the words that a hint lists
LAST_COMMAND = re.compile(r"`[^`]*\b(?:vgm2p|pip|make) [^`]*`[^`]*$")
LEAST_REST = 100  # characters that stay of the text before a long command


class UserError(Exception):
    """An error of one line: what is wrong, where, and how to fix it. The process ends with `exit_code`.

    Args:
        line: the message. Commands in backticks become runnable (`vgm2p.io.shell`).
        command: a command that the user can type next. It ends the line and is never shortened.
    """

    exit_code = 2

    def __init__(self, line: str, command: str = "") -> None:
        super().__init__(runnable(" ".join(str(line).split())))
        self.command = as_typed(command)

    def __str__(self) -> str:
        """Return `line`."""
        return self.line

    @property
    def line(self) -> str:
        """The message in at most `MAX_LINE` characters, then the command.

        Of a longer message, the first folders of paths are left out, and then the middle. So the advice stays.
        """
        text = _shortened(plain(_shortened(self.args[0])))  # shortened first, because a file may hold a very long name
        return f"{text} {self.command}" if self.command else text


def _shortened(text: str) -> str:
    """Leave out the heads of long paths first, then the middle of the text before its last command."""
    paths = [word for word in text.split() if word.startswith("/") and word.count("/") > 1]
    for path in sorted(paths, key=len, reverse=True):
        excess = len(text) - MAX_LINE
        if excess > 0:
            head, name = path.rsplit("/", 1)
            kept = max(0, len(head) - excess - len("..."))
            text = text.replace(path, f"...{head[len(head) - kept :]}/{name}", 1)
    found = LAST_COMMAND.search(text)
    advice = found[0] if found and len(found[0]) <= 2 * MAX_LINE else ""
    return without_middle(text.removesuffix(advice), max(MAX_LINE - len(advice), LEAST_REST)) + advice


class ConfigError(UserError):
    """Wrong usage or configuration."""

    exit_code = 2


class DataError(UserError):
    """A file exists but its content is wrong or damaged."""

    exit_code = 65


class MissingInput(UserError):
    """A required file, package or dataset is missing."""

    exit_code = 66


class ServiceError(UserError):
    """A download failed, or an external program or simulator does not work."""

    exit_code = 69


class StorageError(UserError):
    """Writing failed: no space, no permission, folder in use."""

    exit_code = 74


class Diverged(UserError):
    """A seed has no result: a loss or an action of it was not finite. The results of the other seeds are written."""

    exit_code = 70


class OutOfMemory(UserError):
    """The memory of the machine, of the job or of the GPU was too small."""

    exit_code = 71


class Interrupted(BaseException):
    """A signal stopped the command. The process ends with `exit_code`, 128 + signal number (SIGTERM: 143).

    It is no `Exception`: libraries that turn every error into one of their own must not turn this one.

    Args:
        signum: number of the signal.
        line: what the command has saved, and how it goes on.
    """

    def __init__(self, signum: int, line: str) -> None:
        super().__init__(line)
        self.line = line
        self.exit_code = 128 + signum


def out_of_memory(error: BaseException) -> bool:
    """Return whether Python, numpy, torch or CUDA raised `error` because the memory is too small."""
    words = ("defaultcpuallocator", "out of memory", "not enough memory", "cannot allocate memory", "bad_alloc")
    text = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | OSError) and any(word in text for word in words)
    )


def nearest(word: str, known: Iterable[str], every: str = "") -> str:
    """Return the hint about an unknown word: `; did you mean 'x'?` if the known word x is close to it.

    Otherwise a short list of all known words, or the three nearest, and the command `every` that lists all.
    """
    words = sorted(set(known))
    close = difflib.get_close_matches(word, words, n=2, cutoff=CLOSE) or [
        each for each in words if _one_letter_apart(word, each) or (each.startswith(word) and len(word) > 2)
    ]
    if len(close) == 1 or (close and _likeness(word, close[0]) > _likeness(word, close[1])):
        return f"; did you mean '{close[0]}'?"
    if len(", ".join(words)) <= SHORT_LIST or not words:
        return f"; known: {', '.join(words)}" if words else ""
    all_of_them = runnable(f"; `{every}` lists all") if every else ""
    best = sorted(words, key=lambda each: _likeness(word, each), reverse=True)[:3]
    while len(best) > 1 and len(", ".join(best)) > NEAREST_LIST - len(all_of_them):
        best.pop()
    return f"; nearest: {', '.join(best)}{all_of_them}"


def _one_letter_apart(word: str, known: str) -> bool:
    return len(word) == len(known) and sum(a != b for a, b in zip(word, known, strict=True)) == 1


def _likeness(word: str, known: str) -> float:
    """Return how much two words have in common; a word that is a part of the other comes first."""
    part = word in known or known in word
    return part + difflib.SequenceMatcher(None, word, known).ratio()


class RolloutStopped(Exception):
    """The user stopped the command during a rollout. Unfinished episodes are discarded."""
