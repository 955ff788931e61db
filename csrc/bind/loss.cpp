#include "bind/elementwise.hpp"

namespace closedform::bind {
namespace {

// A loss summed in double, as a number of the arrays' type: beyond float32 that is infinity.
template <class T>
py::object rounded(double loss) {
    return py::float_(double(T(loss)));
}

// Elementwise losses: an array of them (`each`), or their sum times `scale`.
template <class Pick>
py::object elementwise_loss(const py::array& y_hat, const py::array& y, double scale, bool each, Pick pick) {
    return dispatch(y_hat, [&]<class T>(T) -> py::object {
        require(y_hat.size() == y.size(), "y_hat and y differ in shape");
        const Input<T> first(y_hat), second(y);
        std::optional<Output<T>> losses;
        if (each) losses.emplace(shape_of(y_hat), py::none());
        double sum;
        {
            const Unlocked unlocked;
            sum = pick(kernels_of<T>())(losses ? losses->data() : nullptr, first.data(), second.data(),
                                        first.size());
        }
        return losses ? losses->finish() : rounded<T>(sum * scale);
    });
}

// Returns (loss or losses or None, dlogits or None). Class indices have been checked, but a label that
// another thread changes meanwhile must not become an address: the kernel's are a private copy.
py::tuple cross_entropy(const py::array& logits, const py::array& target, const py::object& weight,
                        double label_smoothing, const py::object& ignore_index, double scale, bool each,
                        bool with_grad, const py::object& out) {
    return dispatch(logits, [&]<class T>(T) {
        require(logits.ndim() == 2, "cross_entropy: logits");
        const py::ssize_t N = logits.shape(0), K = logits.shape(1);
        const Input<T> z(logits);
        Targets<T> targets{nullptr, nullptr, nullptr, label_smoothing, !ignore_index.is_none(), 0};
        if (targets.has_ignore) targets.ignore_index = ignore_index.cast<std::int64_t>();
        std::vector<std::int64_t> classes;
        std::optional<Input<T>> probabilities, weights;
        if (target.ndim() == 2) {
            probabilities.emplace(target);
            require(probabilities->size() == N * K, "cross_entropy: target");
            targets.probabilities = probabilities->data();
        } else {
            const Input<std::int64_t> labels(target);
            require(labels.size() == N, "cross_entropy: target");
            classes.assign(labels.data(), labels.data() + N);
            for (const std::int64_t c : classes)
                require((0 <= c && c < K) || (targets.has_ignore && c == targets.ignore_index),
                        "cross_entropy: target");
            targets.classes = classes.data();
        }
        if (!weight.is_none()) {
            weights.emplace(static_cast<const py::array&>(weight));
            require(weights->size() == K, "cross_entropy: weight");
            targets.weight = weights->data();
        }
        std::optional<Output<T>> losses, dlogits;
        if (each) losses.emplace(Shape{N}, py::none());
        if (with_grad) dlogits.emplace(shape_of(logits), out);
        double sum;
        {
            const Unlocked unlocked;
            sum = kernels_of<T>().cross_entropy(losses ? losses->data() : nullptr,
                                                dlogits ? dlogits->data() : nullptr, z.data(), targets, N, K,
                                                scale);
        }
        return py::make_tuple(losses ? losses->finish() : rounded<T>(sum),
                              dlogits ? dlogits->finish() : py::none());
    });
}

}  // namespace

void bind_loss(py::module_& m) {
    using Array = const py::array&;
    using Object = const py::object&;
    m.def("squared_error", [](Array y_hat, Array y, double scale, bool each) {
        return elementwise_loss(y_hat, y, scale, each, CF_PICK(squared_error));
    });
    m.def("binary_cross_entropy", [](Array y_hat, Array y, double scale, bool each) {
        return elementwise_loss(y_hat, y, scale, each, CF_PICK(binary_cross_entropy));
    });
    m.def("binary_cross_entropy_with_logits", [](Array z, Array y, double scale, bool each) {
        return elementwise_loss(z, y, scale, each, CF_PICK(binary_cross_entropy_with_logits));
    });
    m.def("squared_error_backward", [](Array y_hat, Array y, double scale, Object out) {
        return map_binary(y_hat, y, out, CF_PICK(squared_error_backward), scale);
    });
    m.def("binary_cross_entropy_backward", [](Array y_hat, Array y, double scale, Object out) {
        return map_binary(y_hat, y, out, CF_PICK(binary_cross_entropy_backward), scale);
    });
    m.def("binary_cross_entropy_with_logits_backward", [](Array z, Array y, double scale, Object out) {
        return map_binary(z, y, out, CF_PICK(binary_cross_entropy_with_logits_backward), scale);
    });
    m.def("cross_entropy", &cross_entropy);
}

}  // namespace closedform::bind
