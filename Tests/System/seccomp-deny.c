// Runs a command in a world where io_uring_setup(2) is refused, as a container's seccomp profile
// would do it. It owns one filter and nothing else; every other system call passes untouched.
//
//   seccomp-deny EPERM|ENOSYS|KILL COMMAND [ARGUMENT...]
//
// EPERM is what Docker's default profile answers, ENOSYS what older profiles and gVisor answer, and
// KILL (SECCOMP_RET_KILL_PROCESS) is what systemd's SystemCallFilter= does without an error number.

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

// The same number on every architecture that came after the unified table (Linux 5.1), x86-64 included.
#define IO_URING_SETUP 425

int main(int count, char **arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: %s EPERM|ENOSYS|KILL COMMAND [ARGUMENT...]\n", arguments[0]);
    return 64;
  }
  unsigned int verdict;
  if (strcmp(arguments[1], "EPERM") == 0) {
    verdict = SECCOMP_RET_ERRNO | EPERM;
  } else if (strcmp(arguments[1], "ENOSYS") == 0) {
    verdict = SECCOMP_RET_ERRNO | ENOSYS;
  } else if (strcmp(arguments[1], "KILL") == 0) {
    verdict = SECCOMP_RET_KILL_PROCESS;
  } else {
    fprintf(stderr, "%s: unknown mode %s; use EPERM, ENOSYS or KILL\n", arguments[0], arguments[1]);
    return 64;
  }

  struct sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IO_URING_SETUP, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, verdict),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {
      .len = sizeof instructions / sizeof instructions[0],
      .filter = instructions,
  };
  // Without new privileges an unprivileged process may install a filter too (seccomp(2)).
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    perror("seccomp-deny: prctl(PR_SET_NO_NEW_PRIVS)");
    return 69;
  }
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) != 0) {
    perror("seccomp-deny: prctl(PR_SET_SECCOMP)");
    return 69;
  }
  execvp(arguments[2], arguments + 2);
  fprintf(stderr, "seccomp-deny: %s: %s\n", arguments[2], strerror(errno));
  return 127;
}
