// Threads, instruction sets, memory, and the measures of the machine's limits.
#include <cstring>
#include <string>

#include "bind/array.hpp"
#include "core/arena.hpp"
#include "core/parallel.hpp"

namespace closedform::bind {
namespace {

py::list isas() {
    int n = 0;
    const char* const* names = available_isas(&n);
    py::list list;
    for (int i = 0; i < n; ++i) list.append(names[i]);
    return list;
}

// Runs `rounds` of the multiply-add loop on each of `threads` tasks; returns the flops done.
double fma_rounds(const py::array& dtype_of, py::ssize_t rounds, py::ssize_t threads) {
    return dispatch(dtype_of, [&]<class T>(T) {
        require(rounds >= 1 && threads >= 1, "fma_rounds: at least one");
        const Unlocked unlocked;
        const auto run = kernels_of<T>().fma_rounds;
        std::vector<double> flops(threads);
        parallel_for(threads, [&](std::ptrdiff_t i) { flops[i] = run(rounds); });
        return flops[0] * double(rounds) * double(threads);
    });
}

// Copies source to target in fixed blocks on all threads: the memory's bandwidth.
void copy(py::array target, const py::array& source) {
    dispatch(target, [&]<class T>(T) {
        require(holds<T>(source) && target.size() == source.size() &&
                    (target.flags() & source.flags() & py::array::c_style),
                "copy: arrays");
    });
    char* const to = static_cast<char*>(target.mutable_data());
    const char* const from = static_cast<const char*>(source.data());
    const std::ptrdiff_t bytes = source.nbytes(), block = 1 << 18;
    const Unlocked unlocked;
    parallel_for((bytes + block - 1) / block, [=](std::ptrdiff_t i) {
        std::memcpy(to + i * block, from + i * block, std::min(block, bytes - i * block));
    });
}

}  // namespace

void bind_runtime(py::module_& m) {
    m.attr("compiler") = CF_COMPILER;
    m.def("isa", [] { return kernels().isa; });
    m.def("available_isas", &isas);
    m.def("select_isa", [](const std::string& name) { return select_isa(name.c_str()); });
    m.def("available_cpus", &available_cpus);
    m.def("get_num_threads", &num_threads);
    m.def("set_num_threads", &set_num_threads);
    m.def("held_bytes", [] { return scratch_bytes() + recycle_held_bytes(); });
    m.def("release_memory", [] {
        release_scratch();
        recycle_release();
    });
    m.def("fma_rounds", &fma_rounds);
    m.def("copy", &copy);
}

}  // namespace closedform::bind
