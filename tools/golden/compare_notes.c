/* The notes of vdm compare: the same ones in the terminal and on the page. */
#include "tools/golden/compare.h"
#include "tools/golden/golden.h"
#include "tools/messages.h"

#include <stdarg.h>
#include <string.h>

/* Where the notes go */
struct notes {
    void (*note)(void *user, const char *text);
    void *user;
};

static void add(const struct notes *n, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(const struct notes *n, const char *format, ...)
{
    char text[3 * 4096]; /* two texts that are clean, and a sentence */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    n->note(n->user, text);
}

/* The metadata in which the two files differ */
static void add_facts(const struct notes *n, const comparison *c)
{
    static const char *const keys[] = {"what", "model_hash", "version"};
    const both *b = c->b;
    const char *precision = precision_in(&b->ref);
    if (precision && *c->precision && strcmp(precision, "f32") != 0 && strcmp(precision, c->precision) != 0)
        add(n, "precision: the reference was computed in %s, the tolerances are those of %s (--as)",
            clean(precision), c->precision);
    for (int i = 0; i < 3; i++) {
        const char *ref = vdm_safetensors_metadata(&b->ref, keys[i]),
                   *got = vdm_safetensors_metadata(&b->got, keys[i]);
        if (ref && got && strcmp(ref, got) != 0)
            add(n, "%s: the reference has %s, the other file %s", keys[i], clean(ref), clean(got));
    }
}

/* What a port does not have just before its first wrong tensor: there the mistake may be. */
static void add_gap(const struct notes *n, const comparison *c)
{
    const char *what = vdm_safetensors_metadata(&c->b->ref, "what"), *from = NULL;
    int64_t missing = 0;
    for (int64_t i = c->first - 1; i >= 0 && c->all[i].verdict == MISSING; i--) {
        if (golden_is_input(what, c->all[i].ref->name)) continue;
        from = c->all[i].ref->name;
        missing++;
    }
    if (missing == 1)
        add(n,
            "the mistake may be earlier: '%s', just before the first that differs, is not in the other file",
            clean(from));
    else if (from)
        add(n,
            "the mistake may be earlier: '%s' and %lld more before the first that differs are not in the other file",
            clean(from), (long long)(missing - 1));
}

void comparison_notes(const comparison *c, void (*note)(void *user, const char *text), void *user)
{
    const struct notes n = {note, user};
    const char *first = "";
    add_facts(&n, c);
    int64_t unused = map_unused(&c->b->map, &c->b->ref, &first);
    if (unused)
        add(&n, "--map: %lld line%s no tensor of the reference; the first: '%s'", (long long)unused,
            unused == 1 ? " fits" : "s fit", clean(first));
    if (c->extra)
        add(&n,
            "not compared: %lld tensor%s of the other file that the reference does not have; the first: '%s'",
            (long long)c->extra, plural(c->extra), clean(c->first_extra));
    if (vdm_safetensors_metadata(&c->b->got, "vdm_golden") &&
        !vdm_safetensors_metadata(&c->b->ref, "vdm_golden"))
        add(&n, "the second file is a golden, the first is not: the reference comes first");
    add_gap(&n, c);
    for (int64_t i = 0; i < c->count; i++)
        if (c->all[i].note) add(&n, "%s: %s", clean(c->all[i].ref->name), c->all[i].note);
}
