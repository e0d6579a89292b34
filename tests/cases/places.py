"""File systems that lack functions: a small library, loaded before libc, answers for them with errors."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int asked(const char *name) {  /* the error number in an environment variable; 0: none */
    const char *text = getenv(name);
    return text ? atoi(text) : 0;
}
static int fail(int number) { errno = number; return -1; }

int flock(int descriptor, int how) {
    int number = asked("NO_FLOCK");
    return number ? fail(number) : ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(descriptor, how);
}
int fsync(int descriptor) {
    struct stat found;
    int number = asked("NO_FOLDER_SYNC");
    if (number && fstat(descriptor, &found) == 0 && S_ISDIR(found.st_mode)) return fail(number);
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(descriptor);
}
int symlinkat(const char *target, int folder, const char *path) {
    int number = asked("NO_LINK");
    return number ? fail(number) : ((int (*)(const char *, int, const char *))dlsym(RTLD_NEXT, "symlinkat"))(target, folder, path);
}
int symlink(const char *target, const char *path) { return symlinkat(target, AT_FDCWD, path); }

static int fixed(const char *path) {  /* whether a path is below READ_ONLY */
    const char *folder = getenv("READ_ONLY");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}
#define OPENS(name) \
int name(const char *path, int flags, ...) { \
    va_list rest; va_start(rest, flags); int mode = va_arg(rest, int); va_end(rest); \
    if (fixed(path) && (flags & (O_WRONLY | O_RDWR | O_CREAT))) return fail(EROFS); \
    return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name))(path, flags, mode); \
}
OPENS(open)
OPENS(open64)
int mkdir(const char *path, mode_t mode) {
    struct stat found;
    if (fixed(path)) return fail(stat(path, &found) == 0 ? EEXIST : EROFS);
    return ((int (*)(const char *, mode_t))dlsym(RTLD_NEXT, "mkdir"))(path, mode);
}
int access(const char *path, int how) {
    if (fixed(path) && (how & W_OK)) return fail(EROFS);
    return ((int (*)(const char *, int))dlsym(RTLD_NEXT, "access"))(path, how);
}
"""


def variables(folder: Path, **answers: object) -> dict[str, str]:
    """Return the environment variables that load the library, with what it answers. Skips where no compiler is."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (folder / "places.c").write_text(SOURCE)
    library = folder / "places.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "places.c", "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(library), **{name: str(value) for name, value in answers.items()}}
