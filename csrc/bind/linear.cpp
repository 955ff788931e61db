#include "bind/array.hpp"

namespace closedform::bind {
namespace {

py::object dense(const py::array& x, const py::array& w, const py::object& b, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        require(x.ndim() >= 1 && w.ndim() == 2 && x.shape(x.ndim() - 1) == w.shape(0), "dense: shapes");
        const py::ssize_t D = w.shape(0), H = w.shape(1), N = product(x.shape(), x.shape() + x.ndim() - 1);
        Shape shape = shape_of(x);
        shape.back() = H;
        Output<T> y(shape, out);
        const MatrixInput<T> xm(x, N, D), wm(w, D, H);
        std::optional<Input<T>> bias;
        if (!b.is_none()) bias.emplace(static_cast<const py::array&>(b));
        require(!bias || bias->size() == H, "dense: b");
        {
            const Unlocked unlocked;
            kernels_of<T>().dense(y.data(), xm, wm, bias ? bias->data() : nullptr, N, D, H);
        }
        return y.finish();
    });
}

// out: a tuple (dx, dw, db) or None; a gradient that is not needed is None.
py::tuple dense_backward(const py::array& dy, const py::array& x, const py::array& w, bool needs_x,
                         bool needs_w, bool needs_b, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        require(x.ndim() >= 1 && w.ndim() == 2 && x.shape(x.ndim() - 1) == w.shape(0),
                "dense_backward: shapes");
        const py::ssize_t D = w.shape(0), H = w.shape(1), N = product(x.shape(), x.shape() + x.ndim() - 1);
        std::optional<Output<T>> dx, dw, db;
        if (needs_x) dx.emplace(shape_of(x), given(out, 0));
        if (needs_w) dw.emplace(Shape{D, H}, given(out, 1));
        if (needs_b) db.emplace(Shape{H}, given(out, 2));
        const MatrixInput<T> dym(dy, N, H), xm(x, N, D), wm(w, D, H);
        {
            const Unlocked unlocked;
            kernels_of<T>().dense_backward(dx ? dx->data() : nullptr, dw ? dw->data() : nullptr,
                                           db ? db->data() : nullptr, dym, xm, wm, N, D, H);
        }
        const auto finish = [](std::optional<Output<T>>& g) { return g ? g->finish() : py::none(); };
        return py::make_tuple(finish(dx), finish(dw), finish(db));
    });
}

}  // namespace

void bind_linear(py::module_& m) {
    m.def("dense", &dense);
    m.def("dense_backward", &dense_backward);
}

}  // namespace closedform::bind
