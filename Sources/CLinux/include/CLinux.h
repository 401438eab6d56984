/* Declarations of the Linux user API that glibc or the distribution's headers lack, and inline
 * acquire/release accesses for memory shared with the kernel. No logic lives here: whatever
 * decides anything is Swift. Layouts follow include/uapi/linux/io_uring.h of Linux 6.18. */
#ifndef MILLRACE_CLINUX_H
#define MILLRACE_CLINUX_H

#include <fcntl.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/types.h>
#include <sys/uio.h>

/* The system calls that are made by number, because not every C library that this may be built with
 * has a name for them: x86-64's from arch/x86/entry/syscalls/syscall_64.tbl, arm64's from the generic
 * table (scripts/syscall.tbl), of Linux 6.18. Both are on the page whatever this is compiled for, so
 * that a test can compare them with the headers of either. */
enum {
  CLINUX_X86_64_io_uring_setup = 425,
  CLINUX_X86_64_io_uring_enter = 426,
  CLINUX_X86_64_io_uring_register = 427,
  CLINUX_X86_64_statx = 332,
  CLINUX_X86_64_epoll_pwait2 = 441,
  CLINUX_X86_64_perf_event_open = 298,
  CLINUX_ARM64_io_uring_setup = 425,
  CLINUX_ARM64_io_uring_enter = 426,
  CLINUX_ARM64_io_uring_register = 427,
  CLINUX_ARM64_statx = 291,
  CLINUX_ARM64_epoll_pwait2 = 441,
  CLINUX_ARM64_perf_event_open = 241,
};
#if defined(__x86_64__)
#define CLINUX_NUMBER(name) CLINUX_X86_64_##name
#elif defined(__aarch64__)
#define CLINUX_NUMBER(name) CLINUX_ARM64_##name
#else
#error "the numbers of the system calls are here for x86-64 and arm64 only"
#endif

/* One submission queue entry, flat: the kernel's unions are named by the member used most. */
struct clinux_sqe {
  uint8_t opcode;
  uint8_t flags;
  uint16_t ioprio;
  int32_t fd;
  uint64_t off;   /* also addr2 */
  uint64_t addr;  /* also splice_off_in */
  uint32_t len;
  uint32_t op_flags; /* rw_flags, msg_flags, accept_flags, cancel_flags, open_flags, ... */
  uint64_t user_data;
  uint16_t buf_index; /* also buf_group */
  uint16_t personality;
  int32_t file_index; /* also splice_fd_in, optlen */
  uint64_t addr3;
  uint64_t pad2;
};
_Static_assert(sizeof(struct clinux_sqe) == 64, "an SQE is 64 bytes");

struct clinux_cqe {
  uint64_t user_data;
  int32_t res;
  uint32_t flags;
};

struct clinux_sq_offsets {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, resv1;
  uint64_t user_addr;
};
struct clinux_cq_offsets {
  uint32_t head, tail, ring_mask, ring_entries, overflow, cqes, flags, resv1;
  uint64_t user_addr;
};
struct clinux_uring_params {
  uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd;
  uint32_t resv[3];
  struct clinux_sq_offsets sq_off;
  struct clinux_cq_offsets cq_off;
};
_Static_assert(sizeof(struct clinux_uring_params) == 120, "io_uring_params is 120 bytes");

struct clinux_getevents_arg {
  uint64_t sigmask;
  uint32_t sigmask_sz;
  uint32_t min_wait_usec;
  uint64_t ts;
};
struct clinux_timespec64 {
  int64_t tv_sec;
  int64_t tv_nsec;
};

struct clinux_buf {
  uint64_t addr;
  uint32_t len;
  uint16_t bid;
  uint16_t resv; /* of entry 0: the ring's tail */
};
struct clinux_buf_reg {
  uint64_t ring_addr;
  uint32_t ring_entries;
  uint16_t bgid;
  uint16_t flags;
  uint64_t resv[3];
};
struct clinux_probe_op {
  uint8_t op, resv;
  uint16_t flags;
  uint32_t resv2;
};
struct clinux_probe {
  uint8_t last_op, ops_len;
  uint16_t resv;
  uint32_t resv2[3];
  struct clinux_probe_op ops[256];
};

struct clinux_rsrc_update {
  uint32_t offset, resv;
  uint64_t data;
};
struct clinux_rsrc_register {
  uint32_t nr, flags;
  uint64_t resv2, data, tags;
};
/* What a multishot IORING_OP_RECVMSG puts before the name, the control data and the payload. */
struct clinux_recvmsg_out {
  uint32_t namelen, controllen, payloadlen, flags;
};
struct clinux_epoll_params {
  uint32_t busy_poll_usecs;
  uint16_t busy_poll_budget;
  uint8_t prefer_busy_poll, pad;
};
struct clinux_statx_timestamp {
  int64_t tv_sec;
  uint32_t tv_nsec;
  int32_t reserved;
};
/* struct statx of linux/stat.h, 256 bytes, with STATX_DIOALIGN (6.1). */
struct clinux_statx {
  uint32_t mask, blksize;
  uint64_t attributes;
  uint32_t nlink, uid, gid;
  uint16_t mode, spare0;
  uint64_t ino, size, blocks, attributes_mask;
  struct clinux_statx_timestamp atime, btime, ctime, mtime;
  uint32_t rdev_major, rdev_minor, dev_major, dev_minor;
  uint64_t mnt_id;
  uint32_t dio_mem_align, dio_offset_align;
  uint64_t spare3[12];
};
_Static_assert(sizeof(struct clinux_statx) == 256, "statx is 256 bytes");
struct clinux_napi {
  uint32_t busy_poll_to; /* microseconds */
  uint8_t prefer_busy_poll, opcode, pad[2];
  uint32_t op_param, resv;
};

enum {
  CLINUX_SETUP_SQPOLL = 1u << 1,
  CLINUX_SETUP_SQ_AFF = 1u << 2,
  CLINUX_SETUP_CQSIZE = 1u << 3,
  CLINUX_SETUP_CLAMP = 1u << 4,
  CLINUX_SETUP_R_DISABLED = 1u << 6,
  CLINUX_SETUP_SUBMIT_ALL = 1u << 7,
  CLINUX_SETUP_COOP_TASKRUN = 1u << 8,
  CLINUX_SETUP_TASKRUN_FLAG = 1u << 9,
  CLINUX_SETUP_SINGLE_ISSUER = 1u << 12,
  CLINUX_SETUP_DEFER_TASKRUN = 1u << 13,
  CLINUX_SETUP_NO_SQARRAY = 1u << 16,

  CLINUX_FEAT_SINGLE_MMAP = 1u << 0,
  CLINUX_FEAT_NODROP = 1u << 1,
  CLINUX_FEAT_EXT_ARG = 1u << 8,
  CLINUX_FEAT_CQE_SKIP = 1u << 11,

  CLINUX_FEAT_LINKED_FILE = 1u << 12,
  CLINUX_FEAT_RECVSEND_BUNDLE = 1u << 14,
  CLINUX_FEAT_MIN_TIMEOUT = 1u << 15,

  CLINUX_ENTER_GETEVENTS = 1u << 0,
  CLINUX_ENTER_SQ_WAKEUP = 1u << 1,
  CLINUX_ENTER_SQ_WAIT = 1u << 2,
  CLINUX_ENTER_EXT_ARG = 1u << 3,
  CLINUX_ENTER_REGISTERED_RING = 1u << 4,

  CLINUX_REGISTER_BUFFERS = 0,
  CLINUX_REGISTER_EVENTFD = 4,
  CLINUX_UNREGISTER_EVENTFD = 5,
  CLINUX_REGISTER_PROBE = 8,
  CLINUX_REGISTER_IOWQ_AFF = 17,
  CLINUX_REGISTER_IOWQ_MAX_WORKERS = 19,
  CLINUX_REGISTER_RING_FDS = 20,
  CLINUX_UNREGISTER_RING_FDS = 21,
  CLINUX_REGISTER_PBUF_RING = 22,
  CLINUX_UNREGISTER_PBUF_RING = 23,
  CLINUX_REGISTER_NAPI = 27,
  CLINUX_UNREGISTER_NAPI = 28,
  CLINUX_REGISTER_RESIZE_RINGS = 33,
  CLINUX_PBUF_RING_INC = 2,

  CLINUX_OP_NOP = 0,
  CLINUX_OP_FSYNC = 3,
  CLINUX_REGISTER_FILES2 = 13,
  CLINUX_RSRC_REGISTER_SPARSE = 1u << 0,

  CLINUX_OP_READV = 1,
  CLINUX_OP_WRITEV = 2,
  CLINUX_OP_POLL_ADD = 6,
  CLINUX_OP_RECVMSG = 10,
  CLINUX_OP_TIMEOUT = 11,
  CLINUX_OP_STATX = 21,
  CLINUX_OP_SPLICE = 30,
  CLINUX_OP_URING_CMD = 46,
  CLINUX_SOCKET_SETSOCKOPT = 3, /* of URING_CMD, 6.7 */
  CLINUX_SQE_FIXED_FILE = 1u << 0,
  CLINUX_SQE_IO_LINK = 1u << 2,
  CLINUX_SQE_ASYNC = 1u << 4,
  CLINUX_TIMEOUT_ABS = 1u << 0,
  CLINUX_TIMEOUT_ETIME_SUCCESS = 1u << 5,
  CLINUX_SEND_ZC_REPORT_USAGE = 1u << 3,
  CLINUX_CQE_F_NOTIF = 1u << 3,
  CLINUX_ASYNC_CANCEL_FD = 1u << 1,
  CLINUX_OP_READ_FIXED = 4,
  CLINUX_OP_WRITE_FIXED = 5,
  CLINUX_OP_SENDMSG = 9,
  CLINUX_OP_ACCEPT = 13,
  CLINUX_OP_ASYNC_CANCEL = 14,
  CLINUX_OP_CONNECT = 16,
  CLINUX_OP_FALLOCATE = 17,
  CLINUX_OP_OPENAT = 18,
  CLINUX_OP_CLOSE = 19,
  CLINUX_OP_READ = 22,
  CLINUX_OP_WRITE = 23,
  CLINUX_OP_SEND = 26,
  CLINUX_OP_RECV = 27,
  CLINUX_OP_SHUTDOWN = 34,
  CLINUX_OP_RENAMEAT = 35,
  CLINUX_OP_UNLINKAT = 36,
  CLINUX_OP_MSG_RING = 40,
  CLINUX_OP_SENDMSG_ZC = 48,
  CLINUX_OP_FTRUNCATE = 55,

  CLINUX_SQE_BUFFER_SELECT = 1u << 5,
  CLINUX_SQE_CQE_SKIP_SUCCESS = 1u << 6,

  CLINUX_ACCEPT_MULTISHOT = 1u << 0,
  CLINUX_RECVSEND_POLL_FIRST = 1u << 0,
  CLINUX_RECV_MULTISHOT = 1u << 1,
  CLINUX_RECVSEND_BUNDLE = 1u << 4,
  CLINUX_FSYNC_DATASYNC = 1u << 0,
  CLINUX_ASYNC_CANCEL_ANY = 1u << 2,
  CLINUX_ASYNC_CANCEL_ALL = 1u << 0,

  CLINUX_CQE_F_BUFFER = 1u << 0,
  CLINUX_CQE_F_MORE = 1u << 1,
  CLINUX_CQE_F_SOCK_NONEMPTY = 1u << 2,
  CLINUX_CQE_F_BUF_MORE = 1u << 4,
  CLINUX_CQE_BUFFER_SHIFT = 16,

  CLINUX_SQ_NEED_WAKEUP = 1u << 0,
  CLINUX_SQ_CQ_OVERFLOW = 1u << 1,
  CLINUX_PROBE_OP_SUPPORTED = 1u << 0,
};

static const uint64_t CLINUX_OFF_SQ_RING = 0;
static const uint64_t CLINUX_OFF_CQ_RING = 0x8000000ull;
static const uint64_t CLINUX_OFF_SQES = 0x10000000ull;

/* of a zero-copy send's notification: the kernel copied after all */
static const uint32_t CLINUX_SPLICE_F_FD_IN_FIXED = 1u << 31;
static const uint32_t CLINUX_NOTIF_ZC_COPIED = 1u << 31;

/* udp(7), socket(7), ip(7): newer than the distribution's headers */
enum {
  CLINUX_UDP_SEGMENT = 103,
  CLINUX_UDP_GRO = 104,
  CLINUX_SO_INCOMING_CPU = 49,
  CLINUX_SO_ATTACH_REUSEPORT_CBPF = 51,
  CLINUX_SO_INCOMING_NAPI_ID = 56,
  CLINUX_SO_BUSY_POLL = 46,
  CLINUX_SO_PREFER_BUSY_POLL = 69,
  CLINUX_SO_BUSY_POLL_BUDGET = 70,
  CLINUX_IP_BIND_ADDRESS_NO_PORT = 24,
  CLINUX_IP_LOCAL_PORT_RANGE = 51,
  CLINUX_SPLICE_MOVE = 1,
  CLINUX_SPLICE_NONBLOCK = 2,
  CLINUX_SPLICE_MORE = 4,
  CLINUX_MSG_CMSG_CLOEXEC = 0x40000000,
};
static const uint32_t CLINUX_EPOLLONESHOT = 1u << 30;
static const int32_t CLINUX_RWF_DSYNC = 2;
static const uint32_t CLINUX_EPOLLIN = 0x001;
static const uint32_t CLINUX_EPOLLOUT = 0x004;
static const uint32_t CLINUX_EPOLLERR = 0x008;
static const uint32_t CLINUX_EPOLLHUP = 0x010;
static const uint32_t CLINUX_EPOLLRDHUP = 0x2000;
static const uint32_t CLINUX_EPOLLET = 1u << 31;

/* Thin calls: result or -errno, so that no caller reads a stale errno. Some are here only because
 * glibc declares them under _GNU_SOURCE, which would change other declarations for Swift. */
int clinux_uring_setup(uint32_t entries, struct clinux_uring_params *p);
int clinux_uring_enter(int fd, uint32_t submit, uint32_t wait, uint32_t flags, const void *arg,
                       size_t size);
int clinux_uring_register(int fd, uint32_t op, const void *arg, uint32_t n);
/* The same where the kernel answers in the argument: Swift may pass a copy for a const pointer. */
int clinux_uring_ask(int fd, uint32_t op, void *arg, uint32_t n);
ssize_t clinux_pwritev2(int fd, const struct iovec *v, int n, off_t off, int flags);
int clinux_openat(int directory, const char *path, int flags, uint32_t mode);
int clinux_open(const char *path, int flags, uint32_t mode);
int clinux_accept4(int fd, int flags);
/// accept4(2) with the peer's address; `length` is the room at first, and the address's length then.
int clinux_accept4_from(int fd, void *address, unsigned *length, int flags);
// FALLOC_FL_KEEP_SIZE, linux/falloc.h.
#define CLINUX_FALLOCATE_KEEP_SIZE 1
int clinux_fallocate(int fd, int mode, int64_t offset, int64_t length);
int clinux_pipe2(int *ends, int flags);
/* F_SETPIPE_SZ: the capacity in bytes that the pipe has now, or -errno */
int clinux_set_pipe_size(int fd, int bytes);
ssize_t clinux_splice(int in, int out, size_t count, unsigned flags);
/* path NULL: of the descriptor itself */
int clinux_statx_call(int fd, const char *path, struct clinux_statx *out);
ssize_t clinux_preadv(int fd, const struct iovec *v, int n, off_t off);
/* recv(2), send(2) and sendmsg(2) that are no points of cancellation: in a process of several threads the C
 * library's own enter and leave such a point around every call. -errno on failure. */
ssize_t clinux_receive(int fd, void *buffer, size_t size, int flags);
ssize_t clinux_send(int fd, const void *bytes, size_t count, int flags);
ssize_t clinux_send_message(int fd, const struct msghdr *message, int flags);
/* epoll_pwait2(2): nanoseconds, negative for ever; -ENOSYS before 5.11 */
int clinux_epoll_wait(int fd, struct epoll_event *events, int n, int64_t nanoseconds);
int clinux_epoll_set(int fd, const struct clinux_epoll_params *p);
int clinux_epoll_get(int fd, struct clinux_epoll_params *p);
/* struct mmsghdr of recvmmsg(2) */
struct clinux_mmsghdr {
  struct msghdr header;
  unsigned length;
};
int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned count);
/* A classic BPF program that returns the number of the current CPU modulo `count`. */
int clinux_reuseport_by_cpu(int fd, uint32_t count);
/* cmsg(3): the macros that Swift cannot see. Writes the segment size as control data. */
size_t clinux_put_segment_size(void *control, uint16_t bytes);
/* Looks for UDP_GRO; -1: none. */
int clinux_find_segment_size(void *control, size_t length);
int clinux_unacknowledged(int fd);
int clinux_pin_self(int cpu);
int clinux_affinity(uint64_t *words, int count);
/* the same of another thread of this process */
int clinux_affinity_of(int thread, uint64_t *words, int count);
/* A seccomp filter of `count` instructions (struct sock_filter, 8 bytes each) for this thread and all that it
 * starts, for good. 0 or -errno. */
int clinux_filter_calls(const uint64_t *instructions, uint16_t count);
/* Binds the calling thread to the CPUs whose bits are set. 0 or -errno. */
int clinux_set_affinity(const uint64_t *words, int count);

/* What a child process is started with; NULL and 0 leave a part as it is here. */
struct clinux_launch {
  const char *const *argv;
  const char *const *environment;
  const char *directory;
  /* Becomes standard output and standard error; standard input is /dev/null. */
  int output;
  const uint64_t *cpus;
  int cpu_words;
  /* Sent to the child when the calling thread ends, prctl(2), PR_SET_PDEATHSIG. */
  int death_signal;
  /* Not 0: a session of its own, setsid(2), which sched(7) may schedule as a group of its own. */
  int new_session;
};
/* Starts a program in a process group of its own. Its id, or -errno, also of a failed execve. */
int clinux_spawn(const struct clinux_launch *s);

/* The magic number of the file system that holds a path, statfs(2), or -errno. */
int64_t clinux_file_system(const char *path);

/* Counts a tracepoint of one thread and of those that it starts, perf_event_open(2). A descriptor
 * from which eight bytes are read, or -errno. */
int clinux_count_tracepoint(uint64_t tracepoint, int thread);
/* The same for instructions, of user and kernel; -ENOENT where the machine does not count them. */
int clinux_count_instructions(int thread);

/* fork(2) is hidden from Swift; the probe's child runs only the probe and _exit(2)s. */
int clinux_fork(void);
int clinux_wexitstatus(int status);
int clinux_wtermsig(int status);
void clinux_name_self(const char *name);
/* PR_SET_TIMERSLACK of the calling thread, prctl(2). */
void clinux_timer_slack(unsigned long nanoseconds);

/* The arguments of main, argv[0] first. */
int clinux_argument_count(void);
const char *clinux_argument(int index);
/* Opens /dev/null on each of the descriptors 0, 1 and 2 that is closed. */
void clinux_open_standard(void);
/* A descriptor, non-blocking, that is readable while one of the signals is pending, signalfd(2); bit n of
 * `signals` is signal n. Or -errno. */
int clinux_signalfd(uint64_t signals);
/* Takes a signal from it: its number, or 0. */
int clinux_read_signal(int fd);
/* How long the trace of a crash may take. */
enum { CLINUX_CRASH_SECONDS = 5 };
/* Has a fault, a trap or abort(3) write its signal, thread and backtrace to standard error, then what the
 * handler that was there before has to say (the Swift runtime's), and end the process by that signal. */
void clinux_on_crash(void);

/* The user of the process that listens at the other end of a UNIX socket, or -errno. */
int64_t clinux_peer_uid(int fd);
/* Whether the peer of a UNIX socket is root, this user, or in this group, be it by its own or by its other
 * groups (SO_PEERCRED; SO_PEERGROUPS, Linux 4.13). */
int clinux_peer_is_trusted(int fd, unsigned uid, unsigned gid);
/* The process at the other end of a UNIX socket, or -errno; 0 where it is in another PID namespace. */
int64_t clinux_peer_pid(int fd);
/* Descriptors in one message, unix(7): the kernel's SCM_MAX_FD is 253. */
#define CLINUX_DESCRIPTORS_MAXIMUM 128
/* sendmsg(2) with descriptors (SCM_RIGHTS): bytes sent, or -errno. */
ssize_t clinux_send_descriptors(
    int fd, const void *bytes, size_t length, const int *descriptors, unsigned count);
/* recvmsg(2) of one message, with room for CLINUX_DESCRIPTORS_MAXIMUM descriptors: bytes received, or -errno;
 * -EMSGSIZE for one that does not fit. What is in `descriptors` then is the caller's to close all the same. */
ssize_t clinux_receive_descriptors(
    int fd, void *bytes, size_t room, int *descriptors, unsigned *count);
/* Closes every descriptor but 0, 1, 2 and `kept`, close_range(2); on a kernel without it (before 5.9), none. */
void clinux_close_all_but(int kept);
/* Takes or gives up a lock of the open file on one byte (F_OFD_SETLK, fcntl(2)): 0 or -errno. */
int clinux_lock_byte(int fd, int64_t place, int isWanted);
/* Whether a file can be made in the directory by the effective user, faccessat(2): 0 or -errno. */
int clinux_may_write(const char *directory);

static const int32_t CLINUX_O_DIRECT = 040000;

/* A file in memory that can be sealed, closed at exec: its descriptor, or -1 and errno. */
int clinux_memory_file(const char *name);
/* Whether a descriptor is such a file, without any seal on its size or its content. */
int clinux_is_unsealed(int descriptor);
/* Seals its size, and where the kernel can (Linux 5.1) its content against all but those who have
   mapped it: 0, or -1 and errno. */
int clinux_seal(int descriptor);
/* Whether it can never get shorter. */
int clinux_is_sealed(int descriptor);

static inline uint32_t clinux_load_acquire(const uint32_t *p) {
  return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
static inline uint32_t clinux_load_relaxed(const uint32_t *p) {
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void clinux_store_release(uint32_t *p, uint32_t v) {
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
/* Orders a store before a later load: the tail of the submission queue before its flags. */
static inline void clinux_full_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void clinux_store_release16(uint16_t *p, uint16_t v) {
  __atomic_store_n(p, v, __ATOMIC_RELEASE);
}
static inline int64_t clinux_add_relaxed64(int64_t *p, int64_t v) {
  return __atomic_add_fetch(p, v, __ATOMIC_RELAXED);
}
static inline int64_t clinux_load_relaxed64(const int64_t *p) {
  return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static inline void clinux_store_relaxed64(int64_t *p, int64_t v) {
  __atomic_store_n(p, v, __ATOMIC_RELAXED);
}

#endif
