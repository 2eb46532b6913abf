/* Options that would have no effect are rejected: the user would wait for what they never do. This applies to the
 * command line only: a model's vdm.json sets defaults for all its uses. */
#include "tools/messages.h"
#include "tools/options_table.h"

#include <string.h>

static bool is_coco(const options *o)
{
    return o->n_operands && strcmp(o->operands[0], "coco") == 0;
}

static bool is_generated(const options *o)
{
    return !is_coco(o);
}

static bool has_task(const options *o)
{
    return o->n_operands > 0;
}

static bool has_warmup(const options *o)
{
    return strcmp(o->learn.schedule, "constant") != 0;
}

static bool has_dump(const options *o)
{
    return o->dump != NULL;
}

static bool is_guided(const options *o)
{
    return o->sample.guidance > 1;
}

/* Decided as in vdm_task_read. */
static bool is_arc_file(const options *o)
{
    return o->n_operands && has_ending(o->operands[0], ".json") && !vdm_is_folder(o->operands[0]);
}

static bool is_no_report(const options *o)
{
    return !o->arc.report;
}

static bool is_no_roundtrip(const options *o)
{
    return !o->arc.vae_roundtrip;
}

static bool uses_cell(const options *o)
{
    return is_no_roundtrip(o) || o->canvas.grow > 0;
}

static bool has_no_results(const options *o)
{
    return !o->arc.out;
}

static bool has_results(const options *o)
{
    return o->arc.out != NULL;
}

static bool is_random_phi(const options *o)
{
    return o->learn.phi && (strncmp(o->learn.phi, "tiles", 5) == 0 || strncmp(o->learn.phi, "noisy", 5) == 0);
}

static bool has_no_lora(const options *o)
{
    return !o->sample.n_loras;
}

static bool has_cell(const options *o)
{
    return o->canvas.cell > 0;
}

static bool has_no_list(const options *o)
{
    return !o->list;
}

static bool has_split(const options *o)
{
    return o->bench.plan != NULL;
}

static bool has_no_split(const options *o)
{
    return !o->bench.plan && !o->list;
}

static bool has_expected(const options *o)
{
    return !o->compare.tol || strcmp(o->compare.tol, "expected") == 0;
}

/* golden: whether --what is one of the words in "a|b|c". */
static bool is_what(const options *o, const char *words)
{
    const char *at = strstr(words, o->golden.what);
    size_t n = strlen(o->golden.what);
    return at && (at == words || at[-1] == '|') && (!at[n] || at[n] == '|');
}

static const struct rule {
    int commands;
    const char *names;              /* options; NULL: all that the results of a run depend on */
    bool (*used)(const options *o); /* NULL: golden's */
    const char *with;               /* what they need; of golden: --what */
} rules[] = {
    {TASKS, "--annotations --images --category --as", is_coco, "tasks coco"},
    {TASKS, "-n --tests --grid --cell --border --size --content --paper --seed", has_task,
     "the NAME of a task"},
    {TASKS, "--grid --cell --border --content --paper", is_generated, "a generated task, not coco"},
    {FIT | DEMO | ARC, "--warmup", has_warmup, "--schedule warmup, linear or cosine"},
    {FIT, "--dump-grads", has_dump, "--dump"},
    {INTERP, "--seed", is_random_phi, "--phi tiles:NxM or noisy"},
    {PREDICT | EVAL | ARC | GOLDEN, "--dynamic-guidance --negative --negative-embeds", is_guided,
     "--guidance above 1"},
    {FIT | EVAL | DEMO, "--cell --border --align --grow --outside --palette", is_arc_file, "an ARC-AGI file"},
    {FIT | EVAL | DEMO | ARC, "--grow", has_cell, "--cell above 0"},
    {ARC, "-o", has_no_results, "one task or --report; the results of a folder go to --out"},
    {ARC,
     "--phi --steps --sample-steps --ensemble --sampler --guidance --image-scale --prompt-embeds --negative-embeds "
     "--rank --alpha --targets --lr --schedule --warmup --batch --accumulate --memory --clip --weight-decay --pure-noise "
     "--no-image-noise --init --save-every --watch-every --views --attempts --size-rule --colour --augment --shard "
     "--out --memory-limit --seed",
     is_no_roundtrip, "a run that answers tasks, not --vae-roundtrip"},
    {ARC, "--cell", uses_cell,
     "--grow, or a run that answers tasks: --vae-roundtrip measures cells of many sizes"},
    {ARC, "--memory --save-every --watch-every --memory-limit", is_no_report,
     "a run that answers tasks, not --report"},
    {ARC, NULL, is_no_report, "a run that answers tasks, not --report"},
    {ARC, "--save-every", has_results, "--out: a single task can't be continued"},
    {COMPARE, "--as", has_expected, "--tol expected"},
    {BENCH, "--json --runs --threads --quick", has_no_split, "a measurement, not --plan or --list"},
    {BENCH, "--measure", has_split, "--plan"},
    {BENCH, "--plan --measure --precision", has_no_list, "a command without --list"},
    {GOLDEN, "--batch", NULL, "transformer|train"},
    {GOLDEN, "--lora --alpha", NULL, "transformer|sample|train"},
    {GOLDEN, "--rank --alpha --targets", has_no_lora, "a random adapter, not --lora"},
    {GOLDEN, "--steps", NULL, "train|sample"},
    {GOLDEN, "--rank --targets --lr --clip --weight-decay --accumulate --memory", NULL, "train"},
    {GOLDEN, "--sample-steps --sampler --guidance --dynamic-guidance --image-scale", NULL, "sample"},
    {GOLDEN, "--tiled", NULL, "vae-encode|vae-decode|sample"},
    {GOLDEN, "--frames --size", NULL, "transformer|vae-encode|vae-decode|sample|train"},
    {GOLDEN, "--prompt", NULL, "text"},
};

/* One of the names, with spaces between them. */
static bool is_named(const struct option_row *r, const char *names)
{
    size_t n = strlen(r->name);
    if (!names) return (r->flags & KEY) != 0;
    for (const char *at = names; (at = strstr(at, r->name)); at += n)
        if ((at == names || at[-1] == ' ') && (!at[n] || at[n] == ' ')) return true;
    return false;
}

int options_reject_unused(const options *o, int command)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        if (!(rule->commands & command)) continue;
        if (rule->used ? rule->used(o) : is_what(o, rule->with)) continue;
        for (int k = 0; k < n_option_rows; k++)
            if (o->given[k] && is_named(&option_rows[k], rule->names))
                return misuse("%s: it has no effect here; it needs %s%s", option_rows[k].name,
                              rule->used ? "" : "--what ", rule->with);
    }
    return DONE;
}

vdm_targets learn_targets(const options *o)
{
    return strcmp(o->learn.targets, "attn,ff") == 0 ? VDM_ATTENTION_FF : VDM_ATTENTION;
}

bool option_given(const options *o, const char *name)
{
    for (int i = 0; i < n_option_rows; i++)
        if (o->given[i] && strcmp(option_rows[i].name, name) == 0) return true;
    return false;
}
