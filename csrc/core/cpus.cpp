// How many CPUs this process may use: parallel.hpp's available_cpus().
#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <thread>

#include "parallel.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace closedform {
namespace {

int affinity_cpus() {
#if defined(__linux__)
    for (int bits = 1024; bits <= 1 << 20; bits *= 2) {  // the kernel refuses a mask smaller than its own
        cpu_set_t* set = CPU_ALLOC(bits);
        if (!set) break;
        const std::size_t bytes = CPU_ALLOC_SIZE(bits);
        const int cpus = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (cpus > 0) return cpus;
    }
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// CPUs that the control groups' quotas pay for: the least on the way from ours up to the root (v2, then v1).
double quota_cpus() {
    double least = std::numeric_limits<double>::infinity();
    std::ifstream groups("/proc/self/cgroup");  // lines of id:controllers:path
    for (std::string line; std::getline(groups, line);) {
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        std::string controllers = line.substr(first, second - first + 1);  // with a separator on either side
        std::replace(controllers.begin(), controllers.end(), ':', ',');
        const bool v2 = controllers == ",,";
        if (!v2 && controllers.find(",cpu,") == std::string::npos) continue;
        const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
            const std::string folder = root + path;
            double quota = 0, period = 0;  // no quota: "max", or -1
            if (v2) {
                std::ifstream(folder + "/cpu.max") >> quota >> period;
            } else {
                std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
                std::ifstream(folder + "/cpu.cfs_period_us") >> period;
            }
            if (quota > 0 && period > 0) least = std::min(least, quota / period);
            if (path.rfind('/') == std::string::npos) break;
        }
    }
    return least;
}

}  // namespace

int available_cpus() {
    const double cpus = std::min(double(affinity_cpus()), std::ceil(quota_cpus()));
    return std::max(1, static_cast<int>(cpus));
}

}  // namespace closedform
