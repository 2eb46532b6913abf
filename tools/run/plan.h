/* Memory and time of a run before it starts. */
#ifndef VDM_PLAN_H
#define VDM_PLAN_H

#include "tools/run/model_session.h"

/* Bytes that a run takes at its peak besides the transformer's weights: learning, answering, or one after the other
 * (0: not this one). */
double plan_bytes(const session *s, int training_steps, int answers, int pairs);
/* Prints the memory and time of sampling (answers videos) or learning, for --plan and before the start. Returns the same
 * bytes. before: training steps that are done already, by a run that is resumed. */
double plan_print(const session *s, int training_steps, int before, int answers, int pairs);

#endif
