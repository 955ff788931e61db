// Per-thread arenas: one block each, used as a stack, that only grows.
//
// A lease that does not fit gets a block of its own; the arena remembers the size that would have fitted and
// grows to it when it is next empty, so a repeated call settles in one block. What passes the cap always gets
// a block of its own, freed at the end of the lease.
#include "arena.hpp"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <thread>

#include "recycler.hpp"

namespace closedform {

struct Arena {
    std::atomic<bool> busy{false};  // held by the owner during its leases, and by release_scratch()
    char* data = nullptr;
    std::size_t capacity = 0, top = 0, wanted = 0;
    int leases = 0;
    bool registered = false, gone = false;
    Arena *previous = nullptr, *next = nullptr;

    bool try_lock() { return !busy.exchange(true, std::memory_order_acquire); }
    void lock() {
        while (!try_lock()) std::this_thread::yield();
    }
    void unlock() { busy.store(false, std::memory_order_release); }
};

namespace {

constexpr std::size_t alignment = 64;
constexpr std::size_t smallest = std::size_t{64} << 10;
constexpr std::size_t cap = std::size_t{64} << 20;  // kept per thread: packed panels fit many times over

// No destructor, so it can still be looked at while the thread ends; the Reaper below empties it.
constinit thread_local Arena arena;

struct Registry {
    std::mutex mutex;
    Arena* first = nullptr;
    std::atomic<std::size_t> bytes{0};

    void unlink(Arena& a) {
        (a.previous ? a.previous->next : first) = a.next;
        if (a.next) a.next->previous = a.previous;
        a.previous = a.next = nullptr;
    }
};

// Never destroyed: threads may end while the process exits.
Registry& registry() {
    static Registry& instance = *new Registry;
    return instance;
}

// Needs a's lock.
void drop(Arena& a) {
    if (a.data) unmap_block(a.data, a.capacity);
    registry().bytes.fetch_sub(a.capacity, std::memory_order_relaxed);
    a.data = nullptr;
    a.capacity = 0;
}

struct Reaper {
    ~Reaper() {
        std::lock_guard lock(registry().mutex);
        arena.lock();
        registry().unlink(arena);
        drop(arena);
        arena.gone = true;  // destructors that run later get blocks of their own
        arena.unlock();
    }
    void touch() {}  // makes sure it is constructed
};
thread_local Reaper reaper;

void enlist(Arena& a) {
    reaper.touch();
    std::lock_guard lock(registry().mutex);
    a.next = registry().first;
    if (a.next) a.next->previous = &a;
    registry().first = &a;
    a.registered = true;
}

// Makes the empty arena large enough for `bytes` and for what was wanted, twice as large as it was at least.
// It stays as it is where that passes the cap or there is no memory: the lease gets a block of its own.
__attribute__((noinline)) void grow(Arena& a, std::size_t bytes) {
    if (!a.registered) enlist(a);
    const std::size_t need = std::max({bytes, a.wanted, smallest});
    if (need > cap || a.gone) return;
    const std::size_t size = std::min(cap, std::max((need + alignment - 1) & -alignment, 2 * a.capacity));
    char* data = static_cast<char*>(map_block(size));
    if (!data) return;
    drop(a);
    a.data = data;
    a.capacity = size;
    registry().bytes.fetch_add(size, std::memory_order_relaxed);
}

// The child has one thread. The others' arenas are in memory that new threads will reuse: forget them, and
// free what was not in use.
void after_fork_in_child() {
    for (Arena* a = registry().first; a != nullptr;) {
        Arena* next = a->next;
        if (a != &arena) {
            registry().unlink(*a);
            if (a->try_lock()) {
                drop(*a);
            } else {
                registry().bytes.fetch_sub(a->capacity, std::memory_order_relaxed);
            }
        }
        a = next;
    }
    registry().mutex.unlock();
}

[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { registry().mutex.lock(); }, [] { registry().mutex.unlock(); }, after_fork_in_child);

// Looking up thread-local storage is the dearest part of a lease; inlined, GCC would do it at every use.
__attribute__((noinline)) Arena& my_arena() {
    return arena;
}

}  // namespace

Scratch::Scratch(std::size_t bytes) : arena_(&my_arena()), bytes_((bytes + alignment - 1) & -alignment) {
    Arena& a = *arena_;
    if (a.leases == 0) {
        a.lock();
        if (std::max({bytes, a.wanted, alignment}) > a.capacity) grow(a, bytes);
    }
    if (bytes <= a.capacity - a.top) {  // both are multiples of the alignment
        data_ = a.data + a.top;
        a.top += bytes_;
    } else {
        take_own_block(bytes);
    }
    ++a.leases;
}

void Scratch::take_own_block(std::size_t bytes) {
    Arena& a = *arena_;
    if (bytes_ <= cap - a.top) a.wanted = std::max(a.wanted, a.top + bytes_);
    own_block_ = true;
    data_ = map_block(std::max(bytes_, bytes));  // if rounding up overflowed, bytes is too large to be had
    if (data_ != nullptr) return;
    if (a.leases == 0) a.unlock();
    throw std::bad_alloc();
}

Scratch::~Scratch() {
    Arena& a = *arena_;
    if (own_block_) {
        unmap_block(data_, bytes_);
    } else {
        a.top -= bytes_;
    }
    if (--a.leases == 0) a.unlock();
}

void release_scratch() {
    std::lock_guard lock(registry().mutex);
    for (Arena* a = registry().first; a != nullptr; a = a->next) {
        if (!a->try_lock()) continue;
        drop(*a);
        a->wanted = 0;
        a->unlock();
    }
}

std::size_t scratch_bytes() {
    return registry().bytes.load(std::memory_order_relaxed);
}

}  // namespace closedform
