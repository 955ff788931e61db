// Checks that `_validate.py` makes on every call, in a fraction of the microseconds they take in Python.
#include <algorithm>

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

// Whether `out` is a writable array of this shape and dtype object, apart from the memory of `others`, arrays
// or None. Where it says no, `_validate.py` looks closer, and explains.
bool can_take(const py::object& out, const py::tuple& shape, const py::object& dtype,
              const py::args& others) {
    if (!py::isinstance<py::array>(out)) return false;
    const auto& a = static_cast<const py::array&>(out);
    if (py::detail::array_proxy(a.ptr())->descr != dtype.ptr() || !a.writeable()) return false;
    if (a.ndim() != py::ssize_t(shape.size())) return false;
    for (py::ssize_t i = 0; i < a.ndim(); ++i)
        if (PyLong_AsSsize_t(PyTuple_GET_ITEM(shape.ptr(), i)) != a.shape(i)) return PyErr_Clear(), false;
    const Bounds mine = bounds(a);
    return std::all_of(others.begin(), others.end(), [&](const py::handle other) {
        if (other.is_none()) return true;
        return py::isinstance<py::array>(other) &&
               apart(mine, bounds(py::reinterpret_borrow<py::array>(other)));
    });
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
    m.def("first_outside", &first_outside);
    m.def("first_bad_label", &first_bad_label);
}

}  // namespace closedform::bind
