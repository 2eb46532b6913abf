/* TOUR.md doesn't rot: everything in its backticks is compared with the sources and the program.
 *
 *   `file.c: name, name`     functions that are defined in that file, anywhere in the text
 *   `file.c`, `file.md`      a file of the repository
 *   `./vdm COMMAND ...`      a command, with options that its --help has
 *   - code: ...              opens a step's items; its files are those in which mirrored names are mentioned
 *   - mirrors: `Name`        a name of diffusers, PyTorch or peft: a word of those files, or of vdm.h
 *   - tensors: `name` [B,2D] names in what the next look line writes, with their shapes in the letters of the
 *                            text's table (its second column is models/tiny)
 *   - look: `./vdm golden models/tiny ... --only PATTERNS -o FILE`
 *                            is run, and writes those tensors; its patterns name every one of them
 *
 * An item continues until the next one or an empty line. Anything else in backticks is an error. Commands that
 * differ only in --only are run as one. Finally mistakes are planted in the text: each has to be found. */
#include "program.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_REFS = 400, MAX_GOLDENS = 16, MAX_LETTERS = 40, WORDS = 400, TEXT = 1 << 18 };

static vdm_error err;

/* ------------------------------------------------------------------------------------------------
 * What a reading of the text finds */

struct tensor {
    char name[160], shape[64], patterns[WORDS]; /* the look line's --only; shape "": none */
    int line, golden;                           /* golden -1: no look line yet */
};
struct tour {
    bool planted; /* a text with mistakes: they are counted, not reported */
    int wrong, line;
    int steps, codes, traps; /* of which each step has one */
    int functions, names, commands, n_tensors, n_goldens, n_letters;
    char item[16];     /* "code", "mirrors", "tensors", "look", ..., or "" */
    char cited[8][64]; /* files of the step's code line */
    int n_cited;
    struct tensor tensors[MAX_REFS];
    struct golden {
        char words[WORDS], patterns[8 * WORDS]; /* without --only and -o; all --only of these words */
    } goldens[MAX_GOLDENS];
    struct letter {
        char name[8];
        int64_t value;
    } letters[MAX_LETTERS];
};

__attribute__((format(printf, 3, 4))) static bool hold(struct tour *t, bool ok, const char *format, ...)
{
    char sentence[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    t->wrong += !ok;
    return t->planted ? ok : CHECK(ok, "TOUR.md:%d: %s", t->line, sentence);
}

/* ------------------------------------------------------------------------------------------------
 * Sources */

static bool part_of_name(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The next place where `word` stands alone, or NULL. */
static const char *find_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = text; (p = strstr(p, word)); p++)
        if ((p == text || !part_of_name(p[-1])) && !part_of_name(p[n])) return p;
    return NULL;
}

/* `name(...) {` on a line that begins in its first column: a definition, not a prototype or a call. */
static bool has_definition(const char *text, const char *name)
{
    for (const char *p = text; (p = find_word(p, name)); p++) {
        const char *line = p, *c = p + strlen(name);
        while (line > text && line[-1] != '\n') line--;
        if (*c != '(' || !part_of_name(*line)) continue;
        for (int depth = 0; *c; c++) {
            depth += (*c == '(') - (*c == ')');
            if (depth == 0) break;
        }
        if (*c) c++;
        for (const char *end; c; c = end) { /* a comment may stand before the body */
            c += strspn(c, " \n");
            if (strncmp(c, "/*", 2) != 0) break;
            end = strstr(c, "*/");
            end = end ? end + 2 : NULL;
        }
        if (c && *c == '{') return true;
    }
    return false;
}

static bool in_file(const char *path, const char *what, bool definition)
{
    char *text;
    size_t size;
    if (vdm_read_file(path, TEXT, &text, &size, &err)) return false;
    bool found = definition ? has_definition(text, what) : find_word(text, what) != NULL;
    vdm_free(text);
    return found;
}

/* "vdm.c: patchify, unpatchify"; colon is where the names begin */
static void see_functions(struct tour *t, const char *span, const char *colon)
{
    char file[64], names[512];
    snprintf(file, sizeof file, "%.*s", (int)(colon - span), span);
    snprintf(names, sizeof names, "%s", colon + 1);
    if (strcmp(t->item, "code") == 0 && t->n_cited < 8) snprintf(t->cited[t->n_cited++], 64, "%s", file);
    for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", ")) {
        hold(t, in_file(file, name, true), "%s defines no function '%s'", file, name);
        t->functions++;
    }
}

static void see_name(struct tour *t, const char *name)
{
    bool found = in_file("vdm.h", name, false);
    for (int i = 0; i < t->n_cited && !found; i++) found = in_file(t->cited[i], name, false);
    hold(t, found, "'%s' is mentioned neither in the files of the code line nor in vdm.h", name);
    t->names++;
}

/* ------------------------------------------------------------------------------------------------
 * Commands */

/* --help of a command, asked for once; NULL where there is no such command */
static const char *help_of(const char *command)
{
    static struct {
        char command[32], *text;
    } known[16];
    int i = 0;
    while (i < 16 && known[i].text && strcmp(known[i].command, command) != 0) i++;
    if (i == 16) return NULL;
    if (known[i].text) return known[i].text;
    if (vdm("%.30s --help", command) != 0) return NULL;
    snprintf(known[i].command, sizeof known[i].command, "%s", command);
    return known[i].text = strdup(printed);
}

/* Sorts a golden's words: what is computed, and the patterns of --only. */
static void split_golden(const char *words, char *rest, char *patterns)
{
    char copy[WORDS], *to = NULL;
    snprintf(copy, sizeof copy, "%s", words);
    *rest = *patterns = '\0';
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        bool only = strcmp(word, "--only") == 0, out = strcmp(word, "-o") == 0;
        if (!only && !out && !to) sprintf(rest + strlen(rest), "%s%s", *rest ? " " : "", word);
        if (to == patterns) {
            word += *word == '\'';
            word[strcspn(word, "'")] = '\0';
            strcpy(patterns, word);
        }
        to = only ? patterns : out ? copy : NULL;
    }
}

/* The tensors that wait for a look line get this one. */
static void see_golden(struct tour *t, const char *words)
{
    char rest[WORDS], patterns[WORDS];
    int g = 0;
    split_golden(words, rest, patterns);
    if (!*patterns) {
        hold(t, false, "'%s' has no --only", words);
        return;
    }
    while (g < t->n_goldens && strcmp(t->goldens[g].words, rest) != 0) g++;
    if (g == MAX_GOLDENS) {
        hold(t, false, "too many different goldens");
        return;
    }
    char *all = t->goldens[g].patterns;
    if (g == t->n_goldens) strcpy(t->goldens[t->n_goldens++].words, rest);
    snprintf(all + strlen(all), sizeof t->goldens[g].patterns - strlen(all), "%s%s", *all ? "," : "",
             patterns);
    for (int i = 0; i < t->n_tensors; i++)
        if (t->tensors[i].golden < 0) {
            t->tensors[i].golden = g;
            strcpy(t->tensors[i].patterns, patterns);
        }
}

static bool has_option(const char *help, const char *option)
{
    size_t n = strlen(option);
    for (const char *p = help; (p = strstr(p, option)); p++)
        if (p > help && p[-1] == ' ' && p[n] == ' ') return true;
    return strcmp(option, "--help") == 0;
}

/* words: behind "./vdm " */
static void see_command(struct tour *t, const char *words)
{
    char copy[WORDS];
    t->commands++;
    strcpy(copy, words); /* a span is no longer */
    char *word = strtok(copy, " ");
    const char *help = word ? help_of(word) : NULL;
    if (!hold(t, help != NULL, "'%s' is no command", words)) return;
    while ((word = strtok(NULL, " ")))
        if (*word == '-' && !has_option(help, word)) {
            hold(t, false, "'%s': no option %s", words, word);
            return;
        }
    if (strcmp(t->item, "look") == 0 && strncmp(words, "golden models/tiny", 18) == 0) see_golden(t, words);
}

/* ------------------------------------------------------------------------------------------------
 * Tensors */

/* "6D", "Dh/2", "16": a number, a letter, a divisor; -1 where the letter isn't known */
static int64_t size_of(const struct tour *t, const char *entry)
{
    char *end;
    int64_t n = isdigit((unsigned char)*entry) ? strtol(entry, &end, 10) : (end = (char *)entry, 1);
    size_t length = strcspn(end, "/");
    int i = 0;
    while (i < t->n_letters &&
           (strlen(t->letters[i].name) != length || strncmp(t->letters[i].name, end, length) != 0))
        i++;
    if (length && i == t->n_letters) return -1;
    if (length) n *= t->letters[i].value;
    return end[length] ? n / strtol(end + length + 1, NULL, 10) : n;
}

static bool same_shape(const struct tour *t, const char *shape, const vdm_tensor *found)
{
    char copy[64];
    int rank = 0;
    if (!*shape) return true;
    snprintf(copy, sizeof copy, "%s", shape);
    for (char *entry = strtok(copy, ","); entry; entry = strtok(NULL, ","), rank++)
        if (rank == found->rank || size_of(t, entry) != found->shape[rank]) return false;
    return rank == found->rank;
}

static bool matches_any(const char *patterns, const char *name)
{
    char copy[WORDS];
    strcpy(copy, patterns);
    for (char *p = strtok(copy, ","); p; p = strtok(NULL, ","))
        if (fnmatch(p, name, 0) == 0) return true;
    return false;
}

/* after: what follows the name, a shape in brackets or none */
static void see_tensor(struct tour *t, const char *name, const char *after)
{
    if (t->n_tensors == MAX_REFS || strlen(name) >= 160) {
        hold(t, false, "too many tensors, or too long a name: '%s'", name);
        return;
    }
    struct tensor *r = &t->tensors[t->n_tensors++];
    *r = (struct tensor){.line = t->line, .golden = -1};
    strcpy(r->name, name);
    after += strspn(after, " \n");
    const char *end = *after == '[' ? strchr(after, ']') : NULL;
    if (end) snprintf(r->shape, sizeof r->shape, "%.*s", (int)(end - after - 1), after + 1);
}

/* The file that these words make, made once. */
static const vdm_safetensors *made(const struct golden *g)
{
    static struct {
        char words[WORDS];
        vdm_safetensors f;
    } files[2 * MAX_GOLDENS];
    static int n;
    for (int i = 0; i < n; i++)
        if (strcmp(files[i].words, g->words) == 0) return &files[i].f;
    char name[16];
    snprintf(name, sizeof name, "%d.g", n);
    if (n == 2 * MAX_GOLDENS || vdm("%s --threads 1 --only '%s' -o @/%s", g->words, g->patterns, name) != 0 ||
        vdm_safetensors_open(&files[n].f, path_of(name), &err))
        return NULL;
    strcpy(files[n].words, g->words);
    return &files[n++].f;
}

static void check_tensors(struct tour *t)
{
    for (int i = 0; i < t->n_tensors; i++) {
        const struct tensor *r = &t->tensors[i];
        t->line = r->line;
        const struct golden *g = r->golden < 0 ? NULL : &t->goldens[r->golden];
        const vdm_safetensors *f = g ? made(g) : NULL;
        const vdm_tensor *found = f ? vdm_safetensors_find(f, r->name) : NULL;
        if (!g)
            hold(t, false, "no look line behind '%s'", r->name);
        else if (!f)
            hold(t, false, "vdm %s: %s", g->words, printed);
        else if (!found || !matches_any(r->patterns, r->name))
            hold(t, false, "vdm %s --only '%s' writes no '%s'", g->words, r->patterns, r->name);
        else
            hold(t, same_shape(t, r->shape, found), "%s: its shape is not [%s]", r->name, r->shape);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The text */

static void see_span(struct tour *t, const char *span, const char *after)
{
    const char *colon = strstr(span, ".c: "), *dot = strrchr(span, '.');
    if (!colon) colon = strstr(span, ".h: ");
    FILE *f = NULL;
    if (strncmp(span, "./vdm ", 6) == 0) {
        see_command(t, span + 6);
    } else if (colon) {
        see_functions(t, span, colon + 2);
    } else if (strcmp(t->item, "mirrors") == 0) {
        see_name(t, span);
    } else if (strcmp(t->item, "tensors") == 0) {
        see_tensor(t, span, after);
    } else if (dot && (strcmp(dot, ".c") == 0 || strcmp(dot, ".h") == 0 || strcmp(dot, ".md") == 0)) {
        hold(t, (f = fopen(span, "r")) != NULL, "there is no file '%s'", span);
        if (f) fclose(f);
    } else if (strncmp(span, "arXiv ", 6) == 0) {
        see_name(t, span + 6);
    } else {
        hold(t, false, "`%s` has none of the forms that are checked", span);
    }
}

/* "| Dh | 64 | ..." */
static void see_row(struct tour *t, const char *line)
{
    char name[8];
    long value;
    if (sscanf(line, "| %7[A-Za-z'] | %ld |", name, &value) != 2 || t->n_letters == MAX_LETTERS) return;
    struct letter *l = &t->letters[t->n_letters++];
    strcpy(l->name, name);
    l->value = value;
}

/* What a line begins: a step, an item, or nothing; an empty one ends the item. */
static void see_beginning(struct tour *t, const char *line)
{
    char item[16], end;
    if (*line == '\n' || *line == '#') *t->item = '\0';
    if (strncmp(line, "### ", 4) == 0) t->steps++, t->n_cited = 0;
    if (sscanf(line, "- %15[a-z]%c", item, &end) != 2 || end != ':') return;
    strcpy(t->item, item);
    t->codes += t->steps && strcmp(item, "code") == 0;
    t->traps += t->steps && strcmp(item, "trap") == 0;
}

static void read_tour(struct tour *t, const char *text)
{
    char span[WORDS];
    for (const char *line = text, *next; *line; line = next) {
        const char *end = strchr(line, '\n');
        next = end ? end + 1 : line + strlen(line);
        t->line++;
        see_beginning(t, line);
        see_row(t, line);
        for (const char *open = line; (open = memchr(open, '`', (size_t)(next - open)));) {
            const char *close = memchr(open + 1, '`', (size_t)(next - open - 1));
            if (!close || close - open >= WORDS) {
                hold(t, false, "a backtick without its other, or too far from it");
                break;
            }
            snprintf(span, sizeof span, "%.*s", (int)(close - open - 1), open + 1);
            see_span(t, span, close + 1);
            open = close + 1;
        }
    }
    check_tensors(t);
}

/* A test that finds next to nothing to check has lost its way in the text. */
static bool plausible(const struct tour *t)
{
    return t->steps >= 30 && t->codes == t->steps && t->traps == t->steps && t->functions >= 90 &&
           t->names >= 30 && t->commands >= 34 && t->n_tensors >= 85 && t->n_goldens >= 5 &&
           t->n_letters >= 18;
}

/* ------------------------------------------------------------------------------------------------
 * Planted mistakes */

static void read_planted(struct tour *t, const char *text)
{
    memset(t, 0, sizeof *t);
    t->planted = true;
    read_tour(t, text);
}

static void test_mistakes(const char *text, int wrong)
{
    static const char *const planted[][2] = {
        {", block_backward", ", blocks_backward"},         /* no such function */
        {", unpatchify`", ", unpatch`"},                   /* nor a part of one's name */
        {"sampler.c: predict", "sampler.c: vdm_tape_new"}, /* called there, defined elsewhere */
        {"vae.c: resnet", "resnet.c: resnet"},             /* no such file */
        {"`CogVideoXBlock`", "`CogVideoXBlok`"},
        {"`transformer_blocks.0.attn1.norm_q`", "`transformer_blocks.0.attn1.q_norm`"},
        {"`emb.silu`\n  [B,E]", "`emb.silu`\n  [E,B]"},
        {"`rope.cos` [V,Dh/2]", "`rope.cos` [V,Dh]"},
        {"--only 'rope.*,", "--only 'ropes.cos,rope.sin,"}, /* rope.cos is not in what it writes */
        {"| E | 64 |", "| E | 65 |"},
        {"./vdm info", "./vdm inform"},
        {"--frames 17", "--frame 17"},
        {"`vdm.h` has", "`vdm.hpp` has"},
        {"`tests/test_tour.c`", "`tests/test_tours.c`"},
        {"- look: `./vdm golden models/tiny --only 'patch_embed*' -o t.g`\n", ""},
    };
    static struct tour t;
    size_t size = strlen(text) + 200;
    char *copy = vdm_alloc(size, 1, "a text", &err);
    if (!CHECK(copy != NULL, "%s", err.text)) return;
    for (size_t i = 0; i < sizeof planted / sizeof planted[0]; i++) {
        const char *at = strstr(text, planted[i][0]);
        if (!CHECK(at != NULL, "TOUR.md has no \"%s\" to spoil", planted[i][0])) continue;
        snprintf(copy, size, "%.*s%s%s", (int)(at - text), text, planted[i][1], at + strlen(planted[i][0]));
        read_planted(&t, copy);
        CHECK(t.wrong > wrong, "\"%s\" instead of \"%s\": not found", planted[i][1], planted[i][0]);
    }
    snprintf(copy, size, "%.*s", (int)(size / 2), text);
    read_planted(&t, copy);
    CHECK(!plausible(&t), "half of the text is enough");
    vdm_free(copy);
}

int main(void)
{
    static struct tour t;
    char *text;
    size_t size;
    if (!find_program()) return check_end("tour");
    if (CHECK(!vdm_read_file("TOUR.md", TEXT, &text, &size, &err), "%s", err.text)) {
        read_tour(&t, text);
        CHECK(plausible(&t),
              "found only %d steps (%d code, %d trap), %d functions, %d names, %d commands, %d tensors of "
              "%d goldens, %d letters",
              t.steps, t.codes, t.traps, t.functions, t.names, t.commands, t.n_tensors, t.n_goldens,
              t.n_letters);
        test_mistakes(text, t.wrong);
        vdm_free(text);
    }
    return check_end("tour");
}
