/* A task on a page: input, answers and truth of its tests as figures. */
#ifndef VDM_TASK_CARD_H
#define VDM_TASK_CARD_H

#include "tools/arc/results.h"
#include "tools/report/page.h"

extern const char FIGURE_ROW[]; /* a format: <div> with %d columns */
void task_card(struct writer *w, const arc_result *r);

#endif
