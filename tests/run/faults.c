/* Preloaded into a process: counts its calls that change files below one folder, and makes one of them fail or the last.

   faults_arm(folder, point, mode, number, log) begins the count. Mode 0 counts; 1: call `point` (from 1) fails with errno
   `number`; 2: it is done, then the process is killed; 3: half of a write is done, then the process is killed.
   With a log, the name and the path of every call are appended to that file. Children that call exec are not armed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, FAIL, KILL, TEAR };
static char folder[PATH_MAX];
static int target, mode, number, log_file = -1, armed;
static atomic_int calls;

void faults_arm(const char *below, int point, int how, int error, const char *log) {
    snprintf(folder, sizeof folder, "%s", below);
    target = point, mode = how, number = error;
    if (log && *log) log_file = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    atomic_store(&calls, 0);
    armed = 1;
}

static void die(void) { syscall(SYS_kill, syscall(SYS_getpid), SIGKILL); pause(); }

static int below(const char *path) { return strncmp(path, folder, strlen(folder)) == 0; }

/* Count a call on a path. Return 1 if it must fail; set *last if it is to be the last. */
static int meets(const char *call, const char *path, int *last) {
    *last = 0;
    if (!armed || !below(path)) return 0;
    int mine = atomic_fetch_add(&calls, 1) + 1;
    if (log_file >= 0) {
        char line[PATH_MAX + 64];
        int size = snprintf(line, sizeof line, "%s %s\n", call, path + strlen(folder));
        syscall(SYS_write, log_file, line, size);
    }
    if (mine != target || mode == COUNT) return 0;
    if (mode == FAIL) { errno = number; return 1; }
    *last = 1;
    return 0;
}

static void absolute(int at, const char *path, char *found) {
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        if (at == AT_FDCWD) { if (!getcwd(base, sizeof base)) base[0] = 0; }
        else {
            char link[64];
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            ssize_t size = readlink(link, base, sizeof base - 1);
            base[size > 0 ? size : 0] = 0;
        }
        snprintf(found, PATH_MAX, "%.2000s/%.2000s", base, path);
    } else snprintf(found, PATH_MAX, "%s", path);
}

static void of_descriptor(int file, char *found) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, found, PATH_MAX - 1);
    found[size > 0 ? size : 0] = 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define ON_PATH(kind, at, path, failed, call)                   \
    char found_[PATH_MAX]; int last_;                           \
    if (!armed) return call;                                    \
    absolute(at, path, found_);                                 \
    if (meets(kind, found_, &last_)) return failed;             \
    __typeof__(call) result_ = call;                            \
    if (last_) die();                                           \
    return result_;

static int writes(int flags) { return (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); }

#define OPEN(name, parameters, at, arguments)                                            \
    int name parameters {                                                                \
        va_list rest; va_start(rest, flags); mode_t bits = va_arg(rest, mode_t); va_end(rest); \
        if (!writes(flags)) return REAL(name) arguments;                                 \
        ON_PATH("open", at, path, -1, REAL(name) arguments)                              \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, bits))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, bits))
OPEN(openat, (int at, const char *path, int flags, ...), at, (at, path, flags, bits))
OPEN(openat64, (int at, const char *path, int flags, ...), at, (at, path, flags, bits))

#define FOPEN(name)                                                          \
    FILE *name(const char *path, const char *how) {                          \
        if (!strpbrk(how, "wa+")) return REAL(name)(path, how);              \
        ON_PATH("open", AT_FDCWD, path, NULL, REAL(name)(path, how))         \
    }
FOPEN(fopen)
FOPEN(fopen64)

#define WRITE(name, parameters, whole, half)                    \
    ssize_t name parameters {                                   \
        char found_[PATH_MAX]; int last_;                       \
        if (!armed) return REAL(name) whole;                    \
        of_descriptor(file, found_);                            \
        if (meets("write", found_, &last_)) return -1;          \
        ssize_t done = last_ && mode == TEAR ? REAL(name) half : REAL(name) whole; \
        if (last_) die();                                       \
        return done;                                            \
    }
WRITE(write, (int file, const void *data, size_t size), (file, data, size), (file, data, size / 2))
WRITE(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at), (file, data, size / 2, at))
WRITE(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at), (file, data, size / 2, at))
WRITE(writev, (int file, const struct iovec *parts, int count), (file, parts, count), (file, parts, count / 2))

#define ON_FILE(name, kind, parameters, arguments)              \
    int name parameters {                                       \
        char found_[PATH_MAX]; int last_;                       \
        if (!armed) return REAL(name) arguments;                \
        of_descriptor(file, found_);                            \
        if (meets(kind, found_, &last_)) return -1;             \
        int result_ = REAL(name) arguments;                     \
        if (last_) die();                                       \
        return result_;                                         \
    }
ON_FILE(fsync, "fsync", (int file), (file))
ON_FILE(fdatasync, "fsync", (int file), (file))
ON_FILE(ftruncate, "truncate", (int file, off_t size), (file, size))
ON_FILE(ftruncate64, "truncate", (int file, off64_t size), (file, size))

int rename(const char *from, const char *to) { ON_PATH("rename", AT_FDCWD, to, -1, REAL(rename)(from, to)) }
int renameat(int a, const char *from, int b, const char *to) { ON_PATH("rename", b, to, -1, REAL(renameat)(a, from, b, to)) }
int link(const char *from, const char *to) { ON_PATH("link", AT_FDCWD, to, -1, REAL(link)(from, to)) }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    ON_PATH("link", b, to, -1, REAL(linkat)(a, from, b, to, flags))
}
int symlink(const char *to, const char *path) { ON_PATH("symlink", AT_FDCWD, path, -1, REAL(symlink)(to, path)) }
int unlink(const char *path) { ON_PATH("unlink", AT_FDCWD, path, -1, REAL(unlink)(path)) }
int unlinkat(int at, const char *path, int flags) { ON_PATH("unlink", at, path, -1, REAL(unlinkat)(at, path, flags)) }
int mkdir(const char *path, mode_t bits) { ON_PATH("mkdir", AT_FDCWD, path, -1, REAL(mkdir)(path, bits)) }
int rmdir(const char *path) { ON_PATH("rmdir", AT_FDCWD, path, -1, REAL(rmdir)(path)) }
