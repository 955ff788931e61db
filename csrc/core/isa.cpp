// Detection and choice of the instruction set.
#include "isa.hpp"

#include <atomic>
#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if !defined(CF_HAVE_BASELINE) && !defined(CF_HAVE_NEON)
#error \
    "the build defines CF_HAVE_BASELINE, CF_HAVE_V3, CF_HAVE_V4, CF_HAVE_NEON for the kernel objects it links"
#endif

namespace closedform {

#if defined(CF_HAVE_BASELINE)
extern const KernelTable table_baseline;
#endif
#if defined(CF_HAVE_V3)
extern const KernelTable table_v3;
#endif
#if defined(CF_HAVE_V4)
extern const KernelTable table_v4;
#endif
#if defined(CF_HAVE_NEON)
extern const KernelTable table_neon;
#endif

namespace {

#if defined(__x86_64__)
// The builtin also asks whether the operating system saves the registers. Clang before 19 does not know the
// name "x86-64-v3" nor f16c, movbe and lzcnt, so these come from CPUID.
[[maybe_unused]] bool cpu_has_v3() {
    __builtin_cpu_init();
    unsigned a, b, c1 = 0, c8 = 0, d;
    if (!__get_cpuid(1, &a, &b, &c1, &d) || !__get_cpuid(0x80000001, &a, &b, &c8, &d)) return false;
    const bool f16c = c1 & (1u << 29), movbe = c1 & (1u << 22), lzcnt = c8 & (1u << 5);
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
           __builtin_cpu_supports("bmi2") && f16c && movbe && lzcnt;
}

[[maybe_unused]] bool cpu_has_v4() {
    return cpu_has_v3() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd");
}
#endif

struct Isas {
    const char* names[4];
    const KernelTable* tables[4];
    int n = 0;

    Isas() {
#if defined(CF_HAVE_BASELINE)
        add("baseline", table_baseline);
#endif
#if defined(CF_HAVE_NEON) && defined(__aarch64__)
        add("neon", table_neon);
#endif
#if defined(CF_HAVE_V3) && defined(__x86_64__)
        if (cpu_has_v3()) add("v3", table_v3);
#endif
#if defined(CF_HAVE_V4) && defined(__x86_64__)
        if (cpu_has_v4()) add("v4", table_v4);
#endif
    }

    void add(const char* name, const KernelTable& table) {
        names[n] = name;
        tables[n++] = &table;
    }

    const KernelTable* find(const char* name) const {
        for (int i = 0; i < n; ++i) {
            if (std::strcmp(names[i], name) == 0) return tables[i];
        }
        return nullptr;
    }
};

const Isas& isas() {
    static const Isas found;
    return found;
}

std::atomic<const KernelTable*> chosen{nullptr};

}  // namespace

const char* const* available_isas(int* n) {
    *n = isas().n;
    return isas().names;
}

bool isa_supported(const char* name) {
    return isas().find(name) != nullptr;
}

bool select_isa(const char* name) {
    const KernelTable* table = isas().find(name);
    if (table) chosen.store(table, std::memory_order_release);
    return table != nullptr;
}

const KernelTable& kernels() {
    const KernelTable* table = chosen.load(std::memory_order_acquire);
    if (table) return *table;
    const KernelTable* fastest = isas().tables[isas().n - 1];
    chosen.compare_exchange_strong(table, fastest);  // unless a select_isa() came first
    return *chosen.load(std::memory_order_acquire);
}

}  // namespace closedform
