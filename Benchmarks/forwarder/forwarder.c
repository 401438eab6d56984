// A byte forwarder with no HTTP in it: accepts a connection, opens its twin to the upstream, and
// moves bytes both ways. Benchmarks/run holds proxies against it, because what it costs is the
// price of the TCP stack and of the system calls alone. It serves loopback only, without timeouts.
#include "forwarder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

void fail(const char *what) {
  fprintf(stderr, "forwarder: %s: %s\n", what, strerror(errno));
  exit(1);
}

void set_no_delay(int socket) {
  int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

int connect_upstream(const struct settings *settings) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  const struct sockaddr *address = (const struct sockaddr *)&settings->upstream;
  if (connect(fd, address, sizeof settings->upstream) < 0 ||
      fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
    close(fd);
    return -1;
  }
  set_no_delay(fd);
  return fd;
}

static struct sockaddr_in loopback(const char *port) {
  char *end;
  unsigned long number = strtoul(port, &end, 10);
  if (*end != '\0' || number == 0 || number > 65535) {
    fprintf(stderr, "forwarder: `%s` is not a port (1 to 65535)\n", port);
    exit(2);
  }
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

static int listen_on(struct sockaddr_in address) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("socket");
  int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("bind");
  if (listen(fd, 1024) < 0) fail("listen");
  return fd;
}

int main(int count, char **arguments) {
  bool ring = count >= 2 && strcmp(arguments[1], "io_uring") == 0;
  bool epoll = count >= 2 && strcmp(arguments[1], "epoll") == 0;
  if ((count != 4 && count != 5) || (!ring && !epoll)) {
    fprintf(stderr, "usage: forwarder epoll|io_uring LISTEN_PORT UPSTREAM_PORT [BUFFER_BYTES]\n");
    return 2;
  }
  struct settings settings = {
      .upstream = loopback(arguments[3]),
      .buffer_bytes = count == 5 ? strtoul(arguments[4], NULL, 10) : 65536,
  };
  if (settings.buffer_bytes < 1024 || settings.buffer_bytes > 1048576) {
    fprintf(stderr, "forwarder: BUFFER_BYTES must be 1024 to 1048576\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  settings.listener = listen_on(loopback(arguments[2]));
  if (ring) run_ring(&settings);
  run_epoll(&settings);
}
