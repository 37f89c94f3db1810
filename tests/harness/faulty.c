/* A disk that fails on demand: preloaded into a process, it stands between it and libc for files below FAULT_FOLDER.
 *
 * FAULT_ORDER names a file. While it exists, its content says what fails: letters, a blank, and an errno.
 *   w  write     s  sync     t  truncate and extend     o  open for writing, create, rename, remove
 * Of the first write that has no room (ENOSPC), half of the bytes still fit, as on a real disk.
 * FAULT_KILL=N ends the process by SIGKILL at the N-th of these calls; a write is cut in half then. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

static atomic_long calls;
static atomic_int had_room;

static int below(const char *path) {
    const char *folder = getenv("FAULT_FOLDER");
    return folder && path && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* The errno that this kind of call has to fail with, or 0. */
static int ordered(char kind) {
    const char *name = getenv("FAULT_ORDER");
    if (!name) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, name, O_RDONLY, 0);
    if (fd < 0) return 0;
    char order[64] = {0};
    ssize_t length = syscall(SYS_read, fd, order, sizeof order - 1);
    syscall(SYS_close, fd);
    char *blank = length > 0 ? strchr(order, ' ') : NULL;
    if (!blank) return 0;
    *blank = 0;
    return strchr(order, kind) ? atoi(blank + 1) : 0;
}

static int is_last(void) {
    const char *limit = getenv("FAULT_KILL");
    return limit && atomic_fetch_add(&calls, 1) + 1 == atol(limit);
}

static int refuses(char kind) {
    if (is_last()) raise(SIGKILL);
    int why = ordered(kind);
    if (why) errno = why;
    return why;
}

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off64_t);

ssize_t write(int fd, const void *bytes, size_t count) {
    write_fn real = REAL(write_fn, "write");
    if (!is_ours(fd)) return real(fd, bytes, count);
    if (is_last()) {
        real(fd, bytes, count / 2);
        raise(SIGKILL);
    }
    int why = ordered('w');
    if (why == ENOSPC && count > 1 && !atomic_exchange(&had_room, 1)) return real(fd, bytes, count / 2);
    if (!why) return real(fd, bytes, count);
    errno = why;
    return -1;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    if (is_ours(fd) && refuses('w')) return -1;
    return REAL(pwrite_fn, "pwrite64")(fd, bytes, count, at);
}

int fsync(int fd) {
    if (is_ours(fd) && refuses('s')) return -1;
    return REAL(int (*)(int), "fsync")(fd);
}

int fdatasync(int fd) {
    if (is_ours(fd) && refuses('s')) return -1;
    return REAL(int (*)(int), "fdatasync")(fd);
}

int ftruncate64(int fd, off64_t length) {
    if (is_ours(fd) && refuses('t')) return -1;
    return REAL(int (*)(int, off64_t), "ftruncate64")(fd, length);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    if (flags & (O_WRONLY | O_RDWR | O_CREAT) && below(path) && refuses('o')) return -1;
    return REAL(int (*)(const char *, int, ...), "open64")(path, flags, mode);
}

int mkdir(const char *path, mode_t mode) {
    if (below(path) && refuses('o')) return -1;
    return REAL(int (*)(const char *, mode_t), "mkdir")(path, mode);
}

int rename(const char *from, const char *to) {
    if (below(to) && refuses('o')) return -1;
    return REAL(int (*)(const char *, const char *), "rename")(from, to);
}

int unlink(const char *path) {
    if (below(path) && refuses('o')) return -1;
    return REAL(int (*)(const char *), "unlink")(path);
}
