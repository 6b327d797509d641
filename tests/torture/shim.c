/* What a program asks of files below watched folders: counted, told, refused, or its end. Loaded before the C library.

   Only a process that has called torture_arm is looked at, and neither its children. An operation is counted where its
   kind is in the mask; the one with the number that was asked for meets the fault. */
#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { CREATE = 1, WRITE = 2, SYNC = 4, RENAME = 8, UNLINK = 16, MKDIR = 32, RMDIR = 64, LINK = 128, TRUNCATE = 256,
       TIMES = 512, OPEN = 1024, READ = 2048, LOOK = 4096, LIST = 8192, LOCK = 16384 };
enum { COUNT, KILL, KILL_IN_WRITE, REFUSE, REFUSE_ON, SHORT, CALL, SHIFT, REFUSE_SOME };
#define FILES 4096

static struct { int armed, action, code, mask, ask, answer; long at; char folders[4][PATH_MAX]; int many; } plan;
static atomic_long done, met;
static unsigned long long state;  /* of the dice */
static atomic_char watched[FILES];
static int log_to = -1;
static long long clock_shift;  /* seconds */
static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

void torture_arm(int action, long at, int code, int mask, int ask, int answer) {
    plan.action = action; plan.at = at; plan.code = code; plan.mask = mask; plan.ask = ask; plan.answer = answer;
    atomic_store(&done, 0);
    atomic_store(&met, 0);
    state = at * 2654435761u + 88172645463325252ull;
    plan.armed = getpid();
}
void torture_disarm(void) { plan.armed = 0; }
void torture_watch(const char *folder) { if (plan.many < 4) snprintf(plan.folders[plan.many++], PATH_MAX, "%s", folder); }
void torture_watch_nothing(void) { plan.many = 0; }
long torture_done(void) { return atomic_load(&done); }
long torture_met(void) { return atomic_load(&met); }
void torture_log(int handle) { log_to = handle; }

static int armed(void) { return plan.armed && plan.armed == getpid(); }

static int below(int folder, const char *path, char *whole) {
    char name[64];
    whole[0] = 0;
    if (path[0] != '/') {
        ssize_t size;
        if (folder == AT_FDCWD) { if (!getcwd(whole, PATH_MAX)) return 0; }
        else {
            snprintf(name, sizeof name, "/proc/self/fd/%d", folder);
            if ((size = readlink(name, whole, PATH_MAX - 1)) < 0) return 0;
            whole[size] = 0;
        }
        size_t used = strlen(whole);
        snprintf(whole + used, PATH_MAX - used, "/%s", path);
    } else snprintf(whole, PATH_MAX, "%s", path);
    for (int i = 0; i < plan.many; i++) {
        size_t size = strlen(plan.folders[i]);
        if (!strncmp(whole, plan.folders[i], size) && (whole[size] == '/' || !whole[size])) return 1;
    }
    return 0;
}

static void out(const void *data, size_t size) {
    const char *at = data;
    while (size) { long n = syscall(SYS_write, log_to, at, size); if (n <= 0) abort(); at += n; size -= n; }
}
/* A line of what was done: kind, number of the file, place, size, two names; then the bytes. */
static void tell(int kind, uint64_t file, long long place, const void *data, size_t size, const char *one, const char *other) {
    if (log_to < 0) return;
    struct { uint32_t kind; uint32_t one, other, pad; uint64_t file; int64_t place; uint64_t size; } head =
        { kind, one ? strlen(one) : 0, other ? strlen(other) : 0, 0, file, place, data ? size : 0 };
    out(&head, sizeof head);
    if (one) out(one, head.one);
    if (other) out(other, head.other);
    if (data) out(data, size);
}
static uint64_t number_of(int handle) { struct stat s; return syscall(SYS_fstat, handle, &s) ? 0 : s.st_ino; }

/* 0: go on; an error number; -1: a part of the write, then the end; -2: a part of the write. */
static int fate(int kind) {
    if (!(plan.mask & kind)) return 0;
    long now = atomic_fetch_add(&done, 1) + 1;
    if (plan.action == REFUSE_SOME) {  /* one in so many, by Marsaglia's xorshift; the code is in the lower bits */
        state ^= state << 13; state ^= state >> 7; state ^= state << 17;
        if (state % (plan.code >> 8)) return 0;
        atomic_fetch_add(&met, 1);
        return plan.code & 255;
    }
    if (now < plan.at || plan.action == COUNT || (now > plan.at && plan.action != REFUSE_ON && plan.action != SHORT)) return 0;
    atomic_fetch_add(&met, 1);
    switch (plan.action) {
    case KILL: kill(getpid(), SIGKILL); for (;;) pause();
    case KILL_IN_WRITE: if (kind == WRITE) return -1; kill(getpid(), SIGKILL); for (;;) pause();
    case REFUSE: case REFUSE_ON: return plan.code;
    case SHORT: return now == plan.at ? (kind == WRITE ? -2 : plan.code) : plan.code;
    case SHIFT: clock_shift += plan.code; return 0;
    case CALL: { char c = 0; long n = syscall(SYS_write, plan.ask, &c, 1); n = syscall(SYS_read, plan.answer, &c, 1); (void)n; return 0; }
    }
    return 0;
}
#define MEET(kind) do { int met_ = fate(kind); if (met_ > 0) { errno = met_; return -1; } } while (0)
#define MEET_NULL(kind) do { int met_ = fate(kind); if (met_ > 0) { errno = met_; return NULL; } } while (0)
#define HOLD int held_ = log_to >= 0; if (held_) pthread_mutex_lock(&telling)
#define LET if (held_) pthread_mutex_unlock(&telling)

static void mark(int handle, int value) { if (handle >= 0 && handle < FILES) atomic_store(&watched[handle], value); }
static int is_watched(int handle) { return handle >= 0 && handle < FILES && atomic_load(&watched[handle]) && armed(); }

static int opened(int folder, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!armed() || !path || !below(folder, path, whole)) {
        int handle = syscall(SYS_openat, folder, path, flags, mode);
        mark(handle, 0);
        return handle;
    }
    struct stat s;
    int is_new = (flags & O_CREAT) && fstatat(AT_FDCWD, whole, &s, AT_SYMLINK_NOFOLLOW);
    int writes = is_new || (flags & O_TRUNC);
    MEET(writes ? CREATE : OPEN);
    HOLD;
    int handle = syscall(SYS_openat, folder, path, flags, mode);
    if (handle >= 0 && writes) tell(CREATE, number_of(handle), is_new, NULL, 0, whole, NULL);
    LET;
    mark(handle, 1);
    return handle;
}
#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, int); va_end(more); }
int open(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE return opened(folder, path, flags, mode); }
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

static ssize_t written(int handle, const void *data, size_t size, off_t place) {
    if (!is_watched(handle))
        return place < 0 ? syscall(SYS_write, handle, data, size) : syscall(SYS_pwrite64, handle, data, size, place);
    int met = fate(WRITE);
    if (met > 0) { errno = met; return -1; }
    if (met < 0 && size > 1) size /= 2;
    HOLD;
    long long where = place;
    if (place < 0) {
        struct stat s;
        where = fcntl(handle, F_GETFL) & O_APPEND ? (fstat(handle, &s), s.st_size) : lseek(handle, 0, SEEK_CUR);
    }
    ssize_t n = place < 0 ? syscall(SYS_write, handle, data, size) : syscall(SYS_pwrite64, handle, data, size, place);
    if (n > 0) tell(WRITE, number_of(handle), where, data, n, NULL, NULL);
    LET;
    if (met == -1) { kill(getpid(), SIGKILL); for (;;) pause(); }
    return n;
}
ssize_t write(int handle, const void *data, size_t size) { return written(handle, data, size, -1); }
ssize_t pwrite(int handle, const void *data, size_t size, off_t place) { return written(handle, data, size, place); }
ssize_t pwrite64(int handle, const void *data, size_t size, off64_t place) { return written(handle, data, size, place); }
ssize_t writev(int handle, const struct iovec *parts, int count) {
    if (!is_watched(handle)) return syscall(SYS_writev, handle, parts, count);
    ssize_t all = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = written(handle, parts[i].iov_base, parts[i].iov_len, -1);
        if (n < 0) return all ? all : -1;
        all += n;
        if ((size_t)n < parts[i].iov_len) break;
    }
    return all;
}
/* Refused, so that copying falls back to reading and writing, which are seen. */
ssize_t sendfile(int to, int from, off_t *place, size_t size) {
    if (is_watched(to)) { errno = EINVAL; return -1; }
    return syscall(SYS_sendfile, to, from, place, size);
}
ssize_t sendfile64(int to, int from, off64_t *place, size_t size) { return sendfile(to, from, place, size); }
ssize_t copy_file_range(int from, off64_t *a, int to, off64_t *b, size_t size, unsigned flags) {
    if (is_watched(to)) { errno = EXDEV; return -1; }
    return syscall(SYS_copy_file_range, from, a, to, b, size, flags);
}
ssize_t read(int handle, void *data, size_t size) {
    if (is_watched(handle)) MEET(READ);
    return syscall(SYS_read, handle, data, size);
}
ssize_t pread(int handle, void *data, size_t size, off_t place) {
    if (is_watched(handle)) MEET(READ);
    return syscall(SYS_pread64, handle, data, size, place);
}
ssize_t pread64(int handle, void *data, size_t size, off64_t place) { return pread(handle, data, size, place); }

static int synced(int handle, int call) {
    if (!is_watched(handle)) return syscall(call, handle);
    MEET(SYNC);
    HOLD;
    int n = syscall(call, handle);
    if (!n) {
        char link[64], whole[PATH_MAX] = "";
        snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
        ssize_t size = readlink(link, whole, PATH_MAX - 1);
        if (size > 0) whole[size] = 0;
        tell(SYNC, number_of(handle), 0, NULL, 0, whole, NULL);
    }
    LET;
    return n;
}
int fsync(int handle) { return synced(handle, SYS_fsync); }
int fdatasync(int handle) { return synced(handle, SYS_fdatasync); }

static int cut(int handle, off_t size) {
    if (!is_watched(handle)) return syscall(SYS_ftruncate, handle, size);
    MEET(TRUNCATE);
    HOLD;
    int n = syscall(SYS_ftruncate, handle, size);
    if (!n) tell(TRUNCATE, number_of(handle), size, NULL, 0, NULL, NULL);
    LET;
    return n;
}
int ftruncate(int handle, off_t size) { return cut(handle, size); }
int ftruncate64(int handle, off64_t size) { return cut(handle, size); }

static int call_has_other(const char *other) { return other != NULL; }
#define ON_PATHS(kind, folder, path, other_folder, other, call, as_told) \
    char one[PATH_MAX], two[PATH_MAX]; \
    if (!armed() || !below(folder, path, one)) return call; \
    two[0] = 0; if (call_has_other(other)) below(other_folder, other, two); \
    MEET(kind); HOLD; int n = call; if (!n) tell(kind, 0, as_told, NULL, 0, one, two); LET; return n

static int renamed(int a, const char *from, int b, const char *to, unsigned flags) {
    ON_PATHS(RENAME, a, from, b, to, (int)syscall(SYS_renameat2, a, from, b, to, flags), 0);
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }
static int removed(int a, const char *path, int flags) {
    const char *none = NULL;
    ON_PATHS((flags & AT_REMOVEDIR ? RMDIR : UNLINK), a, path, a, none, (int)syscall(SYS_unlinkat, a, path, flags), 0);
}
int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int a, const char *path, int flags) { return removed(a, path, flags); }
int remove(const char *path) { struct stat s; return removed(AT_FDCWD, path, !lstat(path, &s) && S_ISDIR(s.st_mode) ? AT_REMOVEDIR : 0); }
int mkdirat(int a, const char *path, mode_t mode) {
    const char *none = NULL;
    ON_PATHS(MKDIR, a, path, a, none, (int)syscall(SYS_mkdirat, a, path, mode), 0);
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    char seen[PATH_MAX];
    if (armed() && below(b, to, seen) && !below(a, from, seen)) { errno = EXDEV; return -1; }
    ON_PATHS(LINK, a, from, b, to, (int)syscall(SYS_linkat, a, from, b, to, flags), 0);
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

#define LOOKED(path) do { char whole_[PATH_MAX]; if (armed() && (plan.mask & LOOK) && path && below(AT_FDCWD, path, whole_)) MEET(LOOK); } while (0)
int stat(const char *path, struct stat *s) { LOOKED(path); return syscall(SYS_newfstatat, AT_FDCWD, path, s, 0); }
int lstat(const char *path, struct stat *s) { LOOKED(path); return syscall(SYS_newfstatat, AT_FDCWD, path, s, AT_SYMLINK_NOFOLLOW); }
int stat64(const char *path, struct stat64 *s) { LOOKED(path); return syscall(SYS_newfstatat, AT_FDCWD, path, s, 0); }
int lstat64(const char *path, struct stat64 *s) { LOOKED(path); return syscall(SYS_newfstatat, AT_FDCWD, path, s, AT_SYMLINK_NOFOLLOW); }
struct __dirstream;
struct __dirstream *opendir(const char *path) {
    static struct __dirstream *(*real)(const char *);
    if (!real) real = dlsym(RTLD_NEXT, "opendir");
    char whole[PATH_MAX];
    if (armed() && below(AT_FDCWD, path, whole)) MEET_NULL(LIST);
    return real(path);
}
int statvfs(const char *path, struct statvfs *s) {
    REAL(statvfs);
    LOOKED(path);
    return real(path, s);
}
int flock(int handle, int operation) {
    if (is_watched(handle)) MEET(LOCK);
    return syscall(SYS_flock, handle, operation);
}
int close(int handle) { mark(handle, 0); return syscall(SYS_close, handle); }

int clock_gettime(clockid_t which, struct timespec *when) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int n = real(which, when);
    if (!n && which == CLOCK_REALTIME) when->tv_sec += clock_shift;
    return n;
}
time_t time(time_t *when) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (when) *when = now.tv_sec;
    return now.tv_sec;
}
