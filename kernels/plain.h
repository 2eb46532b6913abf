/* The definition of every kernel as plain loops: what each instruction set's table is held against. */
#ifndef VDM_PLAIN_H
#define VDM_PLAIN_H

#include "kernels/kernels.h"

extern const vdm_kernels vdm_kernels_plain;

#endif
