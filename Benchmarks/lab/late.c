// An origin for `Benchmarks/lab/run tail`: answers every request at once with 1 KiB, and every nth one
// MILLISECONDS later, without holding up the others. So it is known of a proxy before it which share of
// its requests is late, and by how much.
//
//   late PORT NTH MILLISECONDS      NTH 0: none is late
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { CONTENT = 1024, WAITING = 65536, HEAD = 128 };

static char answer[HEAD + CONTENT];
static int answer_bytes;
// All wait equally long, so that the first in is the first out.
static struct {
  int socket;
  long long due;
} waiting[WAITING];
static unsigned first, last;

static long long microseconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static void must(int ok, const char *what) {
  if (ok) return;
  perror(what);
  exit(1);
}

int main(int count, char **words) {
  if (count != 4) return fprintf(stderr, "late PORT NTH MILLISECONDS\n"), 2;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  long nth = atol(words[2]), late = atol(words[3]) * 1000, number = 0;
  answer_bytes = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", CONTENT);
  memset(answer + answer_bytes, 'x', CONTENT);
  answer_bytes += CONTENT;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1, poller = epoll_create1(0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1])),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  must(bind(listener, (void *)&address, sizeof address) == 0 && listen(listener, 1024) == 0, "listen");
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
  epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    long long left = first == last ? -1 : waiting[first % WAITING].due - microseconds();
    struct timespec limit = {.tv_sec = 0, .tv_nsec = left > 0 ? left * 1000 : 0};
    int ready = epoll_pwait2(poller, events, 256, first == last ? NULL : &limit, NULL);
    for (int i = 0; i < ready; i++) {
      int socket = events[i].data.fd;
      if (socket == listener) {
        int made = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (made < 0) continue;
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        event.data.fd = made;
        epoll_ctl(poller, EPOLL_CTL_ADD, made, &event);
        continue;
      }
      // A request of the lab fits one read, and a proxy sends one at a time.
      char request[16384];
      if (recv(socket, request, sizeof request, 0) <= 0) {
        close(socket);
      } else if (nth > 0 && ++number % nth == 0 && last - first < WAITING) {
        waiting[last % WAITING].socket = socket;
        waiting[last++ % WAITING].due = microseconds() + late;
      } else {
        send(socket, answer, answer_bytes, MSG_NOSIGNAL);
      }
    }
    while (first != last && waiting[first % WAITING].due <= microseconds())
      send(waiting[first++ % WAITING].socket, answer, answer_bytes, MSG_NOSIGNAL);
  }
}
