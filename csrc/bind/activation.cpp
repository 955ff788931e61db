#include "bind/elementwise.hpp"

namespace closedform::bind {

void bind_activation(py::module_& m) {
    using Array = const py::array&;
    using Object = const py::object&;
    m.def("relu", [](Array x, double slope, double negative_slope, Object out) {
        return map_unary(x, out, CF_PICK(relu), slope, negative_slope);
    });
    m.def("relu_backward", [](Array dy, Array x, double slope, double negative_slope, Object out) {
        return map_binary(dy, x, out, CF_PICK(relu_backward), slope, negative_slope);
    });
    m.def("sigmoid", [](Array x, Object out) { return map_unary(x, out, CF_PICK(sigmoid)); });
    m.def("tanh", [](Array x, Object out) { return map_unary(x, out, CF_PICK(tanh)); });
    m.def("softplus", [](Array x, Object out) { return map_unary(x, out, CF_PICK(softplus)); });
    m.def("gelu", [](Array x, Object out) { return map_unary(x, out, CF_PICK(gelu)); });
    m.def("sigmoid_backward",
          [](Array dy, Array y, Object out) { return map_binary(dy, y, out, CF_PICK(sigmoid_backward)); });
    m.def("tanh_backward",
          [](Array dy, Array y, Object out) { return map_binary(dy, y, out, CF_PICK(tanh_backward)); });
    m.def("softplus_backward",
          [](Array dy, Array x, Object out) { return map_binary(dy, x, out, CF_PICK(softplus_backward)); });
    m.def("gelu_backward",
          [](Array dy, Array x, Object out) { return map_binary(dy, x, out, CF_PICK(gelu_backward)); });
    // What the others are made of, for tests of accuracy.
    m.def("exp", [](Array x, Object out) { return map_unary(x, out, CF_PICK(exp)); });
    m.def("log", [](Array x, Object out) { return map_unary(x, out, CF_PICK(log)); });
    m.def("log1p", [](Array x, Object out) { return map_unary(x, out, CF_PICK(log1p)); });
    m.def("erf", [](Array x, Object out) { return map_unary(x, out, CF_PICK(erf)); });
}

}  // namespace closedform::bind
