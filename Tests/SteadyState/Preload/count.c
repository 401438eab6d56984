/* Counts what a program asks of the heap and of Swift's reference counts, by standing in front of
 * both with LD_PRELOAD. scripts/steady-state builds it and runs the driver under it. All threads
 * count into the same figures: an engine's file threads are part of the engine. */
#define _GNU_SOURCE 1
#include <dlfcn.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>

enum { ALLOCATIONS, FREES, RETAINS, RELEASES, ACCESSES, FIGURES };
static _Atomic uint64_t figures[FIGURES];

/* The driver finds this by name and so knows that it is being counted. */
void steady_state_figures(uint64_t *into) {
  for (int i = 0; i < FIGURES; i++) into[i] = atomic_load_explicit(&figures[i], memory_order_relaxed);
}

static inline void count(int figure) {
  atomic_fetch_add_explicit(&figures[figure], 1, memory_order_relaxed);
}

/* The heap: glibc has a second name for each of these. */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) { count(ALLOCATIONS); return __libc_malloc(size); }
void *calloc(size_t n, size_t size) { count(ALLOCATIONS); return __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { count(ALLOCATIONS); return __libc_realloc(p, size); }
void *memalign(size_t align, size_t size) { count(ALLOCATIONS); return __libc_memalign(align, size); }
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **into, size_t align, size_t size) {
  void *p = memalign(align, size);
  if (!p) return ENOMEM;
  *into = p;
  return 0;
}
void free(void *p) { if (p) count(FREES); __libc_free(p); }

/* Reference counts: the runtime is a shared library, so its functions are called through a table
 * in which this library's come first. */
#define PASS_ON(name) \
  static _Atomic(void *) next_##name; \
  static inline void *the_##name(void) { \
    void *f = atomic_load_explicit(&next_##name, memory_order_relaxed); \
    if (!f) { \
      f = dlsym(RTLD_NEXT, #name); \
      atomic_store_explicit(&next_##name, f, memory_order_relaxed); \
    } \
    return f; \
  }
#define COUNTED(name, figure) \
  PASS_ON(name) \
  void *name(void *object) { \
    count(figure); \
    return ((void *(*)(void *))the_##name())(object); \
  }
#define COUNTED_N(name, figure) \
  PASS_ON(name) \
  void *name(void *object, uint32_t n) { \
    count(figure); \
    return ((void *(*)(void *, uint32_t))the_##name())(object, n); \
  }
COUNTED(swift_retain, RETAINS)
COUNTED(swift_release, RELEASES)
COUNTED_N(swift_retain_n, RETAINS)
COUNTED_N(swift_release_n, RELEASES)
COUNTED(swift_bridgeObjectRetain, RETAINS)
COUNTED(swift_bridgeObjectRelease, RELEASES)
COUNTED(swift_nonatomic_retain, RETAINS)
COUNTED(swift_nonatomic_release, RELEASES)

/* Exclusivity checks: one per access to a class's field that the compiler could not prove. */
PASS_ON(swift_beginAccess)
void swift_beginAccess(void *pointer, void *buffer, uintptr_t flags, void *pc) {
  count(ACCESSES);
  ((void (*)(void *, void *, uintptr_t, void *))the_swift_beginAccess())(pointer, buffer, flags, pc);
}
