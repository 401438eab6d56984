/* The numbers of the architecture that this is compiled for. */
#define _GNU_SOURCE 1
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "listed.h"

struct cnumbers cnumbers_of_libc(void) { return listed; }

int cnumbers_try(long number) {
  /* No descriptor, or too large a size, and no memory: each of the five refuses. Not -1, which
   * io_uring_register(2) takes for "no ring" since 6.13. */
  return syscall(number, -2, 0, 0, 0, 0, 0) < 0 ? errno : 0;
}
