// Checks that `_validate.py` makes on every call, in a fraction of the microseconds they take in Python.
#include <algorithm>
#include <initializer_list>

#include "bind/array.hpp"

namespace closedform::bind {
namespace {

struct Bounds {
    const char *begin, *end;  // of the bytes between an array's first element in memory and its last
};

Bounds bounds(const py::array& a) {
    const char *begin = static_cast<const char*>(a.data()), *last = begin;
    for (py::ssize_t i = 0; i < a.ndim(); ++i) {
        if (a.shape(i) == 0) return {begin, begin};
        const py::ssize_t reach = a.strides(i) * (a.shape(i) - 1);
        (reach < 0 ? begin : last) += reach;
    }
    return {begin, last + a.itemsize()};
}

bool apart(Bounds a, Bounds b) {
    return a.end <= b.begin || b.end <= a.begin;
}

// Whether `out` is a writable array of this shape and dtype object.
bool fits(const py::handle out, const py::handle shape, const py::handle dtype) {
    if (!py::isinstance<py::array>(out)) return false;
    const auto a = py::reinterpret_borrow<py::array>(out);
    if (py::detail::array_proxy(a.ptr())->descr != dtype.ptr() || !a.writeable()) return false;
    if (!py::isinstance<py::tuple>(shape) || a.ndim() != PyTuple_GET_SIZE(shape.ptr())) return false;
    for (py::ssize_t i = 0; i < a.ndim(); ++i)
        if (PyLong_AsSsize_t(PyTuple_GET_ITEM(shape.ptr(), i)) != a.shape(i)) return PyErr_Clear(), false;
    return true;
}

// Whether the memory of an array is apart from that of others, arrays or None.
template <class Iterator>
bool apart_from(const py::handle array, Iterator begin, Iterator end) {
    const Bounds mine = bounds(py::reinterpret_borrow<py::array>(array));
    return std::all_of(begin, end, [&](const py::handle other) {
        if (other.is_none()) return true;
        return py::isinstance<py::array>(other) &&
               apart(mine, bounds(py::reinterpret_borrow<py::array>(other)));
    });
}

// Whether an op may write its result to `out`. Where this says no, and where the two below do,
// `_validate.py` looks closer, and explains.
bool can_take(const py::object& out, const py::tuple& shape, const py::object& dtype,
              const py::args& inputs) {
    return fits(out, shape, dtype) && apart_from(out, inputs.begin(), inputs.end());
}

// The same of several results, which must be apart from each other too. None: not to be written.
bool can_take_all(const py::tuple& outs, const py::tuple& shapes, const py::object& dtype,
                  const py::args& inputs) {
    if (outs.size() != shapes.size()) return false;
    for (std::size_t i = 0; i < outs.size(); ++i) {
        const py::handle out = outs[i];
        if (out.is_none()) continue;
        if (!fits(out, shapes[i], dtype) || !apart_from(out, inputs.begin(), inputs.end()) ||
            !apart_from(out, outs.begin(), outs.begin() + std::ptrdiff_t(i)))
            return false;
    }
    return true;
}

// Whether the arguments of a recurrent step with so many gates, x (N, D), h, c (N, H), w_x (D, gates H),
// w_h (H, gates H) and b (gates H,) or None, are arrays of one dtype, float32 or float64, that fit together.
bool can_step(py::ssize_t gates, const py::handle x, const py::handle h, const py::handle c,
              const py::handle w_x, const py::handle w_h, const py::handle b) {
    using py::detail::array_proxy;
    const auto plain = [](const py::handle a) {
        return Py_TYPE(a.ptr()) == py::detail::npy_api::get().PyArray_Type_;
    };
    if (!plain(x) || !(holds<float>(py::reinterpret_borrow<py::array>(x)) ||
                       holds<double>(py::reinterpret_borrow<py::array>(x))))
        return false;
    const auto fits = [&](const py::handle a, std::initializer_list<py::ssize_t> shape) {
        return plain(a) && array_proxy(a.ptr())->descr == array_proxy(x.ptr())->descr &&
               array_proxy(a.ptr())->nd == int(shape.size()) &&
               std::equal(shape.begin(), shape.end(), array_proxy(a.ptr())->dimensions);
    };
    if (array_proxy(x.ptr())->nd != 2 || !plain(w_h) || array_proxy(w_h.ptr())->nd != 2) return false;
    const py::ssize_t N = array_proxy(x.ptr())->dimensions[0], D = array_proxy(x.ptr())->dimensions[1],
                      H = array_proxy(w_h.ptr())->dimensions[0], columns = gates * H;
    return fits(h, {N, H}) && fits(c, {N, H}) && fits(w_x, {D, columns}) && fits(w_h, {H, columns}) &&
           (b.is_none() || fits(b, {columns}));
}

// Whether an optimiser may update `arrays`, a parameter and its state, where they lie: contiguous, of the
// gradient's shape and dtype, apart in memory.
bool can_update(const py::object& gradient, const py::args& arrays) {
    if (Py_TYPE(gradient.ptr()) != py::detail::npy_api::get().PyArray_Type_) return false;
    const auto& g = static_cast<const py::array&>(gradient);
    const bool single = holds<float>(g);
    if (!single && !holds<double>(g)) return false;
    for (std::size_t i = 0; i < arrays.size(); ++i) {
        if (!py::isinstance<py::array>(arrays[i])) return false;
        const py::array a = arrays[i];
        const bool alike = (single ? holds<float>(a) : holds<double>(a)) && a.ndim() == g.ndim() &&
                           std::equal(a.shape(), a.shape() + a.ndim(), g.shape());
        if (!alike || !a.writeable() || (a.flags() & direct) != direct || !apart(bounds(a), bounds(g)) ||
            !apart_from(a, arrays.begin(), arrays.begin() + std::ptrdiff_t(i)))
            return false;
    }
    return true;
}

// The first flat index of x outside [low, high], or -1. NaN is not outside: it propagates.
py::ssize_t first_outside(const py::array& x, double low, double high) {
    return dispatch(x, [&]<class T>(T) {
        const Input<T> input(x);
        const Unlocked unlocked;
        return kernels_of<T>().first_outside(input.data(), input.size(), T(low), T(high));
    });
}

// The first row whose label is neither in [0, n_classes) nor `ignored`, or -1.
py::ssize_t first_bad_label(const py::array& labels, std::int64_t n_classes, const py::object& ignored) {
    const Input<std::int64_t> input(labels);
    const std::int64_t other = ignored.is_none() ? 0 : ignored.cast<std::int64_t>();  // 0 is a class anyway
    for (py::ssize_t i = 0; i < input.size(); ++i) {
        const std::int64_t label = input.data()[i];
        if ((label < 0 || label >= n_classes) && label != other) return i;
    }
    return -1;
}

}  // namespace

void bind_validate(py::module_& m) {
    m.def("can_take", &can_take);
    m.def("can_take_all", &can_take_all);
    m.def("can_step", &can_step);
    m.def("can_update", &can_update);
    m.def("first_outside", &first_outside);
    m.def("first_bad_label", &first_bad_label);
}

}  // namespace closedform::bind
