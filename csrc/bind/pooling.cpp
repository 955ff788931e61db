#include <algorithm>

#include "bind/window.hpp"

namespace closedform::bind {
namespace {

// Windows of which each meets a pixel, over images of N, C.
Pooling pooling(py::ssize_t N, py::ssize_t C, const py::tuple& height, const py::tuple& width) {
    const Pooling p{N, C, as_window(height), as_window(width)};
    for (const Window& a : {p.h, p.w}) {
        require(a.dilation == 1 && a.pad < a.taps, "pooling: dilation or padding");
        require(a.out == 0 || (a.out - 1) * a.stride - a.pad < a.in, "pooling: a window of padding alone");
    }
    const py::ssize_t rows = std::min(p.h.taps, p.h.in);  // of a window; kernels may list its taps
    require(rows * p.w.taps < py::ssize_t(1) << 40, "pooling: a window of too many taps");
    return p;
}

Pooling pooling_of(const py::array& x, const py::tuple& height, const py::tuple& width) {
    require(x.ndim() == 4, "x: axes");
    const Pooling p = pooling(x.shape(0), x.shape(3), height, width);
    require(p.h.in == x.shape(1) && p.w.in == x.shape(2), "x: shape");
    return p;
}

py::tuple max_pool2d(const py::array& x, const py::tuple& height, const py::tuple& width,
                     const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Pooling p = pooling_of(x, height, width);
        require(p.h.in * p.w.in < py::ssize_t(1) << 31, "max_pool2d: pixels");
        const Shape shape{p.N, p.h.out, p.w.out, p.C};
        Output<T> y(shape, out);
        Output<std::int64_t> argmax(shape, py::none());
        const Input<T> xs(x);
        if (y.size() > 0) {
            const Unlocked unlocked;
            kernels_of<T>().max_pool2d(y.data(), argmax.data(), xs.data(), p);
        }
        return py::make_tuple(y.finish(), argmax.finish());
    });
}

// None if argmax has an index that is none of a pixel.
py::object max_pool2d_backward(const py::array& dy, const py::array& argmax, const py::tuple& x_shape,
                               const py::object& out) {
    return dispatch(dy, [&]<class T>(T) {
        Shape shape;
        for (const py::handle extent : x_shape) shape.push_back(extent.cast<py::ssize_t>());
        require(dy.ndim() == 4 && shape.size() == 4 && dy.shape(0) == shape[0] && dy.shape(3) == shape[3] &&
                    shape[1] >= 0 && shape[2] >= 0,
                "max_pool2d_backward: shapes");
        Output<T> dx(shape, out);
        const Input<T> dys(dy);
        const Input<std::int64_t> indices(argmax);
        require(indices.size() == dys.size(), "dy and argmax differ in shape");
        bool good = dys.size() == 0;
        if (dx.size() > 0) {
            const Unlocked unlocked;
            good =
                kernels_of<T>().max_pool2d_backward(dx.data(), dys.data(), indices.data(), shape[0],
                                                    shape[1] * shape[2], dy.shape(1) * dy.shape(2), shape[3]);
        }
        return good ? dx.finish() : py::none();
    });
}

py::object avg_pool2d(const py::array& x, const py::tuple& height, const py::tuple& width,
                      const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Pooling p = pooling_of(x, height, width);
        Output<T> y({p.N, p.h.out, p.w.out, p.C}, out);
        const Input<T> xs(x);
        if (y.size() > 0) {
            const Unlocked unlocked;
            kernels_of<T>().avg_pool2d(y.data(), xs.data(), p);
        }
        return y.finish();
    });
}

py::object avg_pool2d_backward(const py::array& dy, const py::tuple& height, const py::tuple& width,
                               const py::object& out) {
    return dispatch(dy, [&]<class T>(T) {
        require(dy.ndim() == 4, "dy: axes");
        const Pooling p = pooling(dy.shape(0), dy.shape(3), height, width);
        require(p.h.out == dy.shape(1) && p.w.out == dy.shape(2), "dy: shape");
        Output<T> dx({p.N, p.h.in, p.w.in, p.C}, out);
        const Input<T> dys(dy);
        if (dx.size() > 0) {
            const Unlocked unlocked;
            kernels_of<T>().avg_pool2d_backward(dx.data(), dys.data(), p);
        }
        return dx.finish();
    });
}

}  // namespace

void bind_pooling(py::module_& m) {
    m.def("max_pool2d", &max_pool2d);
    m.def("max_pool2d_backward", &max_pool2d_backward);
    m.def("avg_pool2d", &avg_pool2d);
    m.def("avg_pool2d_backward", &avg_pool2d_backward);
}

}  // namespace closedform::bind
