/* What the headers of this machine say about the system calls that CLinux makes by number: the C
 * library's for the architecture at hand, and the kernel's generic table, which is arm64's, on any.
 * The two headers cannot be included in one file, so each has its own. */
#ifndef MILLRACE_CNUMBERS_H
#define MILLRACE_CNUMBERS_H

/* -1: the header is older than the call. */
struct cnumbers {
  long io_uring_setup, io_uring_enter, io_uring_register, statx, epoll_pwait2, perf_event_open;
};

struct cnumbers cnumbers_of_libc(void);
struct cnumbers cnumbers_of_generic_table(void);

/* Makes the call with arguments that do nothing, and returns its errno. */
int cnumbers_try(long number);

#endif
