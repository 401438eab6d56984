/* The calls that glibc hides behind _GNU_SOURCE or has no name for. No logic. */
#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <linux/sockios.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* System call numbers by architecture-independent table (all architectures since 5.1). */
#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426
#define __NR_io_uring_register 427
#endif

int clinux_uring_setup(uint32_t entries, struct clinux_uring_params *p) {
  long r = syscall(__NR_io_uring_setup, entries, p);
  return r < 0 ? -errno : (int)r;
}

int clinux_uring_enter(int fd, uint32_t submit, uint32_t wait, uint32_t flags, const void *arg,
                       size_t size) {
  long r = syscall(__NR_io_uring_enter, fd, submit, wait, flags, arg, size);
  return r < 0 ? -errno : (int)r;
}

int clinux_uring_register(int fd, uint32_t op, const void *arg, uint32_t n) {
  long r = syscall(__NR_io_uring_register, fd, op, arg, n);
  return r < 0 ? -errno : (int)r;
}

int clinux_uring_ask(int fd, uint32_t op, void *arg, uint32_t n) {
  return clinux_uring_register(fd, op, arg, n);
}

ssize_t clinux_pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags) {
  return pwritev2(fd, v, n, off, flags);
}

int clinux_open(const char *path, int flags, uint32_t mode) { return open(path, flags, mode); }

int clinux_accept4(int fd, int flags) { return accept4(fd, NULL, NULL, flags); }

int clinux_fallocate(int fd, int64_t offset, int64_t length) {
  return fallocate(fd, 0, offset, length);
}

int clinux_pipe2(int *ends, int flags) { return pipe2(ends, flags); }

int clinux_unacknowledged(int fd) {
  int bytes = 0;
  return ioctl(fd, SIOCOUTQ, &bytes) == 0 ? bytes : -errno;
}

int clinux_pin_self(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

int clinux_affinity(uint64_t *words, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return -errno;
  for (int i = 0; i < count * 64 && i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &set)) words[i / 64] |= 1ull << (i % 64);
  return CPU_COUNT(&set);
}

int clinux_fork(void) { return fork(); }
int clinux_wexitstatus(int s) { return WIFEXITED(s) ? WEXITSTATUS(s) : -1; }
int clinux_wtermsig(int s) { return WIFSIGNALED(s) ? WTERMSIG(s) : 0; }
void clinux_name_self(const char *name) { pthread_setname_np(pthread_self(), name); }
