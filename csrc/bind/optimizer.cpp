#include "bind/array.hpp"

namespace closedform::bind {
namespace {

// An array that a kernel updates in place: contiguous, or the wrapper has staged it.
template <class T>
T* in_place(const py::object& object, py::ssize_t size) {
    require(py::isinstance<py::array>(object), "update: arrays only");
    auto& array = const_cast<py::array&>(static_cast<const py::array&>(object));
    require(holds<T>(array) && array.size() == size && (array.flags() & direct) == direct,
            "update: wrong dtype, size or layout");
    return static_cast<T*>(array.mutable_data());
}

void sgd_update(const py::array& parameter, const py::array& gradient, const py::object& velocity, double lr,
                double momentum, double weight_decay, bool nesterov) {
    dispatch(parameter, [&]<class T>(T) {
        const py::ssize_t n = parameter.size();
        T* const p = in_place<T>(parameter, n);
        T* const v = velocity.is_none() ? nullptr : in_place<T>(velocity, n);
        const Input<T> g(gradient);
        require(g.size() == n, "sgd_update: gradient");
        const Unlocked unlocked;
        kernels_of<T>().sgd_update(p, g.data(), v, n, lr, momentum, weight_decay, nesterov);
    });
}

void adam_update(const py::array& parameter, const py::array& gradient, const py::array& m,
                 const py::array& v, double lr, double beta1, double beta2, double eps, double weight_decay,
                 bool decoupled, double correction1, double correction2) {
    dispatch(parameter, [&]<class T>(T) {
        const py::ssize_t n = parameter.size();
        T *const p = in_place<T>(parameter, n), *const pm = in_place<T>(m, n), *const pv = in_place<T>(v, n);
        const Input<T> g(gradient);
        require(g.size() == n, "adam_update: gradient");
        const Unlocked unlocked;
        kernels_of<T>().adam_update(
            p, g.data(), pm, pv, n,
            {lr, beta1, beta2, eps, weight_decay, correction1, correction2, decoupled});
    });
}

}  // namespace

void bind_optimizer(py::module_& m) {
    m.def("sgd_update", &sgd_update);
    m.def("adam_update", &adam_update);
}

}  // namespace closedform::bind
