// The ring of the C subjects: liburing with the flags that Millrace's engine asks for, less
// NO_SQARRAY, which liburing 2.3 does not know.
#ifndef RING_H
#define RING_H

#include <liburing.h>

#include "common.h"

static inline void make_ring(struct io_uring *ring, unsigned entries, unsigned completions) {
  struct io_uring_params parameters = {
      .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
               IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE,
      .cq_entries = completions};
  errno = -io_uring_queue_init_params(entries, ring, &parameters);
  check(errno == 0, "io_uring_queue_init_params");
  check(io_uring_register_ring_fd(ring) == 1, "io_uring_register_ring_fd");
}

#endif
