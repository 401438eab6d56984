/* The numbers as the header that was included before names them. */
#include "CNumbers.h"

#ifndef __NR_io_uring_setup
#define __NR_io_uring_setup -1
#endif
#ifndef __NR_io_uring_enter
#define __NR_io_uring_enter -1
#endif
#ifndef __NR_io_uring_register
#define __NR_io_uring_register -1
#endif
#ifndef __NR_statx
#define __NR_statx -1
#endif
#ifndef __NR_epoll_pwait2
#define __NR_epoll_pwait2 -1
#endif
#ifndef __NR_perf_event_open
#define __NR_perf_event_open -1
#endif

static const struct cnumbers listed = {
    .io_uring_setup = __NR_io_uring_setup,
    .io_uring_enter = __NR_io_uring_enter,
    .io_uring_register = __NR_io_uring_register,
    .statx = __NR_statx,
    .epoll_pwait2 = __NR_epoll_pwait2,
    .perf_event_open = __NR_perf_event_open,
};
