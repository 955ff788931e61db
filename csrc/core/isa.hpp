// Which instruction set the kernels run on: found out once, can be forced.
#pragma once

namespace closedform {

struct KernelTable;  // csrc/kernels/table.hpp; one table per instruction set

// Names of those compiled in and supported by this CPU and operating system, slowest first, *n of them.
const char* const* available_isas(int* n);

// Is `name` one of them?
bool isa_supported(const char* name);

// The chosen table: the fastest, until select_isa(name) succeeds. Both are safe at any time from any thread;
// a call that has its table already keeps it.
const KernelTable& kernels();
bool select_isa(const char* name);

}  // namespace closedform
