/* Fields of a JSON object, and the error message for a wrong value.
 *
 *   {"grid": {"rows": 0}}  ->  "task.json: grid.rows: found '0', expected an integer from 1 to 16384" */
#include "files/fields.h"

#include <math.h>
#include <string.h>

int vdm_reject_value(vdm_error *err, const char *path, const char *at, const vdm_json_node *value,
                     const char *expected)
{
    static const char *const kinds[] = {"null", "false", "true", "", "", "an array", "an object"};
    char found[96] = "nothing";
    if (value && (value->kind == VDM_JSON_STRING || value->kind == VDM_JSON_NUMBER))
        snprintf(found, sizeof found, "'%.60s'", value->text);
    else if (value && value->kind == VDM_JSON_ARRAY)
        snprintf(found, sizeof found, "an array of %lld", (long long)value->children);
    else if (value)
        snprintf(found, sizeof found, "%s", kinds[value->kind]);
    return vdm_fail(err, "%s: %s: found %s, expected %s", path, at, found, expected);
}

void vdm_fields_open(vdm_fields *f, const vdm_json *json, const vdm_json_node *object, const char *path,
                     vdm_error *err)
{
    *f = (vdm_fields){.json = json, .object = object, .path = path, .err = err};
    if (object->kind == VDM_JSON_OBJECT) return;
    f->failed = true;
    vdm_reject_value(err, path, "document", object, "an object");
}

const vdm_json_node *vdm_field(const vdm_fields *f, const char *key)
{
    return f->object->kind == VDM_JSON_OBJECT ? vdm_json_get(f->json, f->object, key) : NULL;
}

void vdm_field_reject(vdm_fields *f, const char *key, const char *expected)
{
    char at[160];
    if (f->failed) return;
    f->failed = true;
    snprintf(at, sizeof at, "%s%.80s", f->inside, key);
    vdm_reject_value(f->err, f->path, at, vdm_field(f, key), expected);
}

void vdm_fields_inside(vdm_fields *inner, vdm_fields *f, const char *key)
{
    const vdm_json_node *object = vdm_field(f, key);
    *inner = *f;
    if (object) inner->object = object;
    snprintf(inner->inside, sizeof inner->inside, "%.40s%.20s.", f->inside, key);
    if (!object || object->kind != VDM_JSON_OBJECT) vdm_field_reject(f, key, "an object");
    inner->failed = f->failed;
}

void vdm_fields_only(vdm_fields *f, const char *const *keys, int n)
{
    char list[256] = "";
    if (f->failed || f->object->kind != VDM_JSON_OBJECT) return;
    for (const vdm_json_node *v = f->object->children ? f->object + 1 : NULL; v;
         v = vdm_json_next(f->json, v)) {
        int i = 0;
        while (i < n && strcmp(keys[i], v->key) != 0) i++;
        if (i < n) continue;
        f->failed = true;
        for (i = 0; i < n; i++)
            snprintf(list + strlen(list), sizeof list - strlen(list), i ? ", %s" : "%s", keys[i]);
        int inside = (int)strlen(f->inside) - (*f->inside != 0); /* without the dot at its end */
        vdm_fail(f->err, "%s: %.*s%sfound the key '%.60s', expected %s", f->path, inside, f->inside,
                 inside ? ": " : "", v->key, list);
        return;
    }
}

double vdm_field_number(vdm_fields *f, const char *key, double fallback, double minimum, double maximum)
{
    const vdm_json_node *v = vdm_field(f, key);
    if (v && v->kind == VDM_JSON_NUMBER && v->number >= minimum && v->number <= maximum) return v->number;
    if (v || !(fallback >= minimum && fallback <= maximum)) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number from %g to %g", minimum, maximum);
        vdm_field_reject(f, key, expected);
    }
    return fallback;
}

/* value NULL: the key is absent. */
static int64_t integer(vdm_fields *f, const char *key, const vdm_json_node *value, const int64_t range[2],
                       int64_t fallback)
{
    /* the range first: a double beyond an integer's range must not be converted */
    if (value && value->kind == VDM_JSON_NUMBER && value->number >= (double)range[0] &&
        value->number <= (double)range[1] && value->number == floor(value->number))
        return (int64_t)value->number;
    if (value || fallback < range[0] || fallback > range[1]) {
        char expected[96];
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)range[0],
                 (long long)range[1]);
        vdm_field_reject(f, key, expected);
    }
    return fallback;
}

int64_t vdm_field_int64(vdm_fields *f, const char *key, int64_t fallback, int64_t minimum, int64_t maximum)
{
    return integer(f, key, vdm_field(f, key), (int64_t[]){minimum, maximum}, fallback);
}

int vdm_field_int(vdm_fields *f, const char *key, int fallback, int minimum, int maximum)
{
    return (int)vdm_field_int64(f, key, fallback, minimum, maximum);
}

int vdm_value_int(vdm_fields *f, const char *key, const vdm_json_node *value, int fallback, int minimum,
                  int maximum)
{
    return (int)integer(f, key, value, (int64_t[]){minimum, maximum}, fallback);
}

bool vdm_field_bool(vdm_fields *f, const char *key, bool fallback)
{
    const vdm_json_node *v = vdm_field(f, key);
    if (!v) return fallback;
    if (v->kind != VDM_JSON_TRUE && v->kind != VDM_JSON_FALSE) vdm_field_reject(f, key, "true or false");
    return v->kind == VDM_JSON_TRUE;
}

const char *vdm_field_text(vdm_fields *f, const char *key, const char *fallback)
{
    const vdm_json_node *v = vdm_field(f, key);
    if (v && v->kind == VDM_JSON_STRING) return v->text;
    if (v || !fallback) vdm_field_reject(f, key, "a string");
    return fallback;
}

void vdm_field_copy(vdm_fields *f, const char *key, char **to)
{
    const char *text = vdm_field(f, key) ? vdm_field_text(f, key, NULL) : NULL;
    if (!text || f->failed) return;
    vdm_free(*to);
    *to = vdm_copy_text(text, f->err);
    f->failed = !*to;
}
