#include "bind/array.hpp"

namespace closedform::bind {
namespace {

// (N, K) of an array whose last axis has length K: all other axes are rows.
struct Rows {
    py::ssize_t N, K;
    explicit Rows(const py::array& a) {
        require(a.ndim() >= 1, "at least one axis");
        K = a.shape(a.ndim() - 1);
        N = product(a.shape(), a.shape() + a.ndim() - 1);
    }
};

// What becomes of the shape: kept, without its last axis, or with that axis twice.
Shape kept(Shape s) {
    return s;
}
Shape reduced(Shape s) {
    s.pop_back();
    return s;
}
Shape squared(Shape s) {
    s.push_back(s.back());
    return s;
}

template <class Pick, class... Options>
py::object rows_unary(const py::array& x, const py::object& out, Shape (*shape)(Shape), Pick pick,
                      Options... options) {
    return dispatch(x, [&]<class T>(T) {
        const Rows rows(x);
        Output<T> y(shape(shape_of(x)), out);  // first: a shape that cannot be is refused before x is copied
        const Input<T> input(x);
        if (y.size() > 0) {  // else there may still be very many rows of no length
            const Unlocked unlocked;
            pick(kernels_of<T>())(y.data(), input.data(), rows.N, rows.K, T(options)...);
        }
        return y.finish();
    });
}

template <class Pick, class... Options>
py::object rows_binary(const py::array& dy, const py::array& y, const py::object& out, Pick pick,
                       Options... options) {
    return dispatch(dy, [&]<class T>(T) {
        require(dy.size() == y.size(), "dy and y differ in shape");
        const Rows rows(dy);
        const Input<T> first(dy), second(y);
        Output<T> dx(shape_of(dy), out);
        if (dx.size() > 0) {
            const Unlocked unlocked;
            pick(kernels_of<T>())(dx.data(), first.data(), second.data(), rows.N, rows.K, T(options)...);
        }
        return dx.finish();
    });
}

}  // namespace

void bind_probability(py::module_& m) {
    using Array = const py::array&;
    using Object = const py::object&;
    m.def("softmax", [](Array x, double temperature, Object out) {
        return rows_unary(x, out, kept, CF_PICK(softmax), temperature);
    });
    m.def("log_softmax", [](Array x, Object out) { return rows_unary(x, out, kept, CF_PICK(log_softmax)); });
    m.def("logsumexp", [](Array x, Object out) { return rows_unary(x, out, reduced, CF_PICK(logsumexp)); });
    m.def("softmax_jacobian",
          [](Array y, Object out) { return rows_unary(y, out, squared, CF_PICK(softmax_jacobian)); });
    m.def("softmax_backward", [](Array dy, Array y, double temperature, Object out) {
        return rows_binary(dy, y, out, CF_PICK(softmax_backward), temperature);
    });
    m.def("log_softmax_backward", [](Array dy, Array y, Object out) {
        return rows_binary(dy, y, out, CF_PICK(log_softmax_backward));
    });
}

}  // namespace closedform::bind
