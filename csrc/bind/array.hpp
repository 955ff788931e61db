// From NumPy arrays to pointers and back. The Python wrappers have validated the arguments and explain what
// is wrong; the checks here only keep a direct caller of the compiled module from reading outside an array.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <stdexcept>
#include <vector>

#include "bind/unlocked.hpp"
#include "core/isa.hpp"
#include "core/recycler.hpp"
#include "kernels/table.hpp"

namespace closedform::bind {

namespace py = pybind11;
using Shape = std::vector<py::ssize_t>;

// Flags of an array that a kernel can work on as it is.
inline constexpr int direct = int(py::array::c_style) | int(py::detail::npy_api::NPY_ARRAY_ALIGNED_);

inline void require(bool condition, const char* what) {
    if (!condition) throw std::invalid_argument(what);
}

// Whether the elements of a are T, in native byte order. Not whether the dtype is the same object: that of an
// unpickled array is its own.
template <class T>
bool holds(const py::array& a) {
    return py::isinstance<py::array_t<T, 0>>(a);
}

// f(T{}) for the dtype of a, float32 or float64.
template <class F>
auto dispatch(const py::array& a, F f) {
    switch (py::detail::array_descriptor_proxy(py::detail::array_proxy(a.ptr())->descr)->type_num) {
        case py::detail::npy_api::NPY_FLOAT_:
            return f(float{});
        case py::detail::npy_api::NPY_DOUBLE_:
            return f(double{});
        default:
            throw py::type_error("expected a float32 or float64 array");
    }
}

template <class T>
const Kernels<T>& kernels_of() {
    if constexpr (sizeof(T) == sizeof(float))
        return kernels().f32;
    else
        return kernels().f64;
}

inline Shape shape_of(const py::array& a) {
    return Shape(a.shape(), a.shape() + a.ndim());
}

inline py::ssize_t product(const py::ssize_t* begin, const py::ssize_t* end) {
    py::ssize_t n = 1;
    for (; begin != end; ++begin) n *= *begin;
    return n;
}

// The elements of a new array of this shape, refused when an array of so many bytes cannot exist.
py::ssize_t checked_size(const Shape& shape, std::size_t itemsize);

// A new, uninitialised array; large ones from the recycler.
template <class T>
py::array new_array(const Shape& shape);

// An input as contiguous, aligned memory: the array itself or, where it is laid out otherwise, a copy.
template <class T>
class Input {
  public:
    explicit Input(const py::object& a) : array_(a) {}  // throws NumPy's own error: no array, or no memory
    const T* data() const { return array_.data(); }
    py::ssize_t size() const { return array_.size(); }

  private:
    using Contiguous = py::array_t<T, direct | int(py::array::forcecast)>;
    Contiguous array_;
};

// A matrix of `rows` by `columns`: any array of two axes in place, others as contiguous rows.
template <class T>
class MatrixInput {
  public:
    MatrixInput(const py::array& a, py::ssize_t rows, py::ssize_t columns) {
        require(a.size() == rows * columns, "matrix: wrong number of elements");
        const bool aligned = a.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_;
        constexpr py::ssize_t item = sizeof(T);
        if (a.ndim() == 2 && aligned && a.strides(0) % item == 0 && a.strides(1) % item == 0 && holds<T>(a)) {
            matrix_ = {static_cast<const T*>(a.data()), a.strides(0) / item, a.strides(1) / item};
        } else {
            contiguous_.emplace(a);
            matrix_ = {contiguous_->data(), columns, 1};
        }
    }
    operator Matrix<T>() const { return matrix_; }

  private:
    Matrix<T> matrix_;
    std::optional<Input<T>> contiguous_;
};

// A result: written straight into `out` where that is given and contiguous, else into a new array.
template <class T>
class Output {
  public:
    Output(const Shape& shape, const py::object& out) : out_(out) {
        if (!out.is_none()) {
            const auto& given = static_cast<const py::array&>(out);
            require(py::isinstance<py::array>(out) && shape_of(given) == shape && given.writeable() &&
                        holds<T>(given),
                    "out: wrong shape or dtype, or read-only");
            if ((given.flags() & direct) == direct) array_ = given;
        }
        if (!array_) array_ = new_array<T>(shape);
        data_ = static_cast<T*>(array_.mutable_data());
    }
    T* data() { return data_; }
    py::ssize_t size() const { return array_.size(); }
    // What to return: `out` itself where it was given, filled by now.
    py::object finish() {
        if (out_.is_none()) return array_;
        if (!array_.is(out_)) out_[py::ellipsis()] = array_;
        return out_;
    }

  private:
    py::object out_;
    py::array array_{py::reinterpret_steal<py::array>(py::handle())};
    T* data_;
};

// Entry i of `out`, a tuple of arrays to write to, or None where there is none.
inline py::object given(const py::object& out, int i) {
    return out.is_none() ? py::none() : py::object(out[py::int_(i)]);
}

// One family, one file; module.cpp calls them in turn.
void bind_linear(py::module_& m);
void bind_convolution(py::module_& m);
void bind_activation(py::module_& m);
void bind_probability(py::module_& m);
void bind_loss(py::module_& m);
void bind_normalization(py::module_& m);
void bind_pooling(py::module_& m);
void bind_recurrent(py::module_& m);
void bind_optimizer(py::module_& m);
void bind_validate(py::module_& m);
void bind_runtime(py::module_& m);

}  // namespace closedform::bind

// The kernel of this name, from the table of either dtype.
#define CF_PICK(name) [](const auto& table) { return table.name; }
