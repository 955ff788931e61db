// What the C++ tests share: CHECK prints what failed and counts it.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <thread>
#include <vector>

inline std::atomic<int> failures{0};

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                         \
        }                                                                       \
    } while (0)

constexpr std::size_t MiB = std::size_t{1} << 20;

// Runs f(0), ..., f(n - 1) at once, each in a thread of its own.
inline void in_threads(int n, const std::function<void(int)>& f) {
    std::vector<std::thread> threads;
    for (int i = 0; i < n; ++i) threads.emplace_back(f, i);
    for (auto& thread : threads) thread.join();
}
