// Turns failures inside the library into a status and a thread-local text.
#pragma once

#include <cstdarg>

namespace gsb {

// Records a printf-style message and returns `status`.
__attribute__((format(printf, 2, 3))) int fail(int status, const char* format, ...);

}  // namespace gsb
