// Scratch: working memory for kernels from per-thread arenas, so that a call pays neither malloc nor page
// faults.
//
// The per-ISA kernel objects include this header: declarations only, and one helper that is always inlined.
#pragma once

#include <cstddef>

namespace closedform {

struct Arena;

// A lease of uninitialised memory, aligned to 64 bytes, from the calling thread's arena. Leases nest and end
// in the reverse order, in the thread that began them: make them local variables. Throws std::bad_alloc.
class Scratch {
  public:
    explicit Scratch(std::size_t bytes);
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

    template <class T>
    __attribute__((always_inline)) T* as() const {
        return static_cast<T*>(data_);
    }

  private:
    void take_own_block(std::size_t bytes);

    Arena* arena_;
    void* data_;
    std::size_t bytes_;
    bool own_block_ = false;
};

// Frees the arenas of all threads, except those in use at the moment. An arena goes with its thread; after a
// fork the child has that of the thread that forked.
void release_scratch();

// Bytes that arenas hold, of all threads.
std::size_t scratch_bytes();

}  // namespace closedform
