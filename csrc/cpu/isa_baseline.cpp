// The kernels for the instruction set "baseline".
#define GSB_ISA baseline
#define GSB_ISA_NAME "baseline"
#define GSB_LANES 4
#define GSB_TABLE kernels_baseline
#include "cpu/isa_unit.inc"
