/* What a proxy of large responses cannot do without: receives each response from a server over HTTP/1.1, encrypts
 * it with AES-128-GCM in pieces of 16 KiB, and sends it on, with one recv(2) and one send(2) each. There is no HTTP/2,
 * no TLS and no event loop, and what is sent is only read. Prints the microseconds of CPU per response.
 *
 *   floor PORT PATH CONNECTIONS RESPONSES */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 16384, HEADER = 5, TAG = 16, MOST_CONNECTIONS = 256, ROOM = 1 << 21 };

static unsigned char received[ROOM + 1], wire[ROOM];

static void give_up(const char *what) {
  perror(what);
  exit(1);
}

static void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) give_up("sched_setaffinity");
}

static int dial(int port) {
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;
  if (s < 0 || connect(s, (struct sockaddr *)&address, sizeof address) != 0) give_up("connect");
  setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  return s;
}

/* Reads what is sent, on the other CPU. */
static pid_t start_reader(int *port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
      listen(listener, MOST_CONNECTIONS) != 0 ||
      getsockname(listener, (struct sockaddr *)&address, &length) != 0)
    give_up("listen");
  *port = ntohs(address.sin_port);
  pid_t reader = fork();
  if (reader < 0) give_up("fork");
  if (reader == 0) {
    pin(1);
    /* One process a connection would cost CPU 0 more wake-ups than a load generator causes: one for all. */
    fd_set all, ready;
    int highest = listener;
    FD_ZERO(&all);
    FD_SET(listener, &all);
    for (;;) {
      ready = all;
      if (select(highest + 1, &ready, NULL, NULL, NULL) < 0) _exit(1);
      for (int s = 0; s <= highest; s++) {
        if (!FD_ISSET(s, &ready)) continue;
        if (s == listener) {
          int made = accept(listener, NULL, NULL);
          if (made < 0) _exit(1);
          FD_SET(made, &all);
          if (made > highest) highest = made;
        } else if (recv(s, wire, sizeof wire, MSG_DONTWAIT) == 0) {
          _exit(0);
        }
      }
    }
  }
  close(listener);
  return reader;
}

static double cpu_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static long encrypt(EVP_CIPHER_CTX *cipher, const unsigned char *content, long count) {
  static unsigned char nonce[12];
  long used = 0;
  for (long at = 0; at < count; at += RECORD) {
    int part = count - at < RECORD ? count - at : RECORD, made;
    unsigned char *place = wire + used;
    nonce[11]++;
    memcpy(place, "\x17\x03\x03\x40\x11", HEADER);
    if (EVP_EncryptInit_ex(cipher, NULL, NULL, NULL, nonce) != 1 ||
        EVP_EncryptUpdate(cipher, NULL, &made, place, HEADER) != 1 ||
        EVP_EncryptUpdate(cipher, place + HEADER, &made, content + at, part) != 1 ||
        EVP_EncryptFinal_ex(cipher, place + HEADER + part, &made) != 1 ||
        EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_GCM_GET_TAG, TAG, place + HEADER + part) != 1)
      give_up("AES-GCM");
    used += HEADER + part + TAG;
  }
  return used;
}

int main(int count, char **words) {
  if (count != 5) {
    fprintf(stderr, "usage: floor PORT PATH CONNECTIONS RESPONSES\n");
    return 64;
  }
  int port = atoi(words[1]), connections = atoi(words[3]), responses = atoi(words[4]), onward;
  if (connections < 1 || connections > MOST_CONNECTIONS) return 64;
  pid_t reader = start_reader(&onward);
  pin(0);
  int in[MOST_CONNECTIONS], out[MOST_CONNECTIONS];
  for (int i = 0; i < connections; i++) {
    in[i] = dial(port);
    out[i] = dial(onward);
  }
  char request[512];
  int asked = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", words[2]);
  if (asked >= (int)sizeof request) return 64;
  unsigned char key[16] = {1};
  EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
  EVP_EncryptInit_ex(cipher, EVP_aes_128_gcm(), NULL, key, NULL);

  /* The first response tells how long all of them are. */
  if (send(in[0], request, asked, MSG_NOSIGNAL) != asked) give_up("send");
  long whole = 0, head = 0, content = 0;
  while (head == 0 || whole < head + content) {
    ssize_t got = recv(in[0], received + whole, ROOM - whole, 0);
    if (got <= 0) give_up("recv");
    whole += got;
    received[whole] = 0;
    char *end = strstr((char *)received, "\r\n\r\n");
    if (head > 0 || end == NULL) continue;
    char *length = strcasestr((char *)received, "content-length:");
    if (length == NULL || length > end) {
      fprintf(stderr, "floor: the response has no Content-Length\n");
      return 1;
    }
    head = end + 4 - (char *)received;
    content = atol(length + strlen("content-length:"));
    if (head + content > ROOM / 2) {
      fprintf(stderr, "floor: the response is too long\n");
      return 1;
    }
  }

  int rounds = responses / connections, warm = rounds / 10;
  double began = 0;
  for (int round = -warm; round < rounds; round++) {
    if (round == 0) began = cpu_seconds();
    for (int i = 0; i < connections; i++)
      if (send(in[i], request, asked, MSG_NOSIGNAL) != asked) give_up("send");
    for (int i = 0; i < connections; i++) {
      if (recv(in[i], received, whole, MSG_WAITALL) != whole) give_up("recv");
      long sealed = encrypt(cipher, received + head, content);
      if (send(out[i], wire, sealed, MSG_NOSIGNAL) != sealed) give_up("send");
    }
  }
  printf("%.2f\n", (cpu_seconds() - began) / rounds / connections * 1e6);
  kill(reader, SIGKILL);
  waitpid(reader, NULL, 0);
  return 0;
}
