// The echo server as one writes it in C for a recent kernel: multishot accept, multishot receive
// from a ring of buffers, one enter for each turn, and sends that post no completion: they are
// tried without waiting inside the enter that submits them, so whatever did not fail by the time
// that it returns has left, and its buffer is free. `echo` prints its port and serves until killed.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ring.h"

enum { ENTRIES = 1024, BUFFERS = 1024, BUFFER_BYTES = 4096, CONNECTIONS = 65536, GROUP = 0 };
enum kind { ACCEPT, RECEIVE, QUIET_SEND, AWAITED_SEND, CLOSE };

struct buffer {
  unsigned start, end;
  int next;  // in its connection's queue, -1 at the end
};

struct connection {
  int first, last;  // buffers that wait for the send in flight, -1 for none
  bool sending, failed;
};

static struct io_uring ring;
static struct io_uring_buf_ring *provided;
static char *memory;
static struct buffer buffers[BUFFERS];
static struct connection connections[CONNECTIONS];
static struct {
  int connection, buffer;
} batch[ENTRIES];  // quiet sends of this turn
static unsigned batch_count, returned;
static int starved[CONNECTIONS], starved_count;

static uint64_t name(enum kind kind, int connection, int buffer) {
  return (uint64_t)kind << 56 | (uint64_t)buffer << 32 | (uint32_t)connection;
}

// A submission queue that is full is given to the kernel first; nothing can be settled here.
static struct io_uring_sqe *entry(void) {
  struct io_uring_sqe *found = io_uring_get_sqe(&ring);
  if (found) return found;
  io_uring_submit(&ring);
  return io_uring_get_sqe(&ring);
}

static void give_back(int buffer) {
  io_uring_buf_ring_add(provided, memory + (size_t)buffer * BUFFER_BYTES, BUFFER_BYTES, buffer,
                        io_uring_buf_ring_mask(BUFFERS), returned++);
}

static void receive(int connection) {
  struct io_uring_sqe *receive = entry();
  io_uring_prep_recv_multishot(receive, connection, NULL, 0, 0);
  receive->flags |= IOSQE_BUFFER_SELECT;
  receive->buf_group = GROUP;
  io_uring_sqe_set_data64(receive, name(RECEIVE, connection, 0));
}

static void send_buffer(int connection, int buffer, bool quiet) {
  struct buffer *b = &buffers[buffer];
  quiet = quiet && batch_count < ENTRIES;
  struct io_uring_sqe *send = entry();
  io_uring_prep_send(send, connection, memory + (size_t)buffer * BUFFER_BYTES + b->start,
                     b->end - b->start,
                     MSG_NOSIGNAL | MSG_WAITALL | (quiet ? MSG_DONTWAIT : 0));
  if (quiet) {
    send->flags |= IOSQE_CQE_SKIP_SUCCESS;
    batch[batch_count].connection = connection;
    batch[batch_count++].buffer = buffer;
  }
  io_uring_sqe_set_data64(send, name(quiet ? QUIET_SEND : AWAITED_SEND, connection, buffer));
  connections[connection].sending = true;
}

static void send_next(int connection) {
  struct connection *c = &connections[connection];
  c->sending = false;
  if (c->first < 0) return;
  int buffer = c->first;
  c->first = buffers[buffer].next;
  send_buffer(connection, buffer, true);
}

static void received(int connection, struct io_uring_cqe *completion) {
  struct connection *c = &connections[connection];
  if (completion->res > 0) {
    int buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
    buffers[buffer] = (struct buffer){0, completion->res, -1};
    if (!c->sending) {
      send_buffer(connection, buffer, true);
    } else {
      if (c->first < 0) c->first = buffer;
      else buffers[c->last].next = buffer;
      c->last = buffer;
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) receive(connection);
  } else if (completion->res == -ENOBUFS) {
    starved[starved_count++] = connection;
  } else {
    struct io_uring_sqe *close = entry();
    io_uring_prep_close(close, connection);
    close->flags |= IOSQE_CQE_SKIP_SUCCESS;
    io_uring_sqe_set_data64(close, name(CLOSE, connection, 0));
  }
}

static void accept_all(int listener) {
  struct io_uring_sqe *accept = entry();
  io_uring_prep_multishot_accept(accept, listener, NULL, NULL, SOCK_CLOEXEC);
  io_uring_sqe_set_data64(accept, name(ACCEPT, listener, 0));
}

static void accepted(int listener, struct io_uring_cqe *completion) {
  int made = completion->res;
  if (made >= 0 && made < CONNECTIONS) {
    int one = 1;
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connections[made] = (struct connection){-1, -1, false, false};
    receive(made);
  }
  if (!(completion->flags & IORING_CQE_F_MORE)) accept_all(listener);
}

// A quiet send that failed, or sent a part: what is left is sent with a completion.
static void send_failed(int connection, int buffer, int result) {
  connections[connection].failed = true;
  if (result > 0) buffers[buffer].start += result;
  if (result > 0 || result == -EAGAIN) return send_buffer(connection, buffer, false);
  give_back(buffer);
  send_next(connection);
}

static void handle(struct io_uring_cqe *completion) {
  int connection = (int)(uint32_t)completion->user_data;
  int buffer = completion->user_data >> 32 & 0xFFFFFF;
  switch ((enum kind)(completion->user_data >> 56)) {
    case ACCEPT: return accepted(connection, completion);
    case RECEIVE: return received(connection, completion);
    case AWAITED_SEND: give_back(buffer); return send_next(connection);
    case QUIET_SEND: case CLOSE: return;  // seen before
  }
}

// What was sent in the turn that has ended: failures first, then whatever did not fail.
static void settle(void) {
  unsigned head, count = batch_count;
  struct io_uring_cqe *completion;
  static struct { int connection, buffer, result; } failures[ENTRIES];
  unsigned failed = 0;
  io_uring_for_each_cqe(&ring, head, completion) {
    if (completion->user_data >> 56 != QUIET_SEND) continue;
    failures[failed].connection = (int)(uint32_t)completion->user_data;
    failures[failed].buffer = completion->user_data >> 32 & 0xFFFFFF;
    failures[failed].result = completion->res;
    connections[failures[failed++].connection].failed = true;
  }
  batch_count = 0;
  for (unsigned i = 0; i < count; i++) {
    struct connection *c = &connections[batch[i].connection];
    if (c->failed) {
      c->failed = false;
      continue;
    }
    int connection = batch[i].connection;
    give_back(batch[i].buffer);
    send_next(connection);  // writes at most at batch[batch_count] <= batch[i]
  }
  for (unsigned i = 0; i < failed; i++) {
    send_failed(failures[i].connection, failures[i].buffer, failures[i].result);
    connections[failures[i].connection].failed = false;
  }
}

int main(void) {
  make_ring(&ring, ENTRIES, 16384);
  memory = mmap(NULL, (size_t)BUFFERS * BUFFER_BYTES, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check(memory != MAP_FAILED, "mmap");
  struct io_uring_buf_reg registration = {.ring_entries = BUFFERS, .bgid = GROUP};
  check(posix_memalign((void **)&provided, 4096, BUFFERS * sizeof(struct io_uring_buf)) == 0,
        "posix_memalign");
  registration.ring_addr = (uint64_t)(uintptr_t)provided;
  errno = -io_uring_register_buf_ring(&ring, &registration, 0);
  check(errno == 0, "io_uring_register_buf_ring");
  io_uring_buf_ring_init(provided);
  for (int i = 0; i < BUFFERS; i++) give_back(i);

  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  check(bind(listener, (void *)&address, length) == 0, "bind");
  check(listen(listener, 1024) == 0, "listen");
  check(getsockname(listener, (void *)&address, &length) == 0, "getsockname");
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);

  accept_all(listener);
  for (;;) {
    if (returned) io_uring_buf_ring_advance(provided, returned);
    returned = 0;
    int code = io_uring_submit_and_wait(&ring, 1);
    if (code < 0 && code != -EINTR) errno = -code, check(0, "io_uring_submit_and_wait");
    if (batch_count) settle();
    int waiting = starved_count;
    starved_count = 0;
    for (int i = 0; i < waiting; i++) receive(starved[i]);
    // Only what this enter brought: a failure that a later one posts belongs to the next `settle`.
    struct io_uring_cqe *completion;
    unsigned head, taken = 0, ready = io_uring_cq_ready(&ring);
    io_uring_for_each_cqe(&ring, head, completion) {
      if (taken == ready) break;
      handle(completion);
      taken++;
    }
    io_uring_cq_advance(&ring, taken);
  }
}
