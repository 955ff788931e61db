// Tests of the arenas and the recycler; what forking does to them is in test_runtime.cpp.
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>
#include <thread>
#include <vector>

#include "../core/arena.hpp"
#include "../core/recycler.hpp"
#include "check.hpp"

using namespace closedform;

namespace {

void test_leases() {
    release_scratch();
    CHECK(scratch_bytes() == 0);
    {
        Scratch empty(0), a(1), b(100), c(3 * MiB),
            d(5 * MiB);  // c and d do not fit: the arena has begun small
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
    {
        Scratch next(1), c(3 * MiB);
    }
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
    void* huge =
        recycle_allocate(recycle_bound() + MiB);  // larger than the bound: not kept, and evicts nothing
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

}  // namespace

int main() {
    test_leases();
    test_leases_against_release();
    test_recycler();
    std::printf("%d failed\n", failures.load());
    return failures == 0 ? 0 : 1;
}
