// Answers every eight bytes with as many bytes as they say. `origin` prints its port.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "common.h"

static char content[1 << 20];

static void *serve(void *argument) {
  int connection = (int)(intptr_t)argument;
  uint64_t word;
  while (recv(connection, &word, sizeof word, MSG_WAITALL) == sizeof word) {
    while (word > 0) {
      ssize_t sent = send(connection, content, word < sizeof content ? word : sizeof content, 0);
      if (sent <= 0) break;
      word -= sent;
    }
  }
  close(connection);
  return NULL;
}

int main(void) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  signal(SIGPIPE, SIG_IGN);
  check(bind(listener, (void *)&address, length) == 0, "bind");
  check(listen(listener, 64) == 0, "listen");
  check(getsockname(listener, (void *)&address, &length) == 0, "getsockname");
  printf("port %d\n", ntohs(address.sin_port));
  fflush(stdout);
  for (;;) {
    int made = accept(listener, NULL, NULL);
    if (made < 0) continue;
    setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    pthread_t thread;
    check(pthread_create(&thread, NULL, serve, (void *)(intptr_t)made) == 0, "pthread_create");
    pthread_detach(thread);
  }
}
