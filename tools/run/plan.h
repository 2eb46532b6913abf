/* Memory and time of a run before it starts. */
#ifndef VDM_PLAN_H
#define VDM_PLAN_H

#include "tools/run/model_session.h"

/* Returns the bytes besides the transformer's weights. Prints the memory and time of sampling (answers videos) or learning, for --plan and before the start. */
double plan_print(const session *s, int training_steps, int answers, int pairs);

#endif
