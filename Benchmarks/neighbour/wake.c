// What a busy neighbour costs a server that sleeps between its turns, without any of our code: an echo
// server on epoll, or on io_uring with each way of running task work, pinned to one CPU beside an endless
// loop of the same priority; and a client on another CPU that sends at a planned rate, each request
// on a connection of its own, and measures from the planned moment.
//
//   wake MODE SERVER_CPU CLIENT_CPU BURNERS RATE CONNECTIONS HOPS WORK_MICROSECONDS SECONDS [FILE]
//
// MODE is epoll, plain, coop, defer, or defer with the write of FILE by other means: worker, one of the ring's
// worker threads (IOSQE_ASYNC); thread, the same thread as on epoll. HOPS: how often a request goes back and forth before it counts, as
// one through a proxy has to wait for its origin; the server sleeps in between. With FILE, a block is written to
// it (O_DIRECT, O_DSYNC) before each answer, one write for all that has come meanwhile: on epoll by a thread
// that blocks in pwrite(2), on io_uring by the ring.
//
// Prints a line: achieved rate, p50 and p99, the server's CPU time, times it went on a CPU, and the time
// that it was ready and did not run (/proc/PID/schedstat), per request and per time.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 1024, BYTES = 64, ENTRIES = 4096 };

static void check(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  check(sched_setaffinity(0, sizeof set, &set) == 0, "sched_setaffinity");
}

static long long steps;  // of `work`, for the time that a request takes
static volatile unsigned long long sink;

static void work(long long count) {
  unsigned long long x = 1;
  for (long long i = 0; i < count; i++) x = x * 6364136223846793005ULL + 1442695040888963407ULL;
  sink = x;
}

static long long steps_of(double microseconds) {
  long long fastest = 0;
  for (int i = 0; i < 50; i++) {
    int64_t start = now();
    work(100000);
    int64_t took = now() - start;
    if (i == 0 || took < fastest) fastest = took;
  }
  return (long long)(microseconds * 1000 * 100000 / (double)fastest);
}

// The log: what has come waits for the write that began after it.

static int log_file = -1;
static void *block;
static int held[MOST], writing[MOST], held_count, writing_count;

static void open_log(const char *path) {
  log_file = open(path, O_WRONLY | O_CREAT | O_DIRECT | O_DSYNC, 0600);
  check(log_file >= 0 && posix_memalign(&block, 4096, 4096) == 0, path);
  memset(block, 'x', 4096);
  // In place afterwards: a write changes no metadata of the file.
  check(pwrite(log_file, block, 4096, 0) == 4096, "pwrite");
}

// What is held goes into a write, if none is under way. Returns whether one has to begin.
static int begin_write(void) {
  if (writing_count > 0 || held_count == 0) return 0;
  memcpy(writing, held, sizeof(int) * held_count);
  writing_count = held_count;
  held_count = 0;
  return 1;
}

static int to_writer, from_writer;

static void *writer(void *unused) {
  uint64_t word;
  for (;;) {
    check(read(to_writer, &word, 8) == 8 && pwrite(log_file, block, 4096, 0) == 4096, "pwrite");
    check(write(from_writer, &word, 8) == 8, "eventfd");
  }
  return unused;
}

static void start_writer(int flags) {
  pthread_t thread;
  to_writer = eventfd(0, 0);
  from_writer = eventfd(0, flags);
  check(pthread_create(&thread, NULL, writer, NULL) == 0, "pthread_create");
}

// The servers

static void serve_epoll(int *sockets, int count) {
  int poller = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = sockets[i]};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, sockets[i], &event) == 0, "epoll_ctl");
  }
  struct epoll_event events[MOST];
  char room[BYTES];
  uint64_t word = 1;
  if (log_file >= 0) {
    start_writer(EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = from_writer};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, from_writer, &event) == 0, "epoll_ctl");
  }
  for (;;) {
    int ready = epoll_wait(poller, events, MOST, -1);
    for (int i = 0; i < ready; i++) {
      if (log_file >= 0 && events[i].data.fd == from_writer) {
        check(read(from_writer, &word, 8) == 8, "eventfd");
        for (int w = 0; w < writing_count; w++) send(writing[w], room, BYTES, MSG_NOSIGNAL);
        writing_count = 0;
        continue;
      }
      if (recv(events[i].data.fd, room, BYTES, MSG_DONTWAIT) <= 0) continue;
      work(steps);
      if (log_file >= 0) held[held_count++] = events[i].data.fd;
      else send(events[i].data.fd, room, BYTES, MSG_NOSIGNAL);
    }
    word = 1;
    if (begin_write()) check(write(to_writer, &word, 8) == 8, "eventfd");
  }
}

static void serve_uring(int *sockets, int count, unsigned flags, unsigned write_flags,
                        int has_thread) {
  struct io_uring_params p = {.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = ENTRIES * 2};
  int ring = syscall(__NR_io_uring_setup, ENTRIES, &p);
  check(ring >= 0, "io_uring_setup");
  size_t bytes = p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe);
  size_t more = p.sq_off.array + p.sq_entries * sizeof(unsigned);
  char *rings = mmap(NULL, bytes > more ? bytes : more, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQ_RING);
  struct io_uring_sqe *entries = mmap(NULL, p.sq_entries * sizeof *entries, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, ring, IORING_OFF_SQES);
  check(rings != MAP_FAILED && entries != MAP_FAILED, "mmap");
  unsigned *tail = (unsigned *)(rings + p.sq_off.tail), *array = (unsigned *)(rings + p.sq_off.array);
  unsigned *head = (unsigned *)(rings + p.cq_off.head), *end = (unsigned *)(rings + p.cq_off.tail);
  struct io_uring_cqe *completions = (struct io_uring_cqe *)(rings + p.cq_off.cqes);
  static char room[MOST][BYTES];
  static uint64_t answered;
  unsigned next = *tail, pending = 0;
  enum { WRITE_DONE = 1u << 20 };
#define PREPARE(code, number)                                                               \
  do {                                                                                      \
    unsigned place = next & (p.sq_entries - 1);                                             \
    entries[place] = (struct io_uring_sqe){.opcode = code, .fd = sockets[number],           \
                                           .addr = (uint64_t)(uintptr_t)room[number],       \
                                           .len = BYTES, .msg_flags = MSG_NOSIGNAL,         \
                                           .user_data = (uint64_t)(number) << 1 |           \
                                                        (code == IORING_OP_SEND)};          \
    array[place] = place;                                                                   \
    next++, pending++;                                                                      \
  } while (0)
  for (int i = 0; i < count; i++) PREPARE(IORING_OP_RECV, i);
  uint64_t word = 1;
  if (has_thread) start_writer(0);
  for (;;) {
    __atomic_store_n(tail, next, __ATOMIC_RELEASE);
    int done = syscall(__NR_io_uring_enter, ring, pending, 1, IORING_ENTER_GETEVENTS, NULL, 0);
    check(done >= 0 || errno == EINTR, "io_uring_enter");
    if (done > 0) pending -= done;
    unsigned at = *head, last = __atomic_load_n(end, __ATOMIC_ACQUIRE);
    for (; at != last; at++) {
      struct io_uring_cqe *c = &completions[at & (p.cq_entries - 1)];
      unsigned number = c->user_data >> 1;
      if (number == WRITE_DONE) {
        check(c->res == (has_thread ? 8 : 4096), "write");
        for (int w = 0; w < writing_count; w++) PREPARE(IORING_OP_SEND, writing[w]);
        writing_count = 0;
        continue;
      }
      if (c->user_data & 1) continue;
      if (c->res <= 0) continue;
      work(steps);
      if (log_file >= 0) held[held_count++] = number;
      else PREPARE(IORING_OP_SEND, number);
      PREPARE(IORING_OP_RECV, number);
    }
    __atomic_store_n(head, at, __ATOMIC_RELEASE);
    if (begin_write()) {
      unsigned place = next & (p.sq_entries - 1);
      // The thread's end is read by the ring, the ring's own write is one.
      if (has_thread) check(write(to_writer, &word, 8) == 8, "eventfd");
      entries[place] = (struct io_uring_sqe){.opcode = has_thread ? IORING_OP_READ : IORING_OP_WRITE,
                                             .fd = has_thread ? from_writer : log_file,
                                             .flags = write_flags,
                                             .addr = (uint64_t)(uintptr_t)(has_thread ? (void *)&answered : block),
                                             .len = has_thread ? 8 : 4096,
                                             .user_data = (uint64_t)WRITE_DONE << 1};
      array[place] = place;
      next++, pending++;
    }
  }
}

// The client

struct stat_line {
  long long ran, waited, times;
};

static struct stat_line schedstat(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/schedstat", pid);
  FILE *file = fopen(path, "r");
  struct stat_line s = {0};
  check(file && fscanf(file, "%lld %lld %lld", &s.ran, &s.waited, &s.times) == 3, path);
  fclose(file);
  return s;
}

static int ascending(const void *a, const void *b) {
  int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
  return (x > y) - (x < y);
}

int main(int count, char **words) {
  if (count < 10) return fprintf(stderr, "see the head of wake.c\n"), 2;
  const char *mode = words[1];
  int server_cpu = atoi(words[2]), client_cpu = atoi(words[3]), burners = atoi(words[4]);
  double rate = atof(words[5]);
  int connections = atoi(words[6]), hops = atoi(words[7]);
  double seconds = atof(words[9]);
  check(connections > 0 && connections <= MOST, "CONNECTIONS");
  pin(client_cpu);
  steps = steps_of(atof(words[8]));

  static int ours[MOST], theirs[MOST];
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  check(bind(listener, (void *)&address, length) == 0 && listen(listener, MOST) == 0, "listen");
  getsockname(listener, (void *)&address, &length);
  for (int i = 0; i < connections; i++) {
    ours[i] = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(ours[i], (void *)&address, length) == 0, "connect");
    theirs[i] = accept(listener, NULL, NULL);
    check(theirs[i] >= 0, "accept");
    setsockopt(ours[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(theirs[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(ours[i], F_SETFL, O_NONBLOCK);
  }
  pid_t server = fork();
  if (server == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(server_cpu);
    if (count > 10) open_log(words[10]);
    if (!strcmp(mode, "epoll")) serve_epoll(theirs, connections);
    unsigned flags = !strcmp(mode, "coop")    ? IORING_SETUP_COOP_TASKRUN
                     : !strcmp(mode, "defer") || !strcmp(mode, "worker") || !strcmp(mode, "thread")
                         ? IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN
                         : 0;
    serve_uring(theirs, connections, flags, strcmp(mode, "worker") ? 0 : IOSQE_ASYNC,
                log_file >= 0 && !strcmp(mode, "thread"));
  }
  for (int i = 0; i < burners; i++)
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      pin(server_cpu);
      for (;;) work(1000000);
    }

  static int left[MOST], idle[MOST];
  static int64_t planned[MOST];
  int idle_count = 0;
  for (int i = 0; i < connections; i++) idle[idle_count++] = i;
  int poller = epoll_create1(0);
  for (int i = 0; i < connections; i++) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
    check(epoll_ctl(poller, EPOLL_CTL_ADD, ours[i], &event) == 0, "epoll_ctl");
  }
  size_t most = (size_t)(rate * seconds) + 1, answered = 0, in_time = 0;
  int64_t *latencies = calloc(most, sizeof *latencies);
  char room[BYTES] = {0};
  struct epoll_event events[MOST];
  usleep(200000);
  struct stat_line before = schedstat(server);
  int64_t start = now(), end = start + (int64_t)(seconds * 1e9);
  for (size_t sent = 0; answered < most && now() < end + 3000000000LL;) {
    while (sent < most && idle_count > 0 && start + (int64_t)(sent * 1e9 / rate) <= now()) {
      int i = idle[--idle_count];
      planned[i] = start + (int64_t)(sent++ * 1e9 / rate);
      left[i] = hops;
      check(send(ours[i], room, BYTES, MSG_NOSIGNAL) == BYTES, "send");
    }
    int ready = epoll_wait(poller, events, MOST, 0);
    for (int e = 0; e < ready; e++) {
      int i = events[e].data.u32;
      if (recv(ours[i], room, BYTES, 0) <= 0) continue;
      if (--left[i] > 0) {
        check(send(ours[i], room, BYTES, MSG_NOSIGNAL) == BYTES, "send");
        continue;
      }
      int64_t moment = now();
      latencies[answered++] = moment - planned[i];
      in_time += moment <= end;
      idle[idle_count++] = i;
    }
  }
  struct stat_line after = schedstat(server);
  qsort(latencies, answered, sizeof *latencies, ascending);
  double requests = answered ? (double)answered : 1, times = (double)(after.times - before.times);
  printf("%-6s rate %6.0f p50 %8.2f ms p99 %8.2f ms  cpu %5.1f us/request  on CPU %.3f times/request"
         "  waits %.3f ms each time\n",
         mode, in_time / seconds, answered ? latencies[answered / 2] / 1e6 : 0.0,
         answered ? latencies[(size_t)(answered * 0.99)] / 1e6 : 0.0,
         (after.ran - before.ran) / 1e3 / requests, times / requests,
         times > 0 ? (after.waited - before.waited) / 1e6 / times : 0.0);
  fflush(stdout);
  return 0;  // the children go with us: PR_SET_PDEATHSIG
}
