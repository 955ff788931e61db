// Tests of the thread pool, of forking, and of the choice of the instruction set.
// Run plain, under ASan + UBSan and under TSan. Prints what failed; exit status 0 if nothing did.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../core/arena.hpp"
#include "../core/isa.hpp"
#include "../core/parallel.hpp"
#include "../core/recycler.hpp"
#include "../kernels/table.hpp"
#include "check.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// The thread sanitizer cannot start threads in the child of a process with threads: it hangs in its own
// locks.
#if defined(__SANITIZE_THREAD__)
#define THREADS_IN_CHILD 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREADS_IN_CHILD 1
#endif
#endif
#if !defined(THREADS_IN_CHILD)
#define THREADS_IN_CHILD 3
#endif

using namespace closedform;
using std::ptrdiff_t;

namespace {

void sleep_us(int us) {
    std::this_thread::sleep_for(std::chrono::microseconds(us));
}

// Runs n tasks and says whether each ran exactly once.
bool job_is_right(ptrdiff_t n) {
    std::vector<int> runs(static_cast<std::size_t>(n), 0);
    parallel_for(n, [&](ptrdiff_t i) { runs[static_cast<std::size_t>(i)] += 1; });
    for (int r : runs) {
        if (r != 1) return false;
    }
    return true;
}

void test_every_task_runs_once() {
    for (int threads : {1, 2, 3, 8}) {
        set_num_threads(threads);
        CHECK(num_threads() == threads);
        for (ptrdiff_t n : {0, 1, 2, 3, 17, 1000}) CHECK(job_is_right(n));
    }
    set_num_threads(-3);
    CHECK(num_threads() == 1);
    set_num_threads(1 << 20);
    CHECK(num_threads() == 256);
    CHECK(available_cpus() >= 1);
}

void test_workers_take_part() {
    set_num_threads(3);
    std::atomic<int> inside{0};
    std::atomic<bool> met{false};
    parallel_for(2, [&](ptrdiff_t) {  // the tasks wait for each other: only two threads can do that
        if (++inside == 2) met = true;
        for (int i = 0; i < 50000 && !met; ++i) sleep_us(100);
    });
    CHECK(met);
}

void test_nested_calls() {
    for (int threads : {1, 2, 8}) {
        set_num_threads(threads);
        std::vector<int> right(8, 0);
        parallel_for(8, [&](ptrdiff_t i) { right[static_cast<std::size_t>(i)] = job_is_right(16 + i); });
        for (int r : right) CHECK(r == 1);
    }
}

void test_many_jobs() {
    for (int threads : {2, 8}) {
        set_num_threads(threads);
        long wrong = 0;
        for (int i = 0; i < 5000; ++i) wrong += !job_is_right(2 + i % 7);
        for (int i = 0; i < 30; ++i) {  // long enough apart for the workers to fall asleep
            sleep_us(1000);
            wrong += !job_is_right(2 + i % 7);
        }
        CHECK(wrong == 0);
    }
}

void test_caller_waits_for_a_slow_worker() {
    set_num_threads(2);
    for (int ms : {1, 20}) {
        std::atomic<int> done{0};
        parallel_for(6, [&](ptrdiff_t i) {
            sleep_us(i % 2 ? 1000 * ms : 1);
            ++done;
        });
        CHECK(done == 6);
    }
}

void test_concurrent_callers_and_resizing() {
    set_num_threads(2);
    std::atomic<long> wrong{0};
    in_threads(8, [&](int id) {
        for (int i = 0; i < 300; ++i) wrong += !job_is_right(id + i % 20);
    });
    in_threads(4, [&](int id) {
        for (int i = 0; i < 200; ++i) {
            if (id == 0) set_num_threads(1 + i % 8);
            wrong += !job_is_right(id + i % 20);
        }
    });
    CHECK(wrong == 0);
}

void test_exceptions_reach_the_caller() {
    set_num_threads(3);
    for (int i = 0; i < 50; ++i) {
        std::string caught;
        try {
            parallel_for(20, [&](ptrdiff_t k) {
                Scratch scratch(1000);
                if (k >= 5) throw std::runtime_error("task");
            });
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        CHECK(caught == "task");
        CHECK(job_is_right(20));
    }
    release_scratch();
    CHECK(scratch_bytes() == 0);  // every lease was ended
}

void test_workers_adopt_the_float_mode() {
#if defined(__x86_64__)
    set_num_threads(4);
    CHECK(job_is_right(100));
    const unsigned before = _mm_getcsr();
    for (unsigned flush : {0x8000u, 0u, 0x8000u}) {
        _mm_setcsr((before & ~0x8000u) | flush);
        std::vector<float> y(64);
        parallel_for(64, [&](ptrdiff_t i) {
            volatile float smallest_normal = 1.17549435e-38f;
            sleep_us(10);
            y[static_cast<std::size_t>(i)] = smallest_normal * 0.5f;
        });
        for (float v : y) CHECK((v == 0.0f) == (flush != 0));
    }
    _mm_setcsr(before);
#endif
}

bool floor_works() {
    bool right = true;
    for (int i = 0; i < 20; ++i) right = right && job_is_right(100);
    Scratch scratch(MiB);
    std::memset(scratch.as<char>(), 1, MiB);
    void* block = recycle_allocate(MiB);
    recycle_free(block, MiB);
    return right && block != nullptr && scratch_bytes() >= MiB;
}

// Forks while other threads are in the middle of jobs, leases and allocations; the child works with a pool of
// its own, forks again, and the parent goes on.
void test_fork() {
    set_num_threads(3);
    std::atomic<bool> stop{false};
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) {
        others.emplace_back([&] {
            while (!stop) CHECK(floor_works());
        });
    }
    for (int i = 0; i < 20; ++i) {
        std::fflush(stdout);
        const pid_t child = fork();
        if (child == 0) {
            alarm(60);  // a hang is a failure
            set_num_threads(THREADS_IN_CHILD);
            const bool right = floor_works();
            const pid_t grandchild = fork();
            if (grandchild == 0) _exit(floor_works() ? 0 : 1);
            int status = 1;
            waitpid(grandchild, &status, 0);
            release_scratch();
            recycle_release();
            _exit(right && status == 0 && scratch_bytes() == 0 && recycle_held_bytes() == 0 ? 0 : 1);
        }
        int status = 1;
        waitpid(child, &status, 0);
        CHECK(status == 0);
        CHECK(job_is_right(50));
    }
    stop = true;
    for (auto& thread : others) thread.join();
    recycle_release();
}

void test_isa() {
    int n = 0;
    const char* const* names = available_isas(&n);
    CHECK(n >= 1);
    CHECK(std::strcmp(kernels().isa, names[n - 1]) == 0);  // the fastest, unless told otherwise
    for (int i = 0; i < n; ++i) {
        CHECK(isa_supported(names[i]) && select_isa(names[i]));
        CHECK(std::strcmp(kernels().isa, names[i]) == 0);
    }
    CHECK(!isa_supported("v9") && !select_isa("v9") && !select_isa(""));
    CHECK(std::strcmp(kernels().isa, names[n - 1]) == 0);
    in_threads(4, [&](int id) {
        for (int i = 0; i < 1000; ++i) {
            if (!select_isa(names[(id + i) % n]) || kernels().isa == nullptr) ++failures;
        }
    });
}

}  // namespace

int main() {
    test_isa();
    test_every_task_runs_once();
    test_workers_take_part();
    test_nested_calls();
    test_many_jobs();
    test_caller_waits_for_a_slow_worker();
    test_concurrent_callers_and_resizing();
    test_exceptions_reach_the_caller();
    test_workers_adopt_the_float_mode();
    test_fork();
    std::printf("%d failed\n", failures.load());
    return failures == 0 ? 0 : 1;  // with workers awake: leaving must neither hang nor crash
}
