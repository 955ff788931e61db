// Images from Python, channels last, for the families that slide windows over them.
#pragma once

#include <algorithm>

#include "bind/array.hpp"
#include "core/parallel.hpp"

namespace closedform::bind {

// y (P, C) = the transpose of x, C rows of P pixels that are `plane` apart.
template <class T>
void turn(T* y, const T* x, py::ssize_t P, py::ssize_t C, py::ssize_t plane) {
    constexpr py::ssize_t block =
        64;  // pixels: long stretches of few planes at a time, and rows of y that stay in L1
    for (py::ssize_t p0 = 0; p0 < P; p0 += block) {
        const py::ssize_t end = std::min(p0 + block, P);
        py::ssize_t c = 0;
        for (; c + 4 <= C; c += 4) {
            const T* const from = x + c * plane;
            for (py::ssize_t p = p0; p < end; ++p) {
                const T channels[] = {from[p], from[plane + p], from[2 * plane + p], from[3 * plane + p]};
                std::copy_n(channels, 4, y + p * C + c);
            }
        }
        for (; c < C; ++c)
            for (py::ssize_t p = p0; p < end; ++p) y[p * C + c] = x[c * plane + p];
    }
}

// Images (N, H, W, C) as contiguous memory: the array itself or a copy. NumPy's own copy is slow where the
// channels are far apart, so images stored as NCHW, as other libraries have them, are turned here.
template <class T>
class ImageInput {
  public:
    explicit ImageInput(const py::array& a) {
        if (!stored_as_planes(a)) {
            array_.emplace(a);
            return;
        }
        turned_.emplace(new_array<T>(shape_of(a)));
        const py::ssize_t N = a.shape(0), P = a.shape(1) * a.shape(2), C = a.shape(3);
        const py::ssize_t image = a.strides(0) / item, plane = a.strides(3) / item;
        T* const y = static_cast<T*>(turned_->mutable_data());
        const T* const x = static_cast<const T*>(a.data());
        const Unlocked unlocked;
        parallel_for(N, [&](py::ssize_t n) { turn(y + n * P * C, x + n * image, P, C, plane); });
    }
    const T* data() const { return turned_ ? static_cast<const T*>(turned_->data()) : array_->data(); }
    py::ssize_t size() const { return turned_ ? turned_->size() : array_->size(); }

  private:
    static constexpr py::ssize_t item = sizeof(T);

    // The pixels of each channel together, and the channels apart.
    static bool stored_as_planes(const py::array& a) {
        return a.ndim() == 4 && a.size() > 0 && a.shape(3) > 1 && holds<T>(a) &&
               (a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_) && a.strides(2) == item &&
               a.strides(1) == a.shape(2) * item && a.strides(3) % item == 0 && a.strides(0) % item == 0;
    }

    std::optional<Input<T>> array_;
    std::optional<py::array> turned_;
};

}  // namespace closedform::bind
