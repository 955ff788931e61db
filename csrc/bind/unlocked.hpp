// The GIL, given up while a kernel runs.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>

namespace closedform::bind {

// py::gil_scoped_release, but for daemon threads that come back while the interpreter is shutting down.
// Before Python 3.14 such a thread is ended there and then by unwinding its stack: that aborts the process in
// a destructor, and would free Python objects without the GIL. Here it sleeps until the process is gone,
// which is what Python 3.14 does.
class Unlocked {
  public:
    Unlocked() : state_(PyEval_SaveThread()) {}
    Unlocked(const Unlocked&) = delete;
    Unlocked& operator=(const Unlocked&) = delete;
    ~Unlocked() {
        try {
            PyEval_RestoreThread(state_);
        } catch (...) {
            for (;;) std::this_thread::sleep_for(std::chrono::hours(24));
        }
    }

  private:
    PyThreadState* state_;
};

}  // namespace closedform::bind
