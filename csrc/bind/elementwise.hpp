// The shape of most bindings: arrays of one shape in, one array of that shape out. `pick` names the kernel.
#pragma once

#include "bind/array.hpp"

namespace closedform::bind {

// y = kernel(x, options...)
template <class Pick, class... Options>
py::object map_unary(const py::array& x, const py::object& out, Pick pick, Options... options) {
    return dispatch(x, [&]<class T>(T) {
        const Input<T> input(x);
        Output<T> y(shape_of(x), out);
        {
            const Unlocked unlocked;
            pick(kernels_of<T>())(y.data(), input.data(), input.size(), T(options)...);
        }
        return y.finish();
    });
}

// z = kernel(a, b, options...)
template <class Pick, class... Options>
py::object map_binary(const py::array& a, const py::array& b, const py::object& out, Pick pick,
                      Options... options) {
    return dispatch(a, [&]<class T>(T) {
        require(a.size() == b.size(), "arguments differ in shape");
        const Input<T> first(a), second(b);
        Output<T> z(shape_of(a), out);
        {
            const Unlocked unlocked;
            pick(kernels_of<T>())(z.data(), first.data(), second.data(), first.size(), T(options)...);
        }
        return z.finish();
    });
}

}  // namespace closedform::bind
