/* The calls that glibc hides behind _GNU_SOURCE or has no name for. No logic. */
#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

int clinux_uring_setup(uint32_t entries, struct clinux_uring_params *p) {
  long r = syscall(CLINUX_NUMBER(io_uring_setup), entries, p);
  return r < 0 ? -errno : (int)r;
}

int clinux_uring_enter(int fd, uint32_t submit, uint32_t wait, uint32_t flags, const void *arg,
                       size_t size) {
  long r = syscall(CLINUX_NUMBER(io_uring_enter), fd, submit, wait, flags, arg, size);
  return r < 0 ? -errno : (int)r;
}

int clinux_uring_register(int fd, uint32_t op, const void *arg, uint32_t n) {
  long r = syscall(CLINUX_NUMBER(io_uring_register), fd, op, arg, n);
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

int clinux_set_pipe_size(int fd, int bytes) {
  int r = fcntl(fd, F_SETPIPE_SZ, bytes);
  return r < 0 ? -errno : r;
}

ssize_t clinux_splice(int in, int out, size_t count, unsigned flags) {
  ssize_t r = splice(in, NULL, out, NULL, count, flags);
  return r < 0 ? -errno : r;
}

int clinux_statx_call(int fd, const char *path, struct clinux_statx *out) {
  /* STATX_BASIC_STATS | STATX_DIOALIGN */
  unsigned mask = 0x7ff | 0x2000;
  int flags = path ? 0 : AT_EMPTY_PATH;
  long r = syscall(CLINUX_NUMBER(statx), path ? AT_FDCWD : fd, path ? path : "", flags, mask, out);
  return r < 0 ? -errno : (int)r;
}

ssize_t clinux_preadv(int fd, const struct iovec *v, int n, off_t off) {
  return preadv(fd, v, n, off);
}

int clinux_epoll_wait(int fd, struct epoll_event *events, int n, int64_t nanoseconds) {
  struct timespec t = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
  long r = syscall(CLINUX_NUMBER(epoll_pwait2), fd, events, n, nanoseconds < 0 ? NULL : &t, NULL, 0);
  return r < 0 ? -errno : (int)r;
}

/* ioctl_eventpoll(2), 6.9 */
int clinux_epoll_set(int fd, const struct clinux_epoll_params *p) {
  return ioctl(fd, _IOW(0x8A, 0x01, struct clinux_epoll_params), p) < 0 ? -errno : 0;
}

int clinux_epoll_get(int fd, struct clinux_epoll_params *p) {
  return ioctl(fd, _IOR(0x8A, 0x02, struct clinux_epoll_params), p) < 0 ? -errno : 0;
}

_Static_assert(sizeof(struct clinux_mmsghdr) == sizeof(struct mmsghdr), "struct mmsghdr");

int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned count) {
  int r = recvmmsg(fd, (struct mmsghdr *)messages, count, MSG_DONTWAIT, NULL);
  return r < 0 ? -errno : r;
}

int clinux_reuseport_by_cpu(int fd, uint32_t count) {
  struct sock_filter code[] = {
      {BPF_LD | BPF_W | BPF_ABS, 0, 0, SKF_AD_OFF + SKF_AD_CPU},
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, count},
      {BPF_RET | BPF_A, 0, 0, 0},
  };
  struct sock_fprog program = {.len = 3, .filter = code};
  return setsockopt(fd, SOL_SOCKET, CLINUX_SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) < 0
             ? -errno
             : 0;
}

size_t clinux_put_segment_size(void *control, uint16_t bytes) {
  struct msghdr m = {.msg_control = control, .msg_controllen = CMSG_SPACE(sizeof bytes)};
  memset(control, 0, m.msg_controllen);
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = IPPROTO_UDP;
  c->cmsg_type = CLINUX_UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof bytes);
  memcpy(CMSG_DATA(c), &bytes, sizeof bytes);
  return m.msg_controllen;
}

int clinux_find_segment_size(void *control, size_t length) {
  struct msghdr m = {.msg_control = control, .msg_controllen = length};
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != IPPROTO_UDP || c->cmsg_type != CLINUX_UDP_GRO) continue;
    int bytes;
    memcpy(&bytes, CMSG_DATA(c), sizeof bytes);
    return bytes;
  }
  return -1;
}

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

int clinux_affinity(uint64_t *words, int count) { return clinux_affinity_of(0, words, count); }

int clinux_affinity_of(int thread, uint64_t *words, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(thread, sizeof set, &set) != 0) return -errno;
  for (int i = 0; i < count * 64 && i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &set)) words[i / 64] |= 1ull << (i % 64);
  return CPU_COUNT(&set);
}

_Static_assert(sizeof(struct sock_filter) == 8, "struct sock_filter");

int clinux_filter_calls(const uint64_t *instructions, uint16_t count) {
  struct sock_fprog program = {.len = count, .filter = (struct sock_filter *)instructions};
  /* Without new privileges whoever is not privileged may filter too, seccomp(2). */
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return -errno;
  return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0 ? -errno : 0;
}

int clinux_fork(void) { return fork(); }
int clinux_wexitstatus(int s) { return WIFEXITED(s) ? WEXITSTATUS(s) : -1; }
int clinux_wtermsig(int s) { return WIFSIGNALED(s) ? WTERMSIG(s) : 0; }
void clinux_name_self(const char *name) { pthread_setname_np(pthread_self(), name); }
