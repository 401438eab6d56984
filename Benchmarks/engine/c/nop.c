// 1,000 no-operations submitted and completed in one enter, again and again: what liburing's own
// queue handling and the kernel's part of an operation cost. `nop SECONDS` prints the operations
// done and the CPU nanoseconds that they took.

#include "ring.h"

enum { BATCH = 1000 };

int main(int count, char **arguments) {
  double seconds = count > 1 ? atof(arguments[1]) : 1;
  struct io_uring ring;
  make_ring(&ring, 1024, 16384);
  uint64_t operations = 0, sum = 0;
  int64_t started = 0, ends = 0;
  for (uint64_t round = 0;; round++) {
    for (unsigned i = 0; i < BATCH; i++) {
      struct io_uring_sqe *entry = io_uring_get_sqe(&ring);
      io_uring_prep_nop(entry);
      io_uring_sqe_set_data64(entry, i);
    }
    check(io_uring_submit_and_wait(&ring, BATCH) == BATCH, "io_uring_submit_and_wait");
    struct io_uring_cqe *completion;
    unsigned head, taken = 0;
    io_uring_for_each_cqe(&ring, head, completion) {
      sum += completion->user_data;
      taken++;
    }
    io_uring_cq_advance(&ring, taken);
    check(taken == BATCH, "completions of a batch");
    if (round < 200) {  // caches and the first pages
      started = own_cpu();
      ends = nanoseconds(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
      continue;
    }
    operations += BATCH;
    if (round % 64 == 0 && nanoseconds(CLOCK_MONOTONIC) > ends) break;
  }
  printf("operations %lu cpu %ld\n", operations, own_cpu() - started);
  return sum == 0;  // used, so that no compiler leaves the loop out
}
