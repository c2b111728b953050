// The kernels of the instruction set in use.
#pragma once

#include "cpu/kernels.h"

namespace gsb {

// The table in use; the first call chooses the best that this machine supports.
const KernelTable& kernels();

// Chooses a table by name ("auto": the best). False if there is none of this name or the machine lacks it.
bool select_kernels(const char* name);

}  // namespace gsb
