// A file read by pread(2) in a loop, as most programs do. `pread PATH ORDER MODE [cold]`: the words
// are those of `engine-bench files`, of which MODE `registered` means nothing here.
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common.h"

int main(int count, char **arguments) {
  if (count < 4) return 2;
  int random = !strcmp(arguments[2], "random"), direct = !strcmp(arguments[3], "direct");
  size_t bytes = random ? 4096 : 65536;
  int file = open(arguments[1], O_RDONLY | (direct ? O_DIRECT : 0));
  check(file >= 0, "open");
  struct stat status;
  check(fstat(file, &status) == 0, "fstat");
  if (count > 4) {
    fsync(file);
    check(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED) == 0, "posix_fadvise");
  }
  void *room;
  check(posix_memalign(&room, 4096, bytes) == 0, "posix_memalign");
  size_t blocks = status.st_size / bytes, reads = random ? blocks / 8 : blocks;
  int64_t cpu = own_cpu(), wall = nanoseconds(CLOCK_MONOTONIC);
  for (size_t i = 0; i < reads; i++) {
    size_t place = random ? i * 40503 % blocks : i;
    check(pread(file, room, bytes, place * bytes) == (ssize_t)bytes, "pread");
  }
  printf("operations %lu cpu %ld wall %ld\n", reads * bytes / 1024, own_cpu() - cpu,
         nanoseconds(CLOCK_MONOTONIC) - wall);
}
