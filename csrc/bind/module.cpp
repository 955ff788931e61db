// The compiled module: a table of contents.
#include "bind/array.hpp"

PYBIND11_MODULE(_kernels, m, pybind11::mod_gil_not_used()) {
    using namespace closedform::bind;
    m.doc() = "Compiled kernels of closedform. Call the wrappers in `closedform`: they validate and explain.";
    bind_linear(m);
    bind_convolution(m);
    bind_activation(m);
    bind_probability(m);
    bind_loss(m);
    bind_normalization(m);
    bind_pooling(m);
    bind_recurrent(m);
    bind_optimizer(m);
    bind_validate(m);
    bind_runtime(m);
}
