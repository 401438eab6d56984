/* What a process needs at its two ends: its arguments and standard descriptors, and the end by a crash. */
#define _GNU_SOURCE 1
#include "CLinux.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* MARK: The start */

static int argument_count;
static char **argument_values;

/* glibc calls constructors with main's arguments. Swift's own way to them is /proc/self/cmdline, which
 * is empty where /proc is not mounted. */
__attribute__((constructor)) static void keep_arguments(int count, char **values, char **environment) {
  (void)environment;
  argument_count = count;
  argument_values = values;
}

int clinux_argument_count(void) { return argument_count; }

const char *clinux_argument(int index) { return argument_values[index]; }

void clinux_open_standard(void) {
  for (int fd = 0; fd <= 2; fd++) {
    if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF) continue;
    /* The lowest free number is this one. */
    int null = open("/dev/null", O_RDWR);
    /* Without /dev: a descriptor of which every read and write fails, but which takes the number. */
    if (null < 0) null = open("/", O_PATH | O_DIRECTORY);
    if (null < 0) return;
  }
}

/* MARK: Signals as a descriptor */

int clinux_signalfd(uint64_t signals) {
  sigset_t set;
  sigemptyset(&set);
  for (int number = 1; number < 64; number++) {
    if (signals >> number & 1) sigaddset(&set, number);
  }
  int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  return fd < 0 ? -errno : fd;
}

int clinux_read_signal(int fd) {
  struct signalfd_siginfo info;
  ssize_t got = read(fd, &info, sizeof info);
  return got == sizeof info ? (int)info.ssi_signo : 0;
}

/* MARK: The end by a crash */

static const int crash_signals[] = {SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE, SIGSEGV, SIGSYS};
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof crash_signals[0] };
static struct sigaction previous[CRASH_SIGNALS];
static int crashing_thread;
static int crashing_signal;
static timer_t deadline;
static int has_deadline;
/* Swift's backtracer, another program, names each frame, but may take seconds and may outlive the process
 * with its standard error: only who asks for it by SWIFT_BACKTRACE gets it. */
static int hands_over;

static void put(const char *text) {
  if (write(STDERR_FILENO, text, strlen(text)) < 0) return;
}

static void put_hex(uint64_t value) {
  char text[19] = "0x";
  int at = 2, shift = 60;
  while (shift > 0 && !(value >> shift & 15)) shift -= 4;
  for (; shift >= 0; shift -= 4) text[at++] = "0123456789abcdef"[value >> shift & 15];
  text[at] = 0;
  put(text);
}

static const char *signal_name(int signal) {
  switch (signal) {
  case SIGILL: return "SIGILL";
  case SIGTRAP: return "SIGTRAP";
  case SIGABRT: return "SIGABRT";
  case SIGBUS: return "SIGBUS";
  case SIGFPE: return "SIGFPE";
  case SIGSEGV: return "SIGSEGV";
  case SIGSYS: return "SIGSYS";
  default: return "unknown";
  }
}

/* The default action, at once. */
static void die(int signal) {
  struct sigaction action = {.sa_handler = SIG_DFL};
  sigaction(signal, &action, NULL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, signal);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  raise(signal);
  _exit(128 + signal);
}

/* The backtracer, which would wait for ever for a process that has gone: the children of this thread, by
 * /proc/thread-self/children. */
static void kill_children(void) {
  char text[256];
  int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  ssize_t count = fd < 0 ? 0 : read(fd, text, sizeof text);
  if (fd >= 0) close(fd);
  pid_t child = 0;
  for (ssize_t i = 0; i < count; i++) {
    if (text[i] >= '0' && text[i] <= '9') {
      child = child * 10 + (text[i] - '0');
      continue;
    }
    if (child > 1) kill(child, SIGKILL);
    child = 0;
  }
}

static void too_late(int alarm) {
  (void)alarm;
  kill_children();
  die(crashing_signal);
}

/* The runtime's backtracer is another program: it may hang, and the process must not with it. SIGALRM ends
 * it by the signal of the crash; where this thread cannot be interrupted, SIGKILL does some time later. */
static void set_deadline(int signal) {
  crashing_signal = signal;
  struct sigaction action = {.sa_handler = too_late};
  sigaction(SIGALRM, &action, NULL);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  alarm(CLINUX_CRASH_SECONDS);
  if (!has_deadline) return;
  struct itimerspec time = {.it_value = {.tv_sec = 2 * CLINUX_CRASH_SECONDS}};
  timer_settime(deadline, 0, &time, NULL);
}

static void tell(int signal, const siginfo_t *info) {
  char name[16] = "";
  prctl(PR_GET_NAME, name);
  put("\ncritical crashed signal=");
  put(signal_name(signal));
  put(" thread=");
  put(name);
  /* Positive: the kernel, for a fault; else a person or abort(3). */
  if (info->si_code > 0) {
    put(" address=");
    put_hex((uint64_t)(uintptr_t)info->si_addr);
  }
  put("\n");
  void *frames[48];
  backtrace_symbols_fd(frames, backtrace(frames, 48), STDERR_FILENO);
}

static void crashed(int signal, siginfo_t *info, void *context) {
  int self = (int)syscall(SYS_gettid), none = 0;
  if (!__atomic_compare_exchange_n(&crashing_thread, &none, self, 0, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST)) {
    /* The handler itself has crashed: its trace is lost, the end is not. */
    if (none == self) die(signal);
    /* Another thread is telling of its own crash, and ends the process. */
    for (;;) pause();
  }
  set_deadline(signal);
  tell(signal, info);
  for (int i = 0; hands_over && i < CRASH_SIGNALS; i++) {
    if (crash_signals[i] != signal || previous[i].sa_handler == SIG_DFL ||
        previous[i].sa_handler == SIG_IGN)
      continue;
    if (previous[i].sa_flags & SA_SIGINFO) previous[i].sa_sigaction(signal, info, context);
    else previous[i].sa_handler(signal);
  }
  kill_children();
  die(signal);
}

void clinux_on_crash(void) {
  hands_over = getenv("SWIFT_BACKTRACE") != NULL;
  /* The first use loads libgcc's unwinder, which a signal handler must not. */
  void *frames[2];
  backtrace(frames, 2);
  struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
  has_deadline = timer_create(CLOCK_MONOTONIC, &event, &deadline) == 0;
  /* Nothing but the signal itself is blocked in the handler: the runtime stops the other threads by
   * signals, also one that waits in `crashed`. */
  struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
  action.sa_sigaction = crashed;
  for (int i = 0; i < CRASH_SIGNALS; i++) sigaction(crash_signals[i], &action, &previous[i]);
  /* The runtime takes SIGQUIT for a crash, prints a trace and goes on. */
  struct sigaction usual = {.sa_handler = SIG_DFL};
  sigaction(SIGQUIT, &usual, NULL);
}

int64_t clinux_peer_uid(int fd) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? (int64_t)peer.uid : -errno;
}

int clinux_peer_is_trusted(int fd, unsigned uid, unsigned gid) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return 0;
  if (peer.uid == 0 || peer.uid == uid || peer.gid == gid) return 1;
  // The most that a process can have (NGROUPS_MAX).
  gid_t *groups = malloc(65536 * sizeof *groups);
  if (!groups) return 0;
  length = 65536 * sizeof *groups;
  int found = 0;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) == 0)
    for (size_t i = 0; i < length / sizeof *groups && !found; i++) found = groups[i] == gid;
  free(groups);
  return found;
}

int clinux_may_write(const char *directory) {
  return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS) == 0 ? 0 : -errno;
}

/* MARK: Descriptors between processes */

int64_t clinux_peer_pid(int fd) {
  struct ucred peer;
  socklen_t length = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? (int64_t)peer.pid : -errno;
}

ssize_t clinux_send_descriptors(
    int fd, const void *bytes, size_t length, const int *descriptors, unsigned count) {
  if (count > CLINUX_DESCRIPTORS_MAXIMUM) return -EINVAL;
  struct iovec part = {.iov_base = (void *)bytes, .iov_len = length};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(CLINUX_DESCRIPTORS_MAXIMUM * sizeof(int))];
  } control;
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (count > 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
  return sent < 0 ? -errno : sent;
}

ssize_t clinux_receive_descriptors(
    int fd, void *bytes, size_t room, int *descriptors, unsigned *count) {
  struct iovec part = {.iov_base = bytes, .iov_len = room};
  union {
    struct cmsghdr header;
    char room[CMSG_SPACE(CLINUX_DESCRIPTORS_MAXIMUM * sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &part,
      .msg_iovlen = 1,
      .msg_control = &control,
      .msg_controllen = sizeof control,
  };
  *count = 0;
  ssize_t received = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
  if (received < 0) return -errno;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    unsigned found = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (unsigned i = 0; i < found && *count < CLINUX_DESCRIPTORS_MAXIMUM; i++)
      memcpy(&descriptors[(*count)++], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
  }
  return message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : received;
}

int clinux_lock_byte(int fd, int64_t place, int isWanted) {
  struct flock lock = {
      .l_type = isWanted ? F_WRLCK : F_UNLCK, .l_whence = SEEK_SET, .l_start = place, .l_len = 1};
  return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -errno;
}

void clinux_close_all_but(int kept) {
#ifdef SYS_close_range
  if (kept > 3) syscall(SYS_close_range, 3u, (unsigned)kept - 1, 0u);
  syscall(SYS_close_range, (unsigned)kept + 1, ~0u, 0u);
#else
  (void)kept;
#endif
}
