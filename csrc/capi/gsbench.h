/* The C ABI of gsbench's native library: the only symbols that Python sees.
 *
 * Every call returns a status, 0 for success; the text of the last failure in this thread is gsb_last_error().
 * No exception crosses, nothing is called back, and no memory changes hands: all buffers belong to the caller, who
 * asks for sizes first. Pointers are to contiguous arrays; gsbench/native checks dtype, shape and device before.
 * gsbench/native/_abi.py mirrors this file, and a test compares the two.
 */
#ifndef GSBENCH_CAPI_GSBENCH_H
#define GSBENCH_CAPI_GSBENCH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GSB_ABI_VERSION 1
#define GSB_API __attribute__((visibility("default")))

enum {
  GSB_OK = 0,
  GSB_INVALID_ARGUMENT = 1, /* a value that the call cannot work with; the text names it */
  GSB_INTERNAL = 2          /* out of memory, or a bug of ours */
};

GSB_API int32_t gsb_abi_version(void);
GSB_API const char* gsb_build_id(void);
GSB_API const char* gsb_last_error(void);
/* Instruction set in use: "baseline", "avx2" or "avx512". */
GSB_API const char* gsb_cpu_isa(void);
/* Chooses an instruction set by name; refuses one that this machine lacks. "auto" takes the best. */
GSB_API int32_t gsb_cpu_set_isa(const char* name);

#ifdef __cplusplus
}
#endif
#endif
