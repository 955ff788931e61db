#include "bind/array.hpp"
#include "core/arena.hpp"

namespace closedform::bind {
namespace {

// An input that may be None, of `n` elements.
template <class T>
class Optional {
  public:
    Optional(const py::object& a, py::ssize_t n, const char* what) {
        if (a.is_none()) return;
        input_.emplace(a);
        require(input_->size() == n, what);
    }
    const T* data() const { return input_ ? input_->data() : nullptr; }

  private:
    std::optional<Input<T>> input_;
};

// An input of `n` elements.
template <class T>
Input<T> sized(const py::array& a, py::ssize_t n, const char* what) {
    Input<T> input(a);
    require(input.size() == n, what);
    return input;
}

// The sizes, for cells with `gates` gates, and what is given to forward and backward alike. x is (T, N, D),
// or (N, D) for a single step.
template <class T>
struct Layer {
    py::ssize_t T_, N, D, H, A;
    Input<T> x, w_x, w_h;
    Optional<T> h0;
    Optional<std::int64_t> lengths;
    bool reverse;

    Layer(const py::array& x_, const py::array& w_x_, const py::array& w_h_, const py::object& h0_,
          const py::object& lengths_, bool reverse_, py::ssize_t gates)
        : T_(x_.ndim() == 3 ? x_.shape(0) : 1),
          N(axis(x_, 2)),
          D(axis(x_, 1)),
          H(w_h_.ndim() == 2 ? w_h_.shape(0) : 0),
          A(gates * H),
          x(x_),
          w_x(sized<T>(w_x_, D * A, "w_x")),
          w_h(sized<T>(w_h_, H * A, "w_h")),
          h0(h0_, N * H, "h0"),
          lengths(lengths_, N, "lengths"),
          reverse(reverse_) {
        if (const std::int64_t* const l = lengths.data())
            for (py::ssize_t n = 0; n < N; ++n) require(l[n] >= 0 && l[n] <= T_, "lengths: 0 to T");
    }

    Recurrence recurrence() const { return {T_, N, D, H, lengths.data(), reverse}; }
    Shape states() const { return {T_, N, H}; }
    Shape state() const { return {N, H}; }

  private:
    static py::ssize_t axis(const py::array& x, py::ssize_t from_end) {
        require(x.ndim() == 2 || x.ndim() == 3, "x: two or three axes");
        return x.shape(x.ndim() - from_end);
    }
};

py::tuple rnn(const py::array& x, const py::array& w_x, const py::array& w_h, const py::object& b,
              const py::object& h0, const py::object& lengths, bool relu, bool reverse) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h0, lengths, reverse, 1);
        const Optional<T> bias(b, layer.A, "b");
        Output<T> h(layer.states(), py::none()), h_last(layer.state(), py::none());
        {
            const Unlocked unlocked;
            kernels_of<T>().rnn(h.data(), h_last.data(), layer.x.data(), layer.w_x.data(), layer.w_h.data(),
                                bias.data(), layer.h0.data(), layer.recurrence(), relu);
        }
        return py::make_tuple(h.finish(), h_last.finish());
    });
}

py::tuple rnn_backward(const py::array& dh, const py::object& dh_last, const py::array& h, const py::array& x,
                       const py::array& w_x, const py::array& w_h, const py::object& h0,
                       const py::object& lengths, bool relu, bool reverse, const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h0, lengths, reverse, 1);
        const py::ssize_t state = layer.N * layer.H, states = layer.T_ * state;
        const Input<T> dhs = sized<T>(dh, states, "dh"), hs = sized<T>(h, states, "h");
        const Optional<T> last(dh_last, state, "dh_last");
        Output<T> dx(shape_of(x), given(out, 0)), dw_x({layer.D, layer.A}, given(out, 1)),
            dw_h({layer.H, layer.A}, given(out, 2)), db({layer.A}, given(out, 3)),
            dh0(layer.state(), given(out, 4));
        {
            const Unlocked unlocked;
            kernels_of<T>().rnn_backward(dx.data(), dw_x.data(), dw_h.data(), db.data(), dh0.data(),
                                         dhs.data(), last.data(), hs.data(), layer.x.data(), layer.w_x.data(),
                                         layer.w_h.data(), layer.h0.data(), layer.recurrence(), relu);
        }
        return py::make_tuple(dx.finish(), dw_x.finish(), dw_h.finish(), db.finish(), dh0.finish());
    });
}

py::object rnn_step(const py::array& x, const py::array& h, const py::array& w_x, const py::array& w_h,
                    const py::object& b, bool relu) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h, py::none(), false, 1);
        const Optional<T> bias(b, layer.A, "b");
        Output<T> h_next(layer.state(), py::none());
        {
            const Unlocked unlocked;
            kernels_of<T>().rnn(h_next.data(), nullptr, layer.x.data(), layer.w_x.data(), layer.w_h.data(),
                                bias.data(), layer.h0.data(), layer.recurrence(), relu);
        }
        return h_next.finish();
    });
}

py::tuple lstm(const py::array& x, const py::array& w_x, const py::array& w_h, const py::object& b,
               const py::object& h0, const py::object& c0, const py::object& lengths, bool identity,
               bool reverse) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h0, lengths, reverse, 4);
        const Optional<T> bias(b, layer.A, "b"), c_start(c0, layer.N * layer.H, "c0");
        Output<T> h(layer.states(), py::none()), h_last(layer.state(), py::none()),
            c_last(layer.state(), py::none()), c(layer.states(), py::none()),
            gates({layer.T_, layer.N, layer.A}, py::none());
        {
            const Unlocked unlocked;
            kernels_of<T>().lstm(h.data(), h_last.data(), c_last.data(), c.data(), gates.data(),
                                 layer.x.data(), layer.w_x.data(), layer.w_h.data(), bias.data(),
                                 layer.h0.data(), c_start.data(), layer.recurrence(), identity);
        }
        return py::make_tuple(h.finish(), h_last.finish(), c_last.finish(), c.finish(), gates.finish());
    });
}

py::tuple lstm_backward(const py::array& dh, const py::object& dh_last, const py::object& dc_last,
                        const py::array& c, const py::array& gates, const py::array& h, const py::array& x,
                        const py::array& w_x, const py::array& w_h, const py::object& h0,
                        const py::object& c0, const py::object& lengths, bool identity, bool reverse,
                        const py::object& out) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h0, lengths, reverse, 4);
        const py::ssize_t state = layer.N * layer.H, states = layer.T_ * state;
        const Input<T> dhs = sized<T>(dh, states, "dh"), hs = sized<T>(h, states, "h"),
                       cs = sized<T>(c, states, "c"), all_gates = sized<T>(gates, 4 * states, "gates");
        const Optional<T> h_end(dh_last, state, "dh_last"), c_end(dc_last, state, "dc_last"),
            c_start(c0, state, "c0");
        Output<T> dx(shape_of(x), given(out, 0)), dw_x({layer.D, layer.A}, given(out, 1)),
            dw_h({layer.H, layer.A}, given(out, 2)), db({layer.A}, given(out, 3)),
            dh0(layer.state(), given(out, 4)), dc0(layer.state(), given(out, 5));
        {
            const Unlocked unlocked;
            kernels_of<T>().lstm_backward(dx.data(), dw_x.data(), dw_h.data(), db.data(), dh0.data(),
                                          dc0.data(), dhs.data(), h_end.data(), c_end.data(), cs.data(),
                                          all_gates.data(), hs.data(), layer.x.data(), layer.w_x.data(),
                                          layer.w_h.data(), layer.h0.data(), c_start.data(),
                                          layer.recurrence(), identity);
        }
        return py::make_tuple(dx.finish(), dw_x.finish(), dw_h.finish(), db.finish(), dh0.finish(),
                              dc0.finish());
    });
}

py::tuple lstm_step(const py::array& x, const py::array& h, const py::array& c, const py::array& w_x,
                    const py::array& w_h, const py::object& b, bool identity) {
    return dispatch(x, [&]<class T>(T) {
        const Layer<T> layer(x, w_x, w_h, h, py::none(), false, 4);
        const Optional<T> bias(b, layer.A, "b"), c_before(c, layer.N * layer.H, "c");
        Output<T> h_next(layer.state(), py::none()), c_next(layer.state(), py::none());
        {
            const Unlocked unlocked;
            const Scratch gates(std::size_t(layer.N * layer.A) * sizeof(T));
            kernels_of<T>().lstm(h_next.data(), nullptr, nullptr, c_next.data(), gates.as<T>(),
                                 layer.x.data(), layer.w_x.data(), layer.w_h.data(), bias.data(),
                                 layer.h0.data(), c_before.data(), layer.recurrence(), identity);
        }
        return py::make_tuple(h_next.finish(), c_next.finish());
    });
}

}  // namespace

void bind_recurrent(py::module_& m) {
    m.def("rnn", &rnn);
    m.def("rnn_backward", &rnn_backward);
    m.def("rnn_step", &rnn_step);
    m.def("lstm", &lstm);
    m.def("lstm_backward", &lstm_backward);
    m.def("lstm_step", &lstm_step);
}

}  // namespace closedform::bind
