/* Named tensors collected for --dump, and written as one safetensors file. */
#include "tools/run/dump.h"

#include <stdlib.h>
#include <string.h>

static int grow(dump *d, vdm_error *err)
{
    if (d->count < d->capacity) return 0;
    int64_t capacity = d->capacity ? 2 * d->capacity : 64;
    vdm_tensor *more = vdm_alloc((size_t)capacity, sizeof *more, "the dump", err);
    if (!more) return -1;
    if (d->count) memcpy(more, d->tensors, (size_t)d->count * sizeof *more);
    vdm_free(d->tensors);
    d->tensors = more;
    d->capacity = capacity;
    return 0;
}

/* Copies the elements. */
int dump_add(dump *d, const char *name, const float *data, int rank, const int64_t *shape, vdm_error *err)
{
    if (!d->path) return 0;
    if (grow(d, err)) return -1;
    vdm_tensor t = {.dtype = VDM_F32, .rank = rank, .bytes = sizeof(float)};
    for (int i = 0; i < rank; i++) {
        t.shape[i] = shape[i];
        t.bytes *= (size_t)shape[i];
    }
    size_t length = strlen(name) + 1;
    char *name_copy = vdm_alloc(length, 1, "the dump", err);
    void *data_copy = vdm_alloc(t.bytes, 1, "the dump", err);
    if (!name_copy || !data_copy) {
        vdm_free(name_copy);
        vdm_free(data_copy);
        return -1;
    }
    memcpy(name_copy, name, length);
    memcpy(data_copy, data, t.bytes);
    t.name = name_copy;
    t.data = data_copy;
    d->tensors[d->count++] = t;
    return 0;
}

/* dump_add as a trace calls it. */
void dump_see(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    dump *d = user;
    if (!d->status) d->status = dump_add(d, name, data, rank, shape, &d->err);
}

int dump_write(dump *d, vdm_error *err)
{
    if (d->status) return vdm_fail(err, "%s", d->err.text);
    const char *const metadata[][2] = {{DUMP_KEY, d->command}};
    return d->path ? vdm_safetensors_write(d->path, d->tensors, d->count, metadata, 1, err) : 0;
}

void dump_free(dump *d)
{
    for (int64_t i = 0; i < d->count; i++) {
        vdm_free((void *)(uintptr_t)d->tensors[i].name);
        vdm_free((void *)(uintptr_t)d->tensors[i].data);
    }
    vdm_free(d->tensors);
    *d = (dump){0};
}
