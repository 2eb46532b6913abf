/* The loss curve. */
#ifndef VDM_CHART_H
#define VDM_CHART_H

#include "vdm.h"

void chart_write(FILE *f, const vdm_fit_row *rows, int steps); /* SVG */

#endif
