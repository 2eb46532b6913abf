/* The command line and the defaults: options are parsed, and --help is printed, from one table.
 *
 * Each of these overrides the one before it: the program's defaults (the paper's), the model's (MODEL/vdm.json), the
 * command line. Keys of vdm.json (files/model_settings.c) are the names of options, with _ for -. */
#include "tools/options_table.h"
#include "files/model_settings.h"
#include "tools/ignored_keys.h"
#include "tools/messages.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct option_row *find_row(int command, const char *name)
{
    for (int i = 0; i < n_option_aliases; i++)
        if ((option_aliases[i].commands & command) && strcmp(option_aliases[i].old, name) == 0)
            name = option_aliases[i].name;
    for (int i = 0; i < n_option_rows; i++)
        if ((option_rows[i].commands & command) && strcmp(option_rows[i].name, name) == 0)
            return &option_rows[i];
    return NULL;
}

static bool takes_model(int command)
{
    return find_row(command, "--model") != NULL;
}

bool options_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return *text && !*end && !errno && isfinite(*value) && !strpbrk(text, "xXpPnN \t\n\v\f\r");
}

static int read_count(const struct option_row *r, const char *text, int *value, vdm_error *err)
{
    double x;
    if (!options_number(text, &x) || x != floor(x) || x < r->min || x > r->max || strpbrk(text, ".eE"))
        return vdm_fail(err, "expected an integer from %.0f to %.0f, found '%.100s'", r->min, r->max, text);
    *value = (int)x;
    return 0;
}

static int read_real(const struct option_row *r, const char *text, double *value, vdm_error *err)
{
    double x;
    if (!options_number(text, &x) || x < r->min || x > r->max)
        return vdm_fail(err, "expected a number from %g to %g, found '%.100s'", r->min, r->max, text);
    *value = x;
    return 0;
}

static int read_seed(const char *text, uint64_t *value, vdm_error *err)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!*text || *end || errno || strspn(text, "0123456789") != strlen(text))
        return vdm_fail(err, "expected an integer from 0 to 2^64 - 1, found '%.100s'", text);
    *value = x;
    return 0;
}

static int read_size(const struct option_row *r, options *o, const char *text, vdm_error *err)
{
    const char *x = strchr(text, 'x');
    char height[16];
    if (!x || x - text >= (int)sizeof height)
        return vdm_fail(err, "expected HxW, as in 480x720, found '%.100s'", text);
    memcpy(height, text, (size_t)(x - text));
    height[x - text] = '\0';
    int *to[] = {&o->height, &o->width};
    if (r->offset) to[0] = o->tasks.grid, to[1] = o->tasks.grid + 1; /* --grid */
    if (read_count(r, height, to[0], err)) return -1;
    return read_count(r, x + 1, to[1], err);
}

/* One of the words in "a|b|c". */
static int read_choice(const struct option_row *r, const char *text, char value[16], vdm_error *err)
{
    size_t length = strlen(text);
    for (const char *word = r->value; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        if (length == strcspn(word, "|") && strncmp(word, text, length) == 0) {
            snprintf(value, 16, "%s", text);
            return 0;
        }
    }
    return vdm_fail(err, "expected %s, found '%.100s'", r->value, text);
}

static int read_option(const struct option_row *r, options *o, const char *text, vdm_error *err)
{
    void *field = (char *)o + r->offset;
    switch (r->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case TEXT:
        *(const char **)field = text;
        return *text ? 0 : vdm_fail(err, "expected %s, found nothing", r->value);
    case WORDS:
        *(const char **)field = text;
        return 0;
    case CHOICE:
        return read_choice(r, text, field, err);
    case COUNT:
        return read_count(r, text, field, err);
    case REAL:
        return read_real(r, text, field, err);
    case SEED:
        return read_seed(text, field, err);
    case SIZE:
        return read_size(r, o, text, err);
    case LORA:
        if (o->sample.n_loras == MAX_LORAS) return vdm_fail(err, "at most %d adapters at once", MAX_LORAS);
        o->sample.loras[o->sample.n_loras++] = text;
        return 0;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------
 * Defaults: the program's, and the model's own */

static const struct section {
    const char *name;
    int command;  /* whose options it sets */
    int commands; /* to which it applies as a whole */
    int others; /* to which one group of its options applies: "sample" sets how demo and arc answer, "arc" how grids
                     are drawn in all commands that accept them */
    size_t group, group_size; /* in `options` */
} sections[] = {
    {"fit", FIT, FIT | DEMO | ARC, 0, 0, 0},
    {"sample", EVAL, PREDICT | EVAL, DEMO | ARC, offsetof(options, sample), sizeof(struct sample_options)},
    {"arc", ARC, ARC, FIT | PREDICT | EVAL | DEMO, offsetof(options, canvas), sizeof(struct canvas_options)}};
enum { N_SECTIONS = sizeof sections / sizeof sections[0] };

/* The option that a key sets: its name with _ for -. */
static const struct option_row *row_of_key(const struct section *s, const char *key)
{
    char name[40];
    snprintf(name, sizeof name, "--%s", key);
    for (char *c = name; *c; c++)
        if (*c == '_') *c = '-';
    return find_row(s->command, name);
}

static int apply_section(options *o, const vdm_settings *m, const struct section *s, vdm_error *err)
{
    for (int i = 0; i < m->n; i++) {
        const vdm_setting *v = &m->of[i];
        vdm_error why = {"no such option"};
        if (strcmp(v->section, s->name) != 0) continue;
        const struct option_row *r = row_of_key(s, v->key);
        char number[32];
        snprintf(number, sizeof number, "%.17g", v->number);
        if (!r || read_option(r, o, r->kind == CHOICE || r->kind == SIZE ? v->text : number, &why))
            return vdm_fail(err, "vdm.json: %s.%s: %.300s", v->section, v->key, why.text);
    }
    return 0;
}

/* What a section sets for commands other than its own. The size in "arc" is that of the canvas. */
static int apply_group(options *o, int command, const vdm_settings *m, const struct section *s,
                       vdm_error *err)
{
    options other = *o;
    if (s->command == ARC) other.height = o->canvas.height, other.width = o->canvas.width;
    if (apply_section(&other, m, s, err)) return -1;
    if (!(s->others & command)) return 0;
    if (s->command == ARC) other.canvas.height = other.height, other.canvas.width = other.width;
    memcpy((char *)o + s->group, (const char *)&other + s->group, s->group_size);
    return 0;
}

/* Whether a key of the section has an effect on one of the commands. */
static bool has_effect(const struct section *s, const char *key, int commands)
{
    const struct option_row *r = row_of_key(s, key);
    if (s->commands & commands) return true;
    if (!(s->others & commands) || !r) return false;
    return (s->command == ARC && r->kind == SIZE) ||
           (r->offset >= s->group && r->offset < s->group + s->group_size);
}

/* The command's own sections are applied last and override the others. */
static int apply_settings(options *o, int command, const char *model, vdm_error *err)
{
    vdm_settings m;
    int status = 0;
    if (vdm_settings_open(&m, model, err)) return -1;
    for (const struct section *s = sections; s < sections + N_SECTIONS && !status; s++)
        if (!(s->commands & command)) status = apply_group(o, command, &m, s, err);
    for (const struct section *s = sections; s < sections + N_SECTIONS && !status; s++)
        if (s->commands & command) status = apply_section(o, &m, s, err);
    vdm_settings_close(&m);
    return status;
}

int options_print_own(const char *model, int commands, vdm_error *err)
{
    vdm_settings m;
    if (vdm_settings_open(&m, model, err)) return -1;
    for (const struct section *s = sections; s < sections + N_SECTIONS; s++) {
        int at = 0;
        for (int i = 0; i < m.n; i++) {
            char setting[256];
            bool first = at == 0;
            if (strcmp(m.of[i].section, s->name) != 0 || !has_effect(s, m.of[i].key, commands)) continue;
            if (first) at = printf("  %-12s", s->name);
            snprintf(setting, sizeof setting, "%s %.100s %.100s", first ? "" : ",", m.of[i].key,
                     clean(m.of[i].text));
            at = print_wrapped(setting, at, 15);
        }
        if (at) printf("\n");
    }
    vdm_settings_close(&m);
    return 0;
}

int options_defaults(options *o, int command, const char *model, vdm_error *err)
{
    bool golden = command == GOLDEN, arc = command == ARC;
    *o = (options){.frames = 9,
                   .height = arc ? 400 : 0,
                   .width = arc ? 400 : 0,
                   .seed = 42,
                   .image_scale = "pipeline",
                   .precision = "f32"};
    o->learn = (struct learn_options){.steps = golden ? 0 : 500,
                                      .rank = golden ? 4 : 64,
                                      .batch = golden ? 1 : 2,
                                      .accumulate = 1,
                                      .alpha = golden ? 8 : 32,
                                      .lr = 1e-4,
                                      .memory = 2,
                                      .clip = golden ? 0.01 : 1,
                                      .weight_decay = golden ? 1 : 1e-4,
                                      .save_every = 50,
                                      .watch_every = 10,
                                      .schedule = "constant",
                                      .targets = "attn"};
    o->sample = (struct sample_options){.steps = golden ? 20 : 50,
                                        .ensemble = 1,
                                        .guidance = command == FIT ? 1 : 6}; /* fit samples nothing */
    o->canvas = (struct canvas_options){
        .height = 400, .width = 400, .border = 2, .align = 1, .outside = "black", .palette = "arc"};
    o->eval = (struct eval_options){.at_least = -INFINITY, .train_pairs = -1, .views = 1};
    snprintf(o->eval.colour, sizeof o->eval.colour, "%s", arc ? "shift" : "none");
    o->arc = (struct arc_options){.attempts = 2, .size_rule = "oracle"};
    o->tasks = (struct tasks_options){.pairs = 30, .tests = 200, .cell = -1, .border = -1, .as = "mask"};
    snprintf(o->golden.what, sizeof o->golden.what, "transformer");
    o->bench.runs = 5;
    if (!takes_model(command)) return 0;
    o->model = model ? model : default_model(err);
    return o->model ? apply_settings(o, command, o->model, err) : -1;
}

/* ------------------------------------------------------------------------------------------------
 * Help */

enum { HELP_COLUMN = 28 }; /* where the texts of the options begin */

static void option_help(const struct option_row *r)
{
    int at = printf("  %s%s%s", r->name, r->value ? " " : "", r->value ? r->value : "");
    bool fits = at + 2 <= HELP_COLUMN;
    printf("%s%*s", fits ? "" : "\n", fits ? HELP_COLUMN - at : HELP_COLUMN, "");
    print_wrapped(r->help, HELP_COLUMN, HELP_COLUMN);
    printf("\n");
}

static const struct usage *usage_of(int command)
{
    const struct usage *u = usages;
    while (u->command != command) u++;
    return u;
}

static void options_help(int command, const char *model)
{
    vdm_error err;
    printf("%s\n", usage_of(command)->line);
    print_wrapped(usage_of(command)->what, 0, 0);
    printf("\n\n");
    for (int i = 0; i < n_option_rows; i++)
        if (option_rows[i].commands & command) option_help(&option_rows[i]);
    if (command == INFO) return; /* it has no options */
    bool own = false;
    for (int i = 0; i < N_SECTIONS; i++) own = own || ((sections[i].commands | sections[i].others) & command);
    printf("\nIn parentheses: the defaults.%s\n", own ? " A model's vdm.json may replace them." : "");
    if (own && !model) model = default_model(&err);
    if (!own || !model) return;
    printf("%s:\n", clean(model));
    if (options_print_own(model, command, &err)) printf("  %s\n", err.text);
}

/* ------------------------------------------------------------------------------------------------
 * The words of the command line */

static int misuse_unknown(int command, const char *option)
{
    const char *line = usage_of(command)->line; /* "vdm NAME ..." */
    return misuse("%s: no such option; '%.*s --help' lists them", option, 4 + (int)strcspn(line + 4, " "),
                  line);
}

/* A second file or text: the first one would be ignored. Of numbers, words and sizes the last one counts. */
static bool is_contradiction(const struct option_row *r, const options *o, const char *text)
{
    if (!o->given[r - option_rows] || (r->kind != TEXT && r->kind != WORDS)) return false;
    return strcmp(*(const char *const *)((const char *)o + r->offset), text) != 0;
}

static int read_words(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_help(command, o->model);
            return -1;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (o->n_operands == (command & (BENCH | ARC | VOTE) ? MAX_OPERANDS : 3))
                return misuse("'%s': one argument too many", argv[i]);
            o->operands[o->n_operands++] = argv[i];
            continue;
        }
        const struct option_row *r = find_row(command, argv[i]);
        if (!r) return misuse_unknown(command, argv[i]);
        if (r->kind != FLAG && i + 1 == argc) return misuse("%s: expected %s after it", r->name, r->value);
        if (is_contradiction(r, o, i + 1 < argc ? argv[i + 1] : ""))
            return misuse("%s: found '%s' and another before it, expected one", r->name, argv[i + 1]);
        if (read_option(r, o, r->kind == FLAG ? "" : argv[++i], &err))
            return misuse("%s: %s", r->name, err.text);
        o->given[r - option_rows] = true;
    }
    return DONE;
}

static void warn_of_threads(int threads)
{
    const char *wish = getenv("OMP_NUM_THREADS");
    if (wish && *wish && atoi(wish) < 1)
        fprintf(stderr, "OMP_NUM_THREADS: expected a number of threads, found '%s', which is ignored\n",
                clean(wish));
#ifdef _SC_NPROCESSORS_ONLN
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 0 && threads > cores)
        fprintf(stderr, "--threads %d: more than the %ld cores of this machine, which is slower\n", threads,
                cores);
#else
    (void)threads;
#endif
}

/* The generator of noise, and of the views of arc --augment, has a seed of 32 bits (random.c); the seeds of fit's random
 * numbers and of tasks are hashes of all 64. */
static void warn_of_seed(uint64_t seed, int command)
{
    if (!(seed >> 32) || !(command & (PREDICT | EVAL | GOLDEN | ARC | DEMO))) return;
    fprintf(
        stderr,
        "--seed %llu: the random numbers of %s follow its lower 32 bits only, as in PyTorch: they are those of "
        "--seed %llu\n",
        (unsigned long long)seed,
        command & ARC      ? "answers and --augment"
        : command & GOLDEN ? "goldens"
                           : "answers",
        (unsigned long long)(seed & 0xffffffff));
}

/* Reads the words twice: the first pass finds the model, whose defaults the second one overrides. */
int options_read(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    options first = {0};
    int status = read_words(&first, command, argc, argv);
    if (status) return status;
    if (command == GOLDEN && first.n_operands) first.model = first.operands[0];
    /* commands that only read results need no model */
    if (options_defaults(o, first.arc.report ? TASKS : command, first.model, &err)) return fail(&err);
    o->learn.asked_rank = first.learn.rank;
    o->learn.asked_alpha = first.learn.alpha;
    o->eval.asked_views = first.eval.views;
    status = read_words(o, command, argc, argv);
    if (status == DONE) status = options_reject_unused(o, command);
    if (status == DONE) warn_of_threads(o->threads);
    if (status == DONE && !o->arc.report) warn_of_seed(o->seed, command);
    if (status == DONE && o->model) ignored_keys_print(o->model);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The key of a run */

/* " --name value" of an option; choices and texts that are not set are left out. */
static int write_setting(char *text, size_t size, const struct option_row *r, const options *o)
{
    const void *field = (const char *)o + r->offset;
    const char *words = r->kind == TEXT ? *(const char *const *)field : field;
    switch (r->kind) {
    case FLAG:
        return *(const bool *)field ? snprintf(text, size, " %s", r->name) : 0;
    case COUNT:
        return snprintf(text, size, " %s %d", r->name, *(const int *)field);
    case REAL:
        return snprintf(text, size, " %s %.15g", r->name, *(const double *)field);
    case SEED:
        return snprintf(text, size, " %s %llu", r->name, (unsigned long long)*(const uint64_t *)field);
    case SIZE:
        return snprintf(text, size, " %s %dx%d", r->name, o->height, o->width);
    case TEXT:
    case CHOICE:
        return words && *words ? snprintf(text, size, " %s %s", r->name, words) : 0;
    case WORDS:
    case LORA:
        break; /* vdm arc has none */
    }
    return 0;
}

char *options_key(const options *o, vdm_error *err)
{
    enum { SIZE_OF_KEY = 8192 };
    size_t n = 0;
    char *text = vdm_alloc(SIZE_OF_KEY, 1, "the settings", err);
    if (!text) return NULL;
    for (int i = 0; i < n_option_rows && n < SIZE_OF_KEY; i++)
        if ((option_rows[i].commands & ARC) && (option_rows[i].flags & KEY))
            n += (size_t)write_setting(text + n, SIZE_OF_KEY - n, &option_rows[i], o);
    if (n < SIZE_OF_KEY) {
        memmove(text, text + 1, n); /* without the first space */
        return text;
    }
    vdm_free(text);
    vdm_fail(err, "paths in the options: expected less than %d bytes in all", SIZE_OF_KEY);
    return NULL;
}
