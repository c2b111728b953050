// The C ABI: argument checks that need no knowledge of the mathematics, then one call into the kernels in use.
#include "capi/gsbench.h"

#include "capi/last_error.inc"
#include "cpu/dispatch.h"

extern "C" {

int32_t gsb_abi_version(void) { return GSB_ABI_VERSION; }

const char* gsb_build_id(void) { return GSB_BUILD_ID; }

const char* gsb_last_error(void) { return gsb::last_error; }

const char* gsb_cpu_isa(void) { return gsb::kernels().name; }

int32_t gsb_cpu_set_isa(const char* name) {
  if (!gsb::select_kernels(name)) {
    return gsb::fail(GSB_INVALID_ARGUMENT, "instruction set '%s' is unknown or not supported by this machine", name);
  }
  return GSB_OK;
}

}  // extern "C"
