// Memory for large outputs, recycled: on a fresh mapping the page faults cost more than most kernels.
//
// Contents are uninitialised, so results never depend on it. All functions may be called from any thread.
#pragma once

#include <cstddef>

namespace closedform {

// From here on recycling pays. Measured with glibc, four arrays made and filled a step: at 128 KiB malloc
// takes 48 us an array (it maps afresh, or trims, and pages fault in again), a recycled block 2.4; at 64 KiB,
// 9 and 0.9.
constexpr std::size_t recycle_threshold = std::size_t{128} << 10;

// A block of at least `bytes`, aligned to 64 bytes (to 2 MiB, on huge pages, from 4 MiB up). Null: no memory.
void* recycle_allocate(std::size_t bytes) noexcept;

// Gives back a block with the size it was asked for. It is kept for the next request of about that size; what
// was given back longest ago goes to the system when more than recycle_bound() would be held.
void recycle_free(void* block, std::size_t bytes) noexcept;

// Returns all that is held, but not in use, to the system.
void recycle_release() noexcept;

std::size_t recycle_held_bytes() noexcept;
std::size_t recycle_bound() noexcept;

// The source of such blocks, without recycling; `bytes` must be the same in both calls. Arenas use it too.
void* map_block(std::size_t bytes) noexcept;
void unmap_block(void* block, std::size_t bytes) noexcept;

}  // namespace closedform
