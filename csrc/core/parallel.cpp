// The thread pool behind parallel_for.
//
// One job at a time, owned by the thread that called. All that workers need to know is in one atomic word,
// the gate: how many places the job has left, how many workers are inside, and the job's number. A worker
// enters by taking a place, claims task indices from a counter until none is left, and leaves. The caller
// claims too; when the counter is spent it closes the gate and waits only for the workers inside. So a worker
// that is slow to wake is never waited for, and a late one can never touch the job after its end.
#include "parallel.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace closedform {
namespace {

constexpr int max_threads = 256;
// How long a worker waits for the next job, and the caller for the last task, before it sleeps. Measured on a
// 2-core virtual machine: a spinning worker begins a task 0.2 us after the call, a sleeping one after 25 to
// 40 us, and waking it takes 8 to 55 us of the caller's time. A step of training leaves gaps of some 100 us
// of Python between its products: with 50 us the worker slept in each of them, and a step took 1.2 to 1.5
// times as long.
constexpr auto spin_time = std::chrono::microseconds(200);

// The gate's fields: workers inside, places left, two flags, the job's number.
constexpr std::uint64_t one_inside = 1, inside_mask = 0xffff;
constexpr std::uint64_t one_place = 1 << 16, places_mask = 0xffffull << 16;
constexpr std::uint64_t caller_sleeps = 1ull << 32, stopping = 1ull << 33, one_job = 1ull << 34;

// True in workers, and in a caller while its job runs: a nested call is serial.
thread_local bool in_region = false;

// Float mode: rounding, subnormals. Workers adopt the caller's, else bits could depend on who ran a task.
struct Cpu {
#if defined(__x86_64__)
    static void pause() { _mm_pause(); }
    static std::uint64_t float_mode() { return _mm_getcsr(); }
    static void set_float_mode(std::uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
    static void pause() { asm volatile("isb"); }  // "yield" does nothing on most cores
    static std::uint64_t float_mode() {
        std::uint64_t mode;
        asm volatile("mrs %0, fpcr" : "=r"(mode));
        return mode;
    }
    static void set_float_mode(std::uint64_t mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
    static void pause() {}
    static std::uint64_t float_mode() { return 0; }
    static void set_float_mode(std::uint64_t) {}
#endif
};

class Pool {
  public:
    std::mutex owner;  // held by the thread whose job runs; others only ever try

    // Needs `owner`.
    void run(int threads, std::ptrdiff_t n, void (*task)(void*, std::ptrdiff_t), void* context) {
        if (threads - 1 != workers_wanted_) resize(threads - 1);
        task_ = task;
        context_ = context;
        n_ = n;
        float_mode_ = Cpu::float_mode();
        failed_.store(false, std::memory_order_relaxed);
        next_.store(0, std::memory_order_relaxed);

        const auto places = std::min<std::uint64_t>(static_cast<std::uint64_t>(n - 1), workers_.size());
        job_ += one_job;
        gate_.store(job_ | places * one_place);  // seq_cst, here and in enter(): either they see the job,
        if (sleepers_.load() > 0) wake(places);  // or we see them asleep
        in_region = true;
        work();
        in_region = false;
        if (gate_.fetch_and(~places_mask, std::memory_order_acq_rel) & inside_mask) wait_for_workers();
        if (failed_.load(std::memory_order_relaxed)) std::rethrow_exception(std::exchange(error_, nullptr));
    }

  private:
    // One cache line to watch: the gate, and the job behind it.
    alignas(64) std::atomic<std::uint64_t> gate_{0};
    void (*task_)(void*, std::ptrdiff_t) = nullptr;
    void* context_ = nullptr;
    std::ptrdiff_t n_ = 0;
    std::uint64_t float_mode_ = 0;
    alignas(64) std::atomic<std::ptrdiff_t> next_{0};
    alignas(64) std::atomic<int> sleepers_{0};
    std::atomic<bool> failed_{false};
    std::exception_ptr error_;
    std::mutex mutex_;  // guards nothing but going to sleep and waking
    std::condition_variable job_opened_, workers_left_;
    std::uint64_t job_ = 0;
    std::vector<std::thread> workers_;
    int workers_wanted_ = 0;  // workers_ may be fewer, if the system refused threads
    bool spins_ = true;  // not with more threads than CPUs: a spinning worker would keep a working one out

    void work() {
        for (std::ptrdiff_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < n_;) {
            try {
                task_(context_, i);
            } catch (...) {
                if (!failed_.exchange(true)) error_ = std::current_exception();
                next_.store(n_, std::memory_order_relaxed);
            }
        }
    }

    template <class Condition>
    bool spin_until(Condition condition) const {
        if (!spins_) return condition();
        const auto deadline = std::chrono::steady_clock::now() + spin_time;
        do {
            for (int i = 0; i < 16; ++i) {
                if (condition()) return true;
                Cpu::pause();
            }
        } while (std::chrono::steady_clock::now() < deadline);
        return false;
    }

    void wait_for_workers() {
        const auto idle = [this] { return (gate_.load(std::memory_order_acquire) & inside_mask) == 0; };
        if (spin_until(idle)) return;
        std::unique_lock lock(mutex_);
        gate_.fetch_or(caller_sleeps, std::memory_order_acq_rel);
        workers_left_.wait(lock, idle);
    }

    // After this, whoever had decided to sleep does sleep, and a notification reaches it.
    void pass_mutex() { std::lock_guard lock(mutex_); }

    void wake(std::uint64_t places) {
        pass_mutex();
        if (places >= workers_.size()) return job_opened_.notify_all();
        for (; places > 0; --places) job_opened_.notify_one();
    }

    void worker_main() noexcept {
        in_region = true;
        for (std::uint64_t seen = 0; enter(seen);) {
            Cpu::set_float_mode(float_mode_);
            work();
            const auto before = gate_.fetch_sub(one_inside, std::memory_order_acq_rel);
            if ((before & caller_sleeps) && (before & inside_mask) == one_inside) {
                pass_mutex();
                workers_left_.notify_one();
            }
        }
    }

    // Waits for a job with a place left, other than the one last seen, and takes the place. False: stop.
    bool enter(std::uint64_t& seen) {
        std::uint64_t gate = 0;
        const auto news = [&] {
            gate = gate_.load();
            return (gate & stopping) || ((gate & places_mask) && gate / one_job != seen);
        };
        do {
            if (!spin_until(news)) {
                std::unique_lock lock(mutex_);
                sleepers_.fetch_add(1);
                job_opened_.wait(lock, news);
                sleepers_.fetch_sub(1);
            }
            if (gate & stopping) return false;
        } while (!gate_.compare_exchange_weak(gate, gate - one_place + one_inside));
        seen = gate / one_job;
        return true;
    }

    void resize(int workers) {
        gate_.fetch_or(stopping);
        pass_mutex();
        job_opened_.notify_all();
        for (auto& worker : workers_) worker.join();
        workers_.clear();
        gate_.fetch_and(~stopping);

        workers_.reserve(static_cast<std::size_t>(workers));
        workers_wanted_ = workers;
        spins_ = workers < available_cpus();
        // Signals are the application's business: workers inherit a mask that lets through only faults.
        sigset_t all, before;
        sigfillset(&all);
        for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) sigdelset(&all, fault);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        try {
            for (int i = 0; i < workers; ++i) workers_.emplace_back(&Pool::worker_main, this);
        } catch (const std::exception&) {  // no more threads to be had: go on with those there are
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
};

// Never destroyed: at exit the workers sleep in memory that stays valid until the process is gone, so there
// is nothing to join and no order of destructors to get wrong. (Python never unloads a module.)
std::atomic<Pool*> the_pool{nullptr};
std::atomic<int> threads_wanted{0};

// Workers do not survive a fork, and locks stay as they were: the child forgets the pool and builds another.
[[maybe_unused]] const int fork_handler =
    pthread_atfork(nullptr, nullptr, [] { the_pool.store(nullptr, std::memory_order_relaxed); });

Pool& current_pool() {
    Pool* pool = the_pool.load(std::memory_order_acquire);
    if (pool) return *pool;
    Pool* fresh = new Pool;
    if (the_pool.compare_exchange_strong(pool, fresh, std::memory_order_acq_rel)) return *fresh;
    delete fresh;  // another thread was first
    return *pool;
}

}  // namespace

void parallel_run(std::ptrdiff_t n, void (*task)(void*, std::ptrdiff_t), void* context) {
    if (n > 1 && !in_region && num_threads() > 1) {
        Pool& pool = current_pool();
        if (std::unique_lock owner(pool.owner, std::try_to_lock); owner) {
            return pool.run(num_threads(), n, task, context);
        }
    }
    for (std::ptrdiff_t i = 0; i < n; ++i) task(context, i);
}

int num_threads() {
    const int wanted = threads_wanted.load(std::memory_order_relaxed);
    if (wanted > 0) return wanted;
    int unset = 0;  // if it is set meanwhile, that stands
    threads_wanted.compare_exchange_strong(unset, std::min(available_cpus(), max_threads));
    return threads_wanted.load(std::memory_order_relaxed);
}

void set_num_threads(int n) {
    threads_wanted.store(std::clamp(n, 1, max_threads), std::memory_order_relaxed);
}

}  // namespace closedform
