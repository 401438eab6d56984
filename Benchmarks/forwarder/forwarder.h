// What both loops of the bare forwarder share: the command's settings and the two socket calls that
// are the same in each. It knows no HTTP and keeps no statistics; the figure it exists for is the
// cost of moving bytes, below which no proxy on this machine can go.
#ifndef FORWARDER_H
#define FORWARDER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct settings {
  int listener;                 // bound and listening; accepted sockets come from here
  struct sockaddr_in upstream;  // one connection is made to it for each that is accepted
  size_t buffer_bytes;          // one receive takes at most this much
};

// Connects to the upstream and returns a non-blocking socket with TCP_NODELAY, or -1. It blocks,
// which on loopback means one handshake inside the kernel and no wait.
int connect_upstream(const struct settings *settings);

// TCP_NODELAY: with Nagle's algorithm on, the second segment of a message waits for an ACK.
void set_no_delay(int socket);

// Prints `what: strerror(errno)` and exits 1: for set-up, where nothing can be carried on.
void fail(const char *what) __attribute__((noreturn));

// The two loops. They return only by exiting.
void run_epoll(const struct settings *settings) __attribute__((noreturn));
void run_ring(const struct settings *settings) __attribute__((noreturn));

#endif
