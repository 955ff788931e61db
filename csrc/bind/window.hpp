// A Window from Python, for the families whose windows slide over images.
#pragma once

#include "bind/array.hpp"

namespace closedform::bind {

// From (n, n_out, taps, stride, dilation, pad). Whatever the numbers, no product of two overflows.
inline Window as_window(const py::tuple& t) {
    require(t.size() == 6, "window: fields");
    const auto field = [&](int i, py::ssize_t low) {
        const auto value = py::cast<py::ssize_t>(t[i]);
        require(low <= value && value < py::ssize_t(1) << 31, "window: range");
        return value;
    };
    return {field(0, 0), field(1, 0), field(2, 1), field(3, 1), field(4, 1), field(5, 0)};
}

}  // namespace closedform::bind
