// Tests of csrc/core's run-time floor: pool, arenas, recycler, choice of the instruction set.
//
// Built from this file and core/{parallel,cpus,arena,recycler,isa}.cpp, with CF_HAVE_BASELINE, CF_HAVE_V3,
// CF_HAVE_V4 and CF_HAVE_NEON all defined (the tables are made up below). Run plain, under ASan + UBSan and
// under TSan. Prints what failed; exit status 0 if nothing did.
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "../core/arena.hpp"
#include "../core/isa.hpp"
#include "../core/parallel.hpp"
#include "../core/recycler.hpp"

#if defined(__unix__) || defined(__APPLE__)
#define HAVE_FORK 1
#include <sys/wait.h>
#include <unistd.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

// The thread sanitizer by default kills a child that starts threads after a fork; that is what is tested here.
extern "C" const char* __tsan_default_options() { return "die_after_fork=0"; }

namespace closedform {
struct KernelTable {
    const char* isa;
};
extern const KernelTable table_baseline{"baseline"}, table_v3{"v3"}, table_v4{"v4"}, table_neon{"neon"};
}  // namespace closedform

using namespace closedform;
using std::ptrdiff_t;

namespace {

std::atomic<int> failures{0};

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition);  \
            ++failures;                                                          \
        }                                                                        \
    } while (0)

constexpr std::size_t MiB = std::size_t{1} << 20;

void sleep_us(int us) { std::this_thread::sleep_for(std::chrono::microseconds(us)); }

// Runs n tasks and says whether each ran exactly once.
bool job_is_right(ptrdiff_t n) {
    std::vector<int> runs(static_cast<std::size_t>(n), 0);
    parallel_for(n, [&](ptrdiff_t i) { runs[static_cast<std::size_t>(i)] += 1; });
    for (int r : runs) {
        if (r != 1) return false;
    }
    return true;
}

void in_threads(int n, const std::function<void(int)>& f) {
    std::vector<std::thread> threads;
    for (int i = 0; i < n; ++i) threads.emplace_back(f, i);
    for (auto& thread : threads) thread.join();
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
    return right && block != nullptr && recycle_held_bytes() >= MiB && scratch_bytes() >= MiB;
}

// Forks while other threads are in the middle of jobs, leases and allocations; the child works with a pool of
// its own, forks again, and the parent goes on.
void test_fork() {
#if HAVE_FORK
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
#endif
}

void test_leases() {
    release_scratch();
    CHECK(scratch_bytes() == 0);
    {
        Scratch empty(0), a(1), b(100), c(3 * MiB), d(5 * MiB);  // c and d do not fit: the arena has begun small
        char *pa = a.as<char>(), *pb = b.as<char>(), *pc = c.as<char>(), *pd = d.as<char>();
        for (char* p : {pa, pb, pc, pd}) CHECK(reinterpret_cast<std::uintptr_t>(p) % 64 == 0);
        CHECK(pb == pa + 64);
        std::memset(pa, 1, 1);
        std::memset(pb, 2, 100);
        std::memset(pc, 3, 3 * MiB);
        std::memset(pd, 4, 5 * MiB);
        CHECK(pa[0] == 1 && pb[99] == 2 && pc[0] == 3 && pd[5 * MiB - 1] == 4);
        release_scratch();  // in use: nothing happens
        CHECK(scratch_bytes() > 0 && pa[0] == 1);
    }
    { Scratch next(1), c(3 * MiB); }
    const std::size_t settled = scratch_bytes();
    CHECK(settled >= 3 * MiB && settled <= 16 * MiB);
    for (int i = 0; i < 1000; ++i) Scratch again(3 * MiB);
    CHECK(scratch_bytes() == settled);
    {
        Scratch large(100 * MiB);  // over the cap: a block of its own
        large.as<char>()[0] = large.as<char>()[100 * MiB - 1] = 1;
        CHECK(scratch_bytes() == settled);
    }
    for (std::size_t bytes : {SIZE_MAX, SIZE_MAX - 64, SIZE_MAX / 2, SIZE_MAX / 8}) {
        bool thrown = false;
        try {
            Scratch impossible(bytes);
        } catch (const std::bad_alloc&) {
            thrown = true;
        }
        CHECK(thrown);
    }
    in_threads(1, [](int) { release_scratch(); });  // frees ours, from elsewhere
    CHECK(scratch_bytes() == 0);
    in_threads(4, [](int) { Scratch lease(MiB); });  // goes with the thread
    CHECK(scratch_bytes() == 0);
}

void test_leases_against_release() {
    std::atomic<bool> stop{false};
    std::thread releaser([&] {
        while (!stop) release_scratch();
    });
    in_threads(4, [](int id) {
        for (int i = 0; i < 2000; ++i) {
            const std::size_t n = static_cast<std::size_t>(1 + i % 50) * 1000;
            Scratch outer(n), inner(n / 2);
            std::memset(outer.as<char>(), id, n);
            std::memset(inner.as<char>(), id + 1, n / 2);
            if (outer.as<char>()[n - 1] != id || inner.as<char>()[0] != (n / 2 ? id + 1 : 0)) ++failures;
        }
    });
    stop = true;
    releaser.join();
    release_scratch();
    CHECK(scratch_bytes() == 0);
}

void test_recycler() {
    recycle_release();
    CHECK(recycle_held_bytes() == 0 && recycle_bound() >= 16 * MiB);
    for (std::size_t bytes : {MiB / 4, MiB, 4 * MiB, 33 * MiB + 1}) {
        void* block = recycle_allocate(bytes);
        CHECK(reinterpret_cast<std::uintptr_t>(block) % (bytes >= 4 * MiB ? 2 * MiB : 64) == 0);
        std::memset(block, 1, bytes);
        recycle_free(block, bytes);
        CHECK(recycle_held_bytes() >= bytes && recycle_held_bytes() <= bytes + bytes / 8);
        void* again = recycle_allocate(bytes - bytes / 100);
        CHECK(again == block);  // a slightly smaller request shares the block
        CHECK(recycle_held_bytes() == 0);
        void* other = recycle_allocate(bytes);
        CHECK(other != nullptr && other != again);
        recycle_free(other, bytes);
        recycle_free(again, bytes - bytes / 100);
        recycle_release();
        CHECK(recycle_held_bytes() == 0);
    }
    CHECK(recycle_allocate(SIZE_MAX) == nullptr && recycle_allocate(SIZE_MAX / 4) == nullptr);
    recycle_free(nullptr, MiB);

    // Over the bound what was freed first goes first: the blocks still held are the last ones.
    const std::size_t size = recycle_bound() / 4;
    std::vector<void*> blocks;
    for (int i = 0; i < 8; ++i) blocks.push_back(recycle_allocate(size));
    for (void* block : blocks) {
        recycle_free(block, size);
        CHECK(recycle_held_bytes() <= recycle_bound());
    }
    CHECK(recycle_allocate(size) == blocks[7] && recycle_allocate(size) == blocks[6]);
    recycle_free(blocks[7], size);
    recycle_free(blocks[6], size);
    void* huge = recycle_allocate(recycle_bound() + MiB);  // larger than the bound: not kept, and evicts nothing
    recycle_free(huge, recycle_bound() + MiB);
    CHECK(recycle_held_bytes() >= size);
    recycle_release();

    blocks.clear();
    for (int i = 0; i < 300; ++i) blocks.push_back(recycle_allocate(MiB / 4));  // more than there are slots
    for (void* block : blocks) recycle_free(block, MiB / 4);
    CHECK(recycle_held_bytes() == 64 * MiB || recycle_bound() < 64 * MiB);
    in_threads(4, [](int id) {
        for (int i = 0; i < 1000; ++i) {
            const std::size_t n = MiB / 4 * static_cast<std::size_t>(1 + (i + id) % 5);
            char* block = static_cast<char*>(recycle_allocate(n));
            block[0] = block[n - 1] = static_cast<char>(id);
            if (i % 100 == 0) recycle_release();
            if (block[0] != id || block[n - 1] != id) ++failures;
            recycle_free(block, n);
        }
    });
    recycle_release();
    CHECK(recycle_held_bytes() == 0);
}

void test_isa() {
    int n = 0;
    const char* const* names = available_isas(&n);
    CHECK(n >= 1 && std::strcmp(names[0], "baseline") == 0);
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
    test_leases();
    test_leases_against_release();
    test_recycler();
    test_fork();
    std::printf("%d failed\n", failures.load());
    return failures == 0 ? 0 : 1;  // with workers awake: leaving must neither hang nor crash
}
