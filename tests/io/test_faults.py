"""The advice about a failed write or read fits its cause."""

import errno
import os

import pytest

from vgm2p.io.faults import as_user_error

ADVICE = {
    errno.EACCES: "fix permissions, or choose another out=",
    errno.ENOSPC: "free space, or choose another out=",
    errno.ENOTDIR: "choose another out=",
    errno.ENAMETOOLONG: "give a shorter name",
}


@pytest.mark.parametrize("code", ADVICE, ids=errno.errorcode.get)
def test_the_advice_fits_the_cause(code):
    found = as_user_error(OSError(code, os.strerror(code), "runs/x"))
    assert found.line == f"runs/x: {os.strerror(code)}; {ADVICE[code]}"
    assert found.exit_code == 74
