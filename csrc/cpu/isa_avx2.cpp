// The kernels for the instruction set "avx2".
#define GSB_ISA avx2
#define GSB_ISA_NAME "avx2"
#define GSB_LANES 8
#define GSB_TABLE kernels_avx2
#include "cpu/isa_unit.inc"
