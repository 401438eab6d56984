/* The calls that glibc hides behind _GNU_SOURCE or has no name for. No logic. */
#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/perf_event.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
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

int clinux_openat(int directory, const char *path, int flags, uint32_t mode) {
  return openat(directory, path, flags, mode);
}

int clinux_accept4(int fd, int flags) { return accept4(fd, NULL, NULL, flags); }
int clinux_accept4_from(int fd, void *address, unsigned *length, int flags) {
  return accept4(fd, address, length, flags);
}

int clinux_fallocate(int fd, int mode, int64_t offset, int64_t length) {
  return fallocate(fd, mode, offset, length);
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

ssize_t clinux_receive(int fd, void *buffer, size_t size, int flags) {
  long r = syscall(SYS_recvfrom, fd, buffer, size, flags, NULL, NULL);
  return r < 0 ? -errno : r;
}

ssize_t clinux_send(int fd, const void *bytes, size_t count, int flags) {
  long r = syscall(SYS_sendto, fd, bytes, count, flags, NULL, 0);
  return r < 0 ? -errno : r;
}

ssize_t clinux_send_message(int fd, const struct msghdr *message, int flags) {
  long r = syscall(SYS_sendmsg, fd, message, flags);
  return r < 0 ? -errno : r;
}

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

int clinux_set_affinity(const uint64_t *words, int count) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < count * 64 && i < CPU_SETSIZE; i++)
    if (words[i / 64] & (1ull << (i % 64))) CPU_SET(i, &set);
  return sched_setaffinity(0, sizeof set, &set) == 0 ? 0 : -errno;
}

/* Only async-signal-safe calls from here to execve: the child of a process with threads may hold
 * locks that nobody will release. */
static int become(const struct clinux_launch *s, pid_t parent) {
  if (s->new_session)
    setsid();
  else
    setpgid(0, 0);
  if (s->death_signal && prctl(PR_SET_PDEATHSIG, s->death_signal) != 0) return errno;
  /* The parent may have ended before prctl. */
  if (getppid() != parent) return ESRCH;
  if (s->cpu_words && clinux_set_affinity(s->cpus, s->cpu_words) != 0) return EINVAL;
  if (s->directory && chdir(s->directory) != 0) return errno;
  int null = open("/dev/null", O_RDONLY);
  if (null < 0 || dup2(null, 0) < 0 || dup2(s->output, 1) < 0 || dup2(s->output, 2) < 0)
    return errno;
  if (null > 2) close(null);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  execve(s->argv[0], (char *const *)s->argv, s->environment ? (char *const *)s->environment : environ);
  return errno;
}

int clinux_spawn(const struct clinux_launch *s) {
  int report[2];
  if (pipe2(report, O_CLOEXEC) != 0) return -errno;
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid == 0) {
    int why = become(s, parent);
    ssize_t ignored = write(report[1], &why, sizeof why);
    (void)ignored;
    _exit(127);
  }
  int failure = pid < 0 ? errno : 0;
  close(report[1]);
  if (pid > 0) {
    int why;
    ssize_t got;
    do got = read(report[0], &why, sizeof why);
    while (got < 0 && errno == EINTR);
    if (got == sizeof why) {
      failure = why;
      while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
    }
  }
  close(report[0]);
  return failure ? -failure : (int)pid;
}

int64_t clinux_file_system(const char *path) {
  struct statfs facts;
  return statfs(path, &facts) == 0 ? (int64_t)(uint32_t)facts.f_type : -errno;
}

int clinux_count_tracepoint(uint64_t tracepoint, int thread) {
  struct perf_event_attr a = {.type = PERF_TYPE_TRACEPOINT,
                              .size = sizeof a,
                              .config = tracepoint,
                              .inherit = 1};
  long r = syscall(CLINUX_NUMBER(perf_event_open), &a, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
  return r < 0 ? -errno : (int)r;
}

int clinux_count_instructions(int thread) {
  struct perf_event_attr a = {.type = PERF_TYPE_HARDWARE,
                              .size = sizeof a,
                              .config = PERF_COUNT_HW_INSTRUCTIONS,
                              .inherit = 1};
  long r = syscall(CLINUX_NUMBER(perf_event_open), &a, thread, -1, -1, PERF_FLAG_FD_CLOEXEC);
  return r < 0 ? -errno : (int)r;
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

void clinux_timer_slack(unsigned long nanoseconds) { prctl(PR_SET_TIMERSLACK, nanoseconds); }

/* F_SEAL_FUTURE_WRITE of linux/fcntl.h (Linux 5.1), which glibc's fcntl.h has only since 2.31. */
static const int CLINUX_SEAL_FUTURE_WRITE = 0x0010;

int clinux_memory_file(const char *name) {
  return memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
}

int clinux_is_unsealed(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  /* F_SEAL_EXEC may be there by vm.memfd_noexec. */
  const int ours =
      F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | CLINUX_SEAL_FUTURE_WRITE;
  return seals >= 0 && (seals & ours) == 0;
}

int clinux_seal(int descriptor) {
  const int size = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (fcntl(descriptor, F_ADD_SEALS, size | CLINUX_SEAL_FUTURE_WRITE) == 0) return 0;
  return errno == EINVAL ? fcntl(descriptor, F_ADD_SEALS, size) : -1;
}

int clinux_is_sealed(int descriptor) {
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && (seals & F_SEAL_SHRINK) != 0;
}
