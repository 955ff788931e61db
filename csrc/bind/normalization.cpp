#include "bind/array.hpp"

namespace closedform::bind {
namespace {

// (m, C) of an array: all axes but the last are rows.
struct Channels {
    py::ssize_t m, C;
    explicit Channels(const py::array& x) {
        require(x.ndim() >= 1, "x: at least one axis");
        C = x.shape(x.ndim() - 1);
        m = product(x.shape(), x.shape() + x.ndim() - 1);
    }
};

// An input of one number a channel.
template <class T>
Input<T> per_channel(const py::array& a, const Channels& size) {
    Input<T> input(a);
    require(input.size() == size.C, "one number for each channel of x");
    return input;
}

py::tuple batchnorm(const py::array& x, const py::array& gamma, const py::array& beta, double eps,
                    const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Channels size(x);
        Output<T> y(shape_of(x), out), mean({size.C}, py::none()), rstd({size.C}, py::none());
        const Input<T> xs(x), gammas = per_channel<T>(gamma, size), betas = per_channel<T>(beta, size);
        {
            const Unlocked unlocked;
            kernels_of<T>().batchnorm(y.data(), mean.data(), rstd.data(), xs.data(), gammas.data(),
                                      betas.data(), size.m, size.C, eps);
        }
        return py::make_tuple(y.finish(), mean.finish(), rstd.finish());
    });
}

// out: a tuple (dx, dgamma, dbeta), each may be None, or None.
py::tuple batchnorm_backward(const py::array& dy, const py::array& x, const py::array& mean,
                             const py::array& rstd, const py::array& gamma, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Channels size(x);
        Output<T> dx(shape_of(x), given(out, 0)), dgamma({size.C}, given(out, 1)),
            dbeta({size.C}, given(out, 2));
        const Input<T> dys(dy), xs(x), means = per_channel<T>(mean, size), rstds = per_channel<T>(rstd, size),
                                       gammas = per_channel<T>(gamma, size);
        require(dys.size() == xs.size(), "dy and x differ in shape");
        {
            const Unlocked unlocked;
            kernels_of<T>().batchnorm_backward(dx.data(), dgamma.data(), dbeta.data(), dys.data(), xs.data(),
                                               means.data(), rstds.data(), gammas.data(), size.m, size.C);
        }
        return py::make_tuple(dx.finish(), dgamma.finish(), dbeta.finish());
    });
}

py::object batchnorm_inference(const py::array& x, const py::array& gamma, const py::array& beta,
                               const py::array& mean, const py::array& var, double eps,
                               const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Channels size(x);
        Output<T> y(shape_of(x), out);
        const Input<T> xs(x), gammas = per_channel<T>(gamma, size), betas = per_channel<T>(beta, size),
                              means = per_channel<T>(mean, size), vars = per_channel<T>(var, size);
        {
            const Unlocked unlocked;
            kernels_of<T>().batchnorm_inference(y.data(), xs.data(), gammas.data(), betas.data(),
                                                means.data(), vars.data(), size.m, size.C, eps);
        }
        return y.finish();
    });
}

}  // namespace

void bind_normalization(py::module_& m) {
    m.def("batchnorm", &batchnorm);
    m.def("batchnorm_backward", &batchnorm_backward);
    m.def("batchnorm_inference", &batchnorm_inference);
}

}  // namespace closedform::bind
