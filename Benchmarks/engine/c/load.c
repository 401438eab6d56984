// The load for the servers: a client on epoll with no work of its own beside the system calls. It
// reads the CPU clock of the server's process when the load is steady and again at the end, so a
// figure holds neither the server's start nor its connections' set-up.
//
//   load echo  PORT PID SECONDS CONNECTIONS BYTES   one message in flight on each connection
//   load churn PORT PID SECONDS CONNECTIONS REQUEST connect, send REQUEST, read an answer, see the
//                                                   end or close; CONNECTIONS at a time
//   load sink  PORT PID TRANSFERS BYTES             one connection; a word that asks for BYTES
//
// PORT is on loopback, or ADDRESS:PORT.
//
// Prints `operations N cpu NANOSECONDS wall NANOSECONDS`.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"

enum { EVENTS = 1024, MOST = 8192 };

static struct sockaddr_in server;
static char room[1 << 20];
static int poller;

static int64_t server_cpu(pid_t pid) {
  clockid_t clock;
  errno = clock_getcpuclockid(pid, &clock);
  check(errno == 0, "clock_getcpuclockid");
  return nanoseconds(clock);
}

static int open_socket(int flags) {
  int made = socket(AF_INET, SOCK_STREAM | flags, 0), one = 1;
  check(made >= 0, "socket");
  setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return made;
}

static int open_connection(void) {
  int made = open_socket(0);
  check(connect(made, (void *)&server, sizeof server) == 0, "connect");
  return made;
}

static void watch(int connection, unsigned events) {
  struct epoll_event event = {.events = events, .data.fd = connection};
  check(epoll_ctl(poller, EPOLL_CTL_ADD, connection, &event) == 0, "epoll_ctl");
}

static void send_all(int connection, size_t bytes) {
  check(send(connection, room, bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
}

static void report(uint64_t operations, int64_t cpu, int64_t wall) {
  printf("operations %lu cpu %ld wall %ld\n", operations, cpu, wall);
}

// A measured span: begins a quarter of a second after the load does.
struct span {
  pid_t pid;
  int64_t begins, ends, cpu, wall;
  uint64_t operations;
};

static struct span make_span(pid_t pid, double seconds) {
  int64_t now = nanoseconds(CLOCK_MONOTONIC);
  return (struct span){.pid = pid, .begins = now + 250000000,
                       .ends = now + 250000000 + (int64_t)(seconds * 1e9)};
}

// Returns 0 when the span is over, having reported it.
static int goes_on(struct span *span, uint64_t operations) {
  int64_t now = nanoseconds(CLOCK_MONOTONIC);
  if (now < span->begins) return 1;
  if (span->wall == 0) {
    span->wall = now;
    span->cpu = server_cpu(span->pid);
    span->operations = operations;
    return 1;
  }
  if (now < span->ends) return 1;
  report(operations - span->operations, server_cpu(span->pid) - span->cpu, now - span->wall);
  return 0;
}

static void echo(pid_t pid, double seconds, int connections, size_t bytes) {
  static int each[MOST];
  static size_t missing[MOST + 4096];
  for (int i = 0; i < connections; i++) {
    each[i] = open_connection();
    missing[each[i]] = bytes;
    watch(each[i], EPOLLIN);
  }
  for (int i = 0; i < connections; i++) send_all(each[i], bytes);
  struct span span = make_span(pid, seconds);
  struct epoll_event events[EVENTS];
  for (uint64_t operations = 0; goes_on(&span, operations);) {
    int ready = epoll_wait(poller, events, EVENTS, 1000);
    check(ready > 0 || errno == EINTR, "no answer within a second");
    for (int i = 0; i < ready; i++) {
      int connection = events[i].data.fd;
      ssize_t got = recv(connection, room, sizeof room, 0);
      check(got > 0, "recv");
      missing[connection] -= got;
      if (missing[connection] > 0) continue;
      missing[connection] = bytes;
      send_all(connection, bytes);
      operations++;
    }
  }
}

// A connection that ends by reset leaves no port in TIME_WAIT here: the load lasts as long as asked.
static int begin(const char *request, size_t bytes) {
  int made = open_socket(SOCK_NONBLOCK);
  struct linger reset = {.l_onoff = 1};
  setsockopt(made, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  if (connect(made, (void *)&server, sizeof server) != 0) check(errno == EINPROGRESS, "connect");
  watch(made, EPOLLIN);
  // On loopback the handshake is over when connect returns, unless the machine is so busy that it
  // has left the packets to ksoftirqd.
  struct pollfd ready = {.fd = made, .events = POLLOUT};
  check(poll(&ready, 1, 1000) == 1, "no connection within a second");
  check(send(made, request, bytes, MSG_NOSIGNAL) == (ssize_t)bytes, "send");
  return made;
}

static void churn(pid_t pid, double seconds, int connections, const char *request) {
  size_t bytes = strlen(request);
  for (int i = 0; i < connections; i++) begin(request, bytes);
  struct span span = make_span(pid, seconds);
  struct epoll_event events[EVENTS];
  for (uint64_t operations = 0; goes_on(&span, operations);) {
    int ready = epoll_wait(poller, events, EVENTS, 1000);
    check(ready > 0 || errno == EINTR, "no answer within a second");
    for (int i = 0; i < ready; i++) {
      int connection = events[i].data.fd;
      ssize_t got = recv(connection, room, sizeof room, 0);
      check(got >= 0, "recv");
      if (got > 0) continue;  // the answer; the end is still to come
      close(connection);
      operations++;
      begin(request, bytes);
    }
  }
}

static void sink(pid_t pid, int transfers, size_t bytes) {
  int connection = open_connection();
  uint64_t word = bytes;
  int64_t cpu = 0, wall = 0;
  for (int i = -1; i < transfers; i++) {  // the first is for the caches
    if (i == 0) cpu = server_cpu(pid), wall = nanoseconds(CLOCK_MONOTONIC);
    check(send(connection, &word, sizeof word, MSG_NOSIGNAL) == sizeof word, "send");
    for (size_t missing = bytes; missing > 0;) {
      ssize_t got = recv(connection, room, sizeof room, 0);
      check(got > 0, "recv");
      missing -= got;
    }
  }
  report(transfers, server_cpu(pid) - cpu, nanoseconds(CLOCK_MONOTONIC) - wall);
}

int main(int count, char **arguments) {
  if (count < 6) return fprintf(stderr, "see the head of load.c\n"), 2;
  const char *mode = arguments[1];
  pid_t pid = atoi(arguments[3]);
  char *colon = strchr(arguments[2], ':');
  if (colon) *colon = 0;
  server = (struct sockaddr_in){.sin_family = AF_INET,
                                .sin_port = htons(atoi(colon ? colon + 1 : arguments[2])),
                                .sin_addr.s_addr = inet_addr(colon ? arguments[2] : "127.0.0.1")};
  poller = epoll_create1(0);
  signal(SIGPIPE, SIG_IGN);
  if (!strcmp(mode, "sink")) return sink(pid, atoi(arguments[4]), atol(arguments[5])), 0;
  if (count < 7 || atoi(arguments[5]) > MOST) return 2;
  double seconds = atof(arguments[4]);
  int connections = atoi(arguments[5]);
  if (!strcmp(mode, "echo")) return echo(pid, seconds, connections, atol(arguments[6])), 0;
  if (!strcmp(mode, "churn")) return churn(pid, seconds, connections, arguments[6]), 0;
  return 2;
}
