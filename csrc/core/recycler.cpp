// The recycling pool: a short list of free blocks, the least recently freed first.
#include "recycler.hpp"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <fstream>
#include <mutex>

namespace closedform {
namespace {

constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t huge_from = 2 * huge_page;

// Never hold more than this, nor more than an eighth of the memory there is.
constexpr std::size_t most_held = std::size_t{512} << 20;

// Few enough to search in a fraction of a microsecond; a fixed array, so that freeing cannot fail.
constexpr int most_blocks = 256;

struct Block {
    void* data;
    std::size_t bytes;
};

struct Held {
    std::mutex mutex;
    Block blocks[most_blocks];  // in the order in which they were freed
    int n = 0;
    std::size_t bytes = 0;

    Block take(int i) {
        const Block block = blocks[i];
        std::copy(blocks + i + 1, blocks + n, blocks + i);
        --n;
        bytes -= block.bytes;
        return block;
    }
};

// Never destroyed: arrays may be freed while the process exits.
Held& held() {
    static Held& instance = *new Held;
    return instance;
}

// Sizes in steps of 1/8 of a power of two: a recycled block wastes at most 12.5 %, and sizes that differ by a
// little (the last batch) share blocks. 0: no such size.
std::size_t size_class(std::size_t bytes) {
    if (bytes > PTRDIFF_MAX / 2) return 0;
    bytes = std::max(bytes, recycle_threshold);
    const std::size_t step = std::bit_floor(bytes) / 8;
    return (bytes + step - 1) / step * step;
}

std::size_t physical_memory() {
    std::size_t bytes = SIZE_MAX;
    const long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0) bytes = static_cast<std::size_t>(pages) * static_cast<std::size_t>(page);
    // In a container the limit is the group's, v2 or v1 ("max" does not read as a number).
    for (const char* file : {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
        std::size_t limit = 0;
        if (std::ifstream(file) >> limit && limit > 0) bytes = std::min(bytes, limit);
    }
    return bytes;
}

// No thread is in the middle of a change when the process forks, so the child finds the list in order.
[[maybe_unused]] const int fork_handlers =
    pthread_atfork([] { held().mutex.lock(); }, [] { held().mutex.unlock(); }, [] { held().mutex.unlock(); });

}  // namespace

void* recycle_allocate(std::size_t bytes) noexcept {
    const std::size_t size = size_class(bytes);
    if (size == 0) return nullptr;
    Held& pool = held();
    {
        std::lock_guard lock(pool.mutex);
        for (int i = pool.n - 1; i >= 0; --i) {  // the last one freed is the likeliest to be in cache
            if (pool.blocks[i].bytes == size) return pool.take(i).data;
        }
    }
    void* block = map_block(size);
    if (block) return block;
    recycle_release();  // what is held may be what is missing
    return map_block(size);
}

void recycle_free(void* block, std::size_t bytes) noexcept {
    if (!block) return;
    const std::size_t size = size_class(bytes);
    if (size > recycle_bound()) return unmap_block(block, size);
    Held& pool = held();
    std::unique_lock lock(pool.mutex);
    while (pool.n == most_blocks || pool.bytes + size > recycle_bound()) {
        const Block oldest = pool.take(0);
        lock.unlock();  // the system call need not hold up other threads
        unmap_block(oldest.data, oldest.bytes);
        lock.lock();
    }
    pool.blocks[pool.n++] = {block, size};
    pool.bytes += size;
}

void recycle_release() noexcept {
    Held& pool = held();
    std::unique_lock lock(pool.mutex);
    for (int left = pool.n; left > 0 && pool.n > 0; --left) {  // not what others free meanwhile
        const Block block = pool.take(0);
        lock.unlock();
        unmap_block(block.data, block.bytes);
        lock.lock();
    }
}

std::size_t recycle_held_bytes() noexcept {
    std::lock_guard lock(held().mutex);
    return held().bytes;
}

std::size_t recycle_bound() noexcept {
    static const std::size_t bound = std::min(most_held, physical_memory() / 8);
    return bound;
}

void* map_block(std::size_t bytes) noexcept {
    if (bytes > PTRDIFF_MAX / 2) return nullptr;  // no sum below overflows
    // Mappings begin at any page: for 2 MiB alignment ask for more and cut off both ends.
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    bytes = (bytes + page - 1) / page * page;
    const std::size_t slack = bytes >= huge_from ? huge_page - page : 0;
    void* mapped = mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return nullptr;
    if (slack == 0) return mapped;
    char* begin = static_cast<char*>(mapped);
    const std::size_t head = (huge_page - reinterpret_cast<std::uintptr_t>(begin) % huge_page) % huge_page;
    if (head > 0) munmap(begin, head);
    if (slack > head) munmap(begin + head + bytes, slack - head);
#if defined(__linux__)
    madvise(begin + head, bytes, MADV_HUGEPAGE);  // a wish: refused on systems without huge pages
#endif
    return begin + head;
}

void unmap_block(void* block, std::size_t bytes) noexcept {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    munmap(block, (bytes + page - 1) / page * page);
}

}  // namespace closedform
