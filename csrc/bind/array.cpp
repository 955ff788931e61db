#include "bind/array.hpp"

#include <limits>
#include <memory>
#include <sstream>

namespace closedform::bind {

py::ssize_t checked_size(const Shape& shape, std::size_t itemsize) {
    const py::ssize_t limit = std::numeric_limits<py::ssize_t>::max() / py::ssize_t(itemsize);
    py::ssize_t n = 1;
    bool fits = true, empty = false;
    for (const py::ssize_t extent : shape) {
        empty |= extent == 0;
        fits &= extent == 0 || n <= limit / extent;
        if (fits && extent) n *= extent;
    }
    if (fits) return empty ? 0 : n;
    std::ostringstream text;
    text << "the result would have shape (";
    for (std::size_t i = 0; i < shape.size(); ++i) text << (i ? ", " : "") << shape[i];
    text << "), more elements than an array can hold";
    throw py::value_error(text.str());
}

namespace {

struct Block {
    void* data;
    std::size_t bytes;
    ~Block() { recycle_free(data, bytes); }
};

}  // namespace

template <class T>
py::array new_array(const Shape& shape) {
    const std::size_t bytes = std::size_t(checked_size(shape, sizeof(T))) * sizeof(T);
    if (bytes < recycle_threshold) return py::array_t<T>(shape);
    auto block = std::make_unique<Block>(Block{nullptr, bytes});
    block->data = recycle_allocate(bytes);
    if (!block->data) throw std::bad_alloc();
    T* const data = static_cast<T*>(block->data);
    py::capsule owner(block.get(), [](void* p) { delete static_cast<Block*>(p); });
    block.release();
    return py::array_t<T>(shape, data, owner);
}

template py::array new_array<float>(const Shape&);
template py::array new_array<double>(const Shape&);
template py::array new_array<std::int64_t>(const Shape&);

}  // namespace closedform::bind
