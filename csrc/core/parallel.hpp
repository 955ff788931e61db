// parallel_for: the only door to the thread pool.
//
// The per-ISA kernel objects include this header, so it holds declarations and helpers of internal linkage
// only: nothing here may become a weak symbol compiled for one instruction set.
#pragma once

#include <cstddef>

namespace closedform {

// Runs task(context, i) for every i in [0, n) and returns when all are done. Tasks run in any order on any
// thread, so a task writes to its own slots only; then results do not depend on the number of threads.
// Cut work by problem size, never by num_threads().
//
// Called from within a task, or while another thread has the pool, it runs the tasks in the calling thread:
// it never waits for somebody else's job. A task must not fork. If a task throws (a Scratch that finds no
// memory), the remaining tasks may be skipped and the first exception is rethrown here.
void parallel_run(std::ptrdiff_t n, void (*task)(void* context, std::ptrdiff_t index), void* context);

// How many threads, the caller's included, a job may use: available_cpus() until set_num_threads(n), which
// brings n into [1, 256] and takes effect at the next job. Both may be called at any time from any thread.
int num_threads();
void set_num_threads(int n);

// CPUs this process may use, at least 1: its affinity mask, and on Linux its control group's quota, rounded
// up.
int available_cpus();

namespace {

template <class F>
void run_task(void* f, std::ptrdiff_t index) {
    const F task = *static_cast<const F*>(f);  // a local: through the pointer, every store would make the
    task(index);                               // compiler read again what the task has captured
}

// f(i) for every i in [0, n), under the rules of parallel_run.
template <class F>
inline void parallel_for(std::ptrdiff_t n, const F& f) {
    parallel_run(n, run_task<F>, const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace
}  // namespace closedform
