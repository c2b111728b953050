// The kernels for the instruction set "avx512".
#define GSB_ISA avx512
#define GSB_ISA_NAME "avx512"
#define GSB_LANES 16
#define GSB_TABLE kernels_avx512
#include "cpu/isa_unit.inc"
