// The io_uring loop: multishot accept and receive, a ring of provided buffers whose memory is sent
// on as it is, one send in flight for each socket, one io_uring_enter for each turn. The rings are
// mapped here, by the kernel's own header and three system calls.
#include "forwarder.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  SUBMISSIONS = 512,
  COMPLETIONS = 4096,
  // A power of two. Few, so that they stay in the cache: with 64 KiB buffers and 64 connections,
  // 256 of them cost 3 to 29% more CPU for a 64 KiB response than 32 (nine rounds, median 12%).
  BUFFERS = 32,
  GROUP = 0,
};

enum operation { ACCEPT = 0, RECEIVE = 1, SEND = 2, OPERATION_MASK = 3 };

struct pair;

// One socket of a pair, and the received buffers that wait to be sent on it, oldest first.
struct side {
  struct pair *pair;
  struct side *peer;
  struct side *next_starved;  // in the list of sides whose receive ended with ENOBUFS
  int fd;
  int first_waiting, last_waiting;  // buffer numbers, -1 for none; the first is the one in flight
  bool receiving, sending, starved, ended, end_passed;
};

struct pair {
  struct side sides[2];
  bool closing;  // shut down; freed when no operation is in flight
};

struct buffer {
  uint32_t start, end;
  int next;
};

struct loop {
  const struct settings *settings;
  int fd;
  unsigned enter_flags;
  unsigned *sq_head, *sq_tail, *cq_head, *cq_tail;
  unsigned sq_mask, cq_mask;
  unsigned tail, submitted;  // what was filled, and what the kernel has taken
  struct io_uring_sqe *sqes;
  struct io_uring_cqe *cqes;
  struct io_uring_buf_ring *provided;
  uint16_t provided_tail;
  char *memory;
  int free_buffers;  // as far as is known here; the kernel may have taken some since
  struct buffer buffers[BUFFERS];
  struct side *starved;
};

static void enter(struct loop *loop, unsigned wait) {
  __atomic_store_n(loop->sq_tail, loop->tail, __ATOMIC_RELEASE);
  unsigned count = loop->tail - loop->submitted;
  unsigned flags = loop->enter_flags | IORING_ENTER_GETEVENTS;
  int taken = (int)syscall(SYS_io_uring_enter, loop->fd, count, wait, flags, NULL, 0);
  if (taken >= 0) loop->submitted += (unsigned)taken;
  else if (errno != EINTR && errno != EBUSY && errno != EAGAIN) fail("io_uring_enter");
}

static struct io_uring_sqe *next_entry(struct loop *loop, enum operation operation,
                                       struct side *side) {
  while (loop->tail - __atomic_load_n(loop->sq_head, __ATOMIC_ACQUIRE) > loop->sq_mask) {
    enter(loop, 0);
  }
  struct io_uring_sqe *entry = &loop->sqes[loop->tail++ & loop->sq_mask];
  memset(entry, 0, sizeof *entry);
  // Sides come from calloc, so the two low bits of their addresses are free for the operation.
  entry->user_data = (uint64_t)(uintptr_t)side | operation;
  return entry;
}

static void start_accept(struct loop *loop) {
  struct io_uring_sqe *entry = next_entry(loop, ACCEPT, NULL);
  entry->opcode = IORING_OP_ACCEPT;
  entry->fd = loop->settings->listener;
  entry->accept_flags = SOCK_CLOEXEC | SOCK_NONBLOCK;
  entry->ioprio = IORING_ACCEPT_MULTISHOT;
}

static void start_receive(struct loop *loop, struct side *side) {
  struct io_uring_sqe *entry = next_entry(loop, RECEIVE, side);
  entry->opcode = IORING_OP_RECV;
  entry->fd = side->fd;
  entry->flags = IOSQE_BUFFER_SELECT;
  entry->ioprio = IORING_RECV_MULTISHOT;
  entry->buf_group = GROUP;
  side->receiving = true;
}

static void start_send(struct loop *loop, struct side *side) {
  int number = side->first_waiting;
  const struct buffer *buffer = &loop->buffers[number];
  char *bytes = loop->memory + (size_t)number * loop->settings->buffer_bytes;
  struct io_uring_sqe *entry = next_entry(loop, SEND, side);
  entry->opcode = IORING_OP_SEND;
  entry->fd = side->fd;
  entry->addr = (uint64_t)(uintptr_t)(bytes + buffer->start);
  entry->len = buffer->end - buffer->start;
  entry->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
  side->sending = true;
}

// Gives a buffer back to the kernel; the tail becomes visible once a turn, in `publish_buffers`.
static void recycle(struct loop *loop, int number) {
  struct io_uring_buf *slot = &loop->provided->bufs[loop->provided_tail++ & (BUFFERS - 1)];
  slot->addr = (uint64_t)(uintptr_t)(loop->memory + (size_t)number * loop->settings->buffer_bytes);
  slot->len = (uint32_t)loop->settings->buffer_bytes;
  slot->bid = (uint16_t)number;
  loop->free_buffers++;
}

static void publish_buffers(struct loop *loop) {
  __atomic_store_n(&loop->provided->tail, loop->provided_tail, __ATOMIC_RELEASE);
}

static void drop_waiting(struct loop *loop, struct side *side) {
  while (side->first_waiting >= 0) {
    int number = side->first_waiting;
    side->first_waiting = loop->buffers[number].next;
    recycle(loop, number);
  }
}

// Shuts both sockets down, so that what is in flight ends, and frees the pair when all of it has.
static void close_pair(struct loop *loop, struct pair *pair) {
  if (!pair->closing) {
    pair->closing = true;
    shutdown(pair->sides[0].fd, SHUT_RDWR);
    shutdown(pair->sides[1].fd, SHUT_RDWR);
  }
  for (int i = 0; i < 2; i++) {
    struct side *side = &pair->sides[i];
    if (side->receiving || side->sending || side->starved) return;
  }
  for (int i = 0; i < 2; i++) {
    drop_waiting(loop, &pair->sides[i]);
    close(pair->sides[i].fd);
  }
  free(pair);
}

static void pass_end(struct loop *loop, struct side *from) {
  struct side *to = from->peer;
  if (from->ended && !from->end_passed && !to->sending) {
    from->end_passed = true;
    shutdown(to->fd, SHUT_WR);
  }
  if (from->end_passed && to->end_passed) close_pair(loop, from->pair);
}

static void accepted(struct loop *loop, const struct io_uring_cqe *completion) {
  if ((completion->flags & IORING_CQE_F_MORE) == 0) start_accept(loop);
  if (completion->res < 0) return;
  int upstream = connect_upstream(loop->settings);
  struct pair *pair = upstream < 0 ? NULL : calloc(1, sizeof *pair);
  if (pair == NULL) {
    close(completion->res);
    if (upstream >= 0) close(upstream);
    return;
  }
  set_no_delay(completion->res);
  for (int i = 0; i < 2; i++) {
    pair->sides[i] = (struct side){
        .pair = pair,
        .peer = &pair->sides[1 - i],
        .fd = i == 0 ? completion->res : upstream,
        .first_waiting = -1,
        .last_waiting = -1,
    };
    start_receive(loop, &pair->sides[i]);
  }
}

static void received(struct loop *loop, struct side *from, const struct io_uring_cqe *completion) {
  if ((completion->flags & IORING_CQE_F_MORE) == 0) from->receiving = false;
  int number = completion->flags & IORING_CQE_F_BUFFER
                   ? (int)(completion->flags >> IORING_CQE_BUFFER_SHIFT)
                   : -1;
  if (number >= 0) loop->free_buffers--;
  if (completion->res > 0 && !from->pair->closing) {
    struct side *to = from->peer;
    loop->buffers[number] = (struct buffer){.end = (uint32_t)completion->res, .next = -1};
    if (to->first_waiting < 0) to->first_waiting = number;
    else loop->buffers[to->last_waiting].next = number;
    to->last_waiting = number;
    if (!to->sending) start_send(loop, to);
    if (!from->receiving) start_receive(loop, from);
    return;
  }
  if (number >= 0) recycle(loop, number);
  if (from->pair->closing) {
    close_pair(loop, from->pair);
  } else if (completion->res == -ENOBUFS) {
    // All buffers wait to be sent: backpressure. The receive starts again when some have come back.
    from->starved = true;
    from->next_starved = loop->starved;
    loop->starved = from;
  } else if (completion->res == 0) {
    from->ended = true;
    pass_end(loop, from);
  } else {
    close_pair(loop, from->pair);
  }
}

static void sent(struct loop *loop, struct side *to, const struct io_uring_cqe *completion) {
  to->sending = false;
  struct buffer *buffer = &loop->buffers[to->first_waiting];
  if (completion->res > 0) buffer->start += (uint32_t)completion->res;
  if (completion->res <= 0 || to->pair->closing) {
    close_pair(loop, to->pair);
    return;
  }
  if (buffer->start == buffer->end) {
    int number = to->first_waiting;
    to->first_waiting = buffer->next;
    recycle(loop, number);
  }
  if (to->first_waiting >= 0) start_send(loop, to);
  else if (to->peer->ended) pass_end(loop, to->peer);
}

static void restart_starved(struct loop *loop) {
  struct side *side = loop->starved;
  loop->starved = NULL;
  while (side != NULL) {
    struct side *next = side->next_starved;
    side->starved = false;
    if (side->pair->closing) close_pair(loop, side->pair);
    else start_receive(loop, side);
    side = next;
  }
}

static void *map(size_t bytes, int fd, off_t offset) {
  int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags | MAP_POPULATE, fd, offset);
  if (memory == MAP_FAILED) fail("mmap");
  return memory;
}

static void open_ring(struct loop *loop) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
               IORING_SETUP_SUBMIT_ALL,
      .cq_entries = COMPLETIONS,
  };
  loop->fd = (int)syscall(SYS_io_uring_setup, SUBMISSIONS, &parameters);
  if (loop->fd < 0) fail("io_uring_setup (Linux 6.1 or later, and allowed)");
  size_t bytes = parameters.cq_off.cqes + parameters.cq_entries * sizeof(struct io_uring_cqe);
  char *rings = map(bytes, loop->fd, IORING_OFF_SQ_RING);  // one mapping for both (Linux 5.4)
  loop->sq_head = (unsigned *)(rings + parameters.sq_off.head);
  loop->sq_tail = (unsigned *)(rings + parameters.sq_off.tail);
  loop->sq_mask = *(unsigned *)(rings + parameters.sq_off.ring_mask);
  loop->cq_head = (unsigned *)(rings + parameters.cq_off.head);
  loop->cq_tail = (unsigned *)(rings + parameters.cq_off.tail);
  loop->cq_mask = *(unsigned *)(rings + parameters.cq_off.ring_mask);
  loop->cqes = (struct io_uring_cqe *)(rings + parameters.cq_off.cqes);
  loop->sqes = map(parameters.sq_entries * sizeof *loop->sqes, loop->fd, IORING_OFF_SQES);
  unsigned *array = (unsigned *)(rings + parameters.sq_off.array);
  for (unsigned i = 0; i < parameters.sq_entries; i++) array[i] = i;
}

// A registered ring spares each enter the look-up of its descriptor (Linux 5.18).
static void register_ring(struct loop *loop) {
  struct io_uring_rsrc_update update = {.offset = -1U, .data = (uint64_t)loop->fd};
  if (syscall(SYS_io_uring_register, loop->fd, IORING_REGISTER_RING_FDS, &update, 1) == 1) {
    loop->fd = (int)update.offset;
    loop->enter_flags = IORING_ENTER_REGISTERED_RING;
  }
}

static void provide_buffers(struct loop *loop) {
  loop->provided = map(BUFFERS * sizeof(struct io_uring_buf), -1, 0);
  loop->memory = map(BUFFERS * loop->settings->buffer_bytes, -1, 0);
  struct io_uring_buf_reg registration = {
      .ring_addr = (uint64_t)(uintptr_t)loop->provided,
      .ring_entries = BUFFERS,
      .bgid = GROUP,
  };
  if (syscall(SYS_io_uring_register, loop->fd, IORING_REGISTER_PBUF_RING, &registration, 1) < 0) {
    fail("IORING_REGISTER_PBUF_RING");
  }
  for (int number = 0; number < BUFFERS; number++) recycle(loop, number);
  publish_buffers(loop);
}

void run_ring(const struct settings *settings) {
  static struct loop loop;
  loop.settings = settings;
  open_ring(&loop);
  provide_buffers(&loop);
  register_ring(&loop);
  start_accept(&loop);
  for (;;) {
    enter(&loop, 1);
    unsigned head = *loop.cq_head;
    unsigned tail = __atomic_load_n(loop.cq_tail, __ATOMIC_ACQUIRE);
    for (; head != tail; head++) {
      struct io_uring_cqe completion = loop.cqes[head & loop.cq_mask];
      // Freed before it is handled: a full submission ring enters the kernel amid a batch.
      __atomic_store_n(loop.cq_head, head + 1, __ATOMIC_RELEASE);
      uint64_t pointer = completion.user_data & ~(uint64_t)OPERATION_MASK;
      struct side *side = (struct side *)(uintptr_t)pointer;
      switch ((enum operation)(completion.user_data & OPERATION_MASK)) {
        case RECEIVE: received(&loop, side, &completion); break;
        case SEND: sent(&loop, side, &completion); break;
        default: accepted(&loop, &completion); break;
      }
    }
    publish_buffers(&loop);
    if (loop.starved != NULL && loop.free_buffers > 0) restart_starved(&loop);
  }
}
