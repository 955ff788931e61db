#include <algorithm>
#include <new>

#include "bind/images.hpp"
#include "bind/window.hpp"

namespace closedform::bind {
namespace {

// The largest image with all its padding that a convolution may span, in elements: no product overflows, and
// no machine has the memory.
constexpr double most_elements = 1e14;

// The numbers of a convolution of x by w, if they are those of the arrays.
Convolution convolution(const py::array& x, const py::array& w, const py::tuple& height,
                        const py::tuple& width, py::ssize_t groups) {
    require(x.ndim() == 4 && w.ndim() == 4, "conv2d: axes");
    const Convolution c{x.shape(0), x.shape(3), w.shape(3), groups, as_window(height), as_window(width)};
    require(c.h.in == x.shape(1) && c.w.in == x.shape(2) && c.h.taps == w.shape(0) && c.w.taps == w.shape(1),
            "conv2d: windows");
    require(groups > 0 && c.C % groups == 0 && c.K % groups == 0 && w.shape(2) == c.C / groups,
            "conv2d: groups");
    const auto span = [](const Window& v) {
        return double(v.out - 1) * double(v.stride) + double(v.taps - 1) * double(v.dilation) + 1;
    };
    if (span(c.h) * span(c.w) * double(c.C) > most_elements) throw std::bad_alloc();
    return c;
}

Algorithm algorithm(int index) {
    require(0 <= index && index <= int(Algorithm::winograd4), "conv2d: algorithm");
    return Algorithm(index);
}

py::object conv2d(const py::array& x, const py::array& w, const py::object& b, const py::tuple& height,
                  const py::tuple& width, py::ssize_t groups, int chosen, bool relu, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Convolution c = convolution(x, w, height, width, groups);
        const Algorithm how = algorithm(chosen);
        Output<T> y({c.N, c.h.out, c.w.out, c.K}, out);
        const ImageInput<T> images(x);
        const Input<T> filters(w);
        std::optional<Input<T>> bias;
        if (!b.is_none()) bias.emplace(static_cast<const py::array&>(b));
        require(!bias || bias->size() == c.K, "conv2d: b");
        const T* const biases = bias ? bias->data() : nullptr;
        {
            const Unlocked unlocked;
            if (y.size() > 0 && images.size() > 0) {
                kernels_of<T>().conv2d(y.data(), images.data(), filters.data(), biases, c, how, relu);
            } else if (y.size() > 0) {  // sums of nothing: a dense layer of no inputs
                const py::ssize_t pixels = y.size() / c.K;
                kernels_of<T>().dense(y.data(), {nullptr, 0, 1}, {nullptr, c.K, 1}, biases, pixels, 0, c.K);
                if (relu) kernels_of<T>().relu(y.data(), y.data(), y.size(), 1, 0);
            }
        }
        return y.finish();
    });
}

// out: a tuple (dx, dw, db) or None; a gradient that is not needed is None.
py::tuple conv2d_backward(const py::array& dy, const py::array& x, const py::array& w,
                          const py::tuple& height, const py::tuple& width, py::ssize_t groups, int chosen,
                          bool needs_x, bool needs_w, bool needs_b, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Convolution c = convolution(x, w, height, width, groups);
        const Algorithm how = algorithm(chosen);
        require(shape_of(dy) == Shape{c.N, c.h.out, c.w.out, c.K}, "conv2d_backward: dy");
        std::optional<Output<T>> dx, dw, db;
        if (needs_x) dx.emplace(shape_of(x), given(out, 0));
        if (needs_w) dw.emplace(shape_of(w), given(out, 1));
        if (needs_b) db.emplace(Shape{c.K}, given(out, 2));
        const ImageInput<T> upstream(dy), images(x);
        const Input<T> filters(w);
        const auto data = [](std::optional<Output<T>>& g) { return g ? g->data() : nullptr; };
        {
            const Unlocked unlocked;
            if (upstream.size() > 0 && images.size() > 0) {
                kernels_of<T>().conv2d_backward(data(dx), data(dw), data(db), upstream.data(), images.data(),
                                                filters.data(), c, how);
            } else {  // no pixels or no windows: only db can be a sum of something
                if (dx) std::fill_n(dx->data(), dx->size(), T(0));
                if (dw) std::fill_n(dw->data(), dw->size(), T(0));
                const py::ssize_t rows = c.K > 0 ? upstream.size() / c.K : 0;
                kernels_of<T>().dense_backward(nullptr, nullptr, data(db), {upstream.data(), c.K, 1},
                                               {nullptr, 0, 1}, {nullptr, c.K, 1}, rows, 0, c.K);
            }
        }
        const auto finish = [](std::optional<Output<T>>& g) { return g ? g->finish() : py::none(); };
        return py::make_tuple(finish(dx), finish(dw), finish(db));
    });
}

}  // namespace

void bind_convolution(py::module_& m) {
    m.def("conv2d", &conv2d);
    m.def("conv2d_backward", &conv2d_backward);
}

}  // namespace closedform::bind
