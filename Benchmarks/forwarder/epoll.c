// The epoll loop: edge-triggered, one receive and one send for a message, one shared buffer that
// stays in the cache. Bytes that the other side does not take at once wait in memory of their own,
// and the side they came from is not read again until they have gone.
#define _GNU_SOURCE  // accept4
#include "forwarder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BATCH = 256 };

struct pair;

// One socket of a pair, and the bytes that wait to be sent on it.
struct side {
  struct pair *pair;
  struct side *peer;
  int fd;
  bool readable;     // an edge came and the socket has not been drained since
  bool ended;        // the peer closed its half: no more bytes come from here
  bool end_passed;   // and the other side has been told
  char *waiting;     // unsent bytes for this socket; NULL when there are none
  size_t waiting_start, waiting_end;
};

struct pair {
  struct side sides[2];
  bool dead;
  struct pair *next_dead;
};

struct loop {
  int epoll;
  const struct settings *settings;
  char *buffer;
  struct pair *dead;  // freed after the batch, because later events of the batch may name them
};

static void bury(struct loop *loop, struct pair *pair) {
  if (pair->dead) return;
  pair->dead = true;
  pair->next_dead = loop->dead;
  loop->dead = pair;
}

static void free_dead(struct loop *loop) {
  while (loop->dead != NULL) {
    struct pair *pair = loop->dead;
    loop->dead = pair->next_dead;
    for (int i = 0; i < 2; i++) {
      close(pair->sides[i].fd);
      free(pair->sides[i].waiting);
    }
    free(pair);
  }
}

// Keeps what `to` did not take. False when there is no memory for it.
static bool keep(struct side *to, const char *bytes, size_t count) {
  to->waiting = malloc(count);
  if (to->waiting == NULL) return false;
  memcpy(to->waiting, bytes, count);
  to->waiting_start = 0;
  to->waiting_end = count;
  return true;
}

// Sends and keeps the rest. False when the connection is lost.
static bool pass(struct side *to, const char *bytes, size_t count) {
  ssize_t sent = send(to->fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) {
    if (errno != EAGAIN) return false;
    sent = 0;
  }
  return (size_t)sent == count || keep(to, bytes + sent, count - (size_t)sent);
}

static bool pass_end(struct side *from) {
  if (from->ended && !from->end_passed && from->peer->waiting == NULL) {
    from->end_passed = true;
    shutdown(from->peer->fd, SHUT_WR);
  }
  return !(from->end_passed && from->peer->end_passed);
}

// Moves bytes from `from` to its peer until the socket is drained or the peer is full. A receive
// that fills less than the buffer has drained the socket: what comes later brings an edge of its
// own. Only an end that came with the bytes brings none, so `until_end` reads on. False: the pair
// is over.
static bool drain(struct loop *loop, struct side *from, bool until_end) {
  while (from->readable && !from->ended && from->peer->waiting == NULL) {
    ssize_t count = recv(from->fd, loop->buffer, loop->settings->buffer_bytes, MSG_DONTWAIT);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN) return false;
      from->readable = false;
    } else if (count == 0) {
      from->ended = true;
    } else {
      if (!pass(from->peer, loop->buffer, (size_t)count)) return false;
      if ((size_t)count < loop->settings->buffer_bytes && !until_end) from->readable = false;
    }
  }
  return pass_end(from);
}

// Sends what waited for `to`, then lets its peer be read again.
static bool flush(struct loop *loop, struct side *to) {
  if (to->waiting == NULL) return true;
  size_t count = to->waiting_end - to->waiting_start;
  ssize_t sent =
      send(to->fd, to->waiting + to->waiting_start, count, MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent < 0) return errno == EAGAIN || errno == EINTR;
  to->waiting_start += (size_t)sent;
  if (to->waiting_start < to->waiting_end) return true;
  free(to->waiting);
  to->waiting = NULL;
  // The edge that said "readable" may be long gone, together with one that said "ended".
  return drain(loop, to->peer, true);
}

static bool watch(struct loop *loop, struct side *side) {
  struct epoll_event event = {
      .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
      .data.ptr = side,
  };
  return epoll_ctl(loop->epoll, EPOLL_CTL_ADD, side->fd, &event) == 0;
}

static void accept_all(struct loop *loop) {
  for (;;) {
    int fd = accept4(loop->settings->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    int upstream = connect_upstream(loop->settings);
    struct pair *pair = upstream < 0 ? NULL : calloc(1, sizeof *pair);
    if (pair == NULL) {
      close(fd);
      if (upstream >= 0) close(upstream);
      continue;
    }
    set_no_delay(fd);
    pair->sides[0] = (struct side){.pair = pair, .peer = &pair->sides[1], .fd = fd};
    pair->sides[1] = (struct side){.pair = pair, .peer = &pair->sides[0], .fd = upstream};
    if (!watch(loop, &pair->sides[0]) || !watch(loop, &pair->sides[1])) bury(loop, pair);
  }
}

static void handle(struct loop *loop, struct side *side, uint32_t events) {
  if (side->pair->dead) return;
  bool alive = (events & EPOLLERR) == 0;
  if (alive && (events & EPOLLOUT)) alive = flush(loop, side);
  if (alive && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP))) {
    side->readable = true;
    alive = drain(loop, side, (events & (EPOLLRDHUP | EPOLLHUP)) != 0);
  }
  if (!alive) bury(loop, side->pair);
}

void run_epoll(const struct settings *settings) {
  struct loop loop = {
      .epoll = epoll_create1(EPOLL_CLOEXEC),
      .settings = settings,
      .buffer = malloc(settings->buffer_bytes),
  };
  if (loop.epoll < 0 || loop.buffer == NULL) fail("epoll_create1");
  struct epoll_event listener = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(loop.epoll, EPOLL_CTL_ADD, settings->listener, &listener) < 0) fail("epoll_ctl");
  struct epoll_event events[BATCH];
  for (;;) {
    int count = epoll_wait(loop.epoll, events, BATCH, -1);
    if (count < 0 && errno != EINTR) fail("epoll_wait");
    for (int i = 0; i < count; i++) {
      if (events[i].data.ptr == NULL) accept_all(&loop);
      else handle(&loop, events[i].data.ptr, events[i].events);
    }
    free_dead(&loop);
  }
}
