// The one piece of linear algebra that the compiled drivers need between their passes over data.
#pragma once

#include <cstddef>

namespace closedform {

// u = the upper triangular matrix with u u^T = a^-1, for a (D, D) symmetric, of which the upper triangle is
// read; its lower triangle is 0. False if a is not positive definite: u then holds nothing of use.
bool inverse_cholesky(double* u, const double* a, std::ptrdiff_t D);

}  // namespace closedform
