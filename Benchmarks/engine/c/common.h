// What the C programs of this folder share: how they fail, how they read CPU time, and the ring
// that every C subject is set up with.
#ifndef COMMON_H
#define COMMON_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static inline void check(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(1);
}

static inline int64_t nanoseconds(clockid_t clock) {
  struct timespec now;
  check(clock_gettime(clock, &now) == 0, "clock_gettime");
  return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// CPU time of this process, user and system. The clock, not getrusage(2), whose user time is only
// as fine as what the scheduler saw; both count the same.
static inline int64_t own_cpu(void) { return nanoseconds(CLOCK_PROCESS_CPUTIME_ID); }

#endif
