/* Files of tensors made from a script of bytes: names that the readers know, with every shape, type and number that
 * they may not expect. What is random in a fuzzer's input is then in what the reader computes with, not in bytes that
 * the format rejects. */
#ifndef VDM_FUZZ_SCRIPT_H
#define VDM_FUZZ_SCRIPT_H

#include "vdm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct script {
    const uint8_t *data;
    size_t size, at;
} script;

/* Where files are written: in memory if there is such a folder, since some are synced. */
static inline const char *script_disk(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

/* Where the files are that are read: a fuzzer has them in its own memory. */
static inline const char *script_folder(void)
{
#ifdef VDM_MEMORY_FILES
    return VDM_MEMORY_FILES;
#else
    return script_disk();
#endif
}

enum { SCRIPT_PATH = 96 };

/* The path of the file or folder that this process alone has under a name. */
static inline const char *script_path(char path[static SCRIPT_PATH], const char *name)
{
    snprintf(path, SCRIPT_PATH, "%s/fuzz-%d-%s", script_folder(), (int)getpid(), name);
    return path;
}

/* The next byte, below `limit`; 0 after the end. */
static inline int script_next(script *s, int limit)
{
    return s->at < s->size ? s->data[s->at++] % limit : 0;
}

enum { SCRIPT_TENSORS = 24, SCRIPT_ELEMENTS = 4096 };

typedef struct script_file {
    vdm_tensor tensors[SCRIPT_TENSORS];
    int count;
    const char *metadata[8][2];
    int n_metadata;
    double data[SCRIPT_ELEMENTS]; /* bytes for any tensor */
} script_file;

static const char *const script_numbers[] = {"1",   "0",   "-1",    "2",      "3",          "4",   "5", "16",
                                             "nan", "inf", "1e300", "-1e300", "4294967297", "0.5", "",  "x"};

/* A size: small ones mostly */
static inline int64_t script_side(script *s)
{
    static const int64_t sides[] = {1, 2, 3, 4, 5, 6, 8, 16, 32, 64, 0, 1, 2, 4, 7, 9};
    return sides[script_next(s, 16)];
}

static inline bool script_has(const script_file *f, const char *name)
{
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->tensors[i].name, name) == 0) return true;
    return false;
}

/* Adds one of the names; a tensor whose bytes would not fit is left out. */
static inline void script_tensor(script_file *f, script *s, const char *const *names, int n)
{
    static const vdm_dtype types[] = {VDM_F32,  VDM_F32, VDM_F32, VDM_F32,
                                      VDM_BF16, VDM_F64, VDM_I64, VDM_F8_E4M3};
    const char *name = names[script_next(s, n)];
    vdm_tensor t = {
        .name = name, .dtype = types[script_next(s, 8)], .rank = script_next(s, 6), .data = f->data};
    int64_t count = 1;
    bool same = script_next(s, 2) && f->count; /* as the last one: layers read several of one shape */
    if (same) t = f->tensors[f->count - 1], t.name = name;
    for (int i = 0; i < t.rank; i++) count *= same ? t.shape[i] : (t.shape[i] = script_side(s));
    if (f->count == SCRIPT_TENSORS || count > SCRIPT_ELEMENTS || script_has(f, name)) return;
    t.bytes = vdm_tensor_bytes(&t);
    f->tensors[f->count++] = t;
}

static inline void script_fact(script_file *f, script *s, const char *const *keys, int n)
{
    const char *key = keys[script_next(s, n)];
    for (int i = 0; i < f->n_metadata; i++)
        if (strcmp(f->metadata[i][0], key) == 0) return;
    if (f->n_metadata == 8) return;
    f->metadata[f->n_metadata][0] = key;
    f->metadata[f->n_metadata++][1] = script_numbers[script_next(s, 16)];
}

/* Numbers that are multiples of `step`, NaN and infinities in some scripts. */
static inline void script_fill(script_file *f, script *s, float step)
{
    static const float odd[] = {0, 1e30f, -1e-30f, 3e38f};
    float *x = (float *)f->data;
    int kind = script_next(s, 8), n = 256;
    for (int i = 0; i < f->count; i++)
        if ((int)(f->tensors[i].bytes / sizeof *x) > n) n = (int)(f->tensors[i].bytes / sizeof *x);
    for (int i = 0; i < n; i++) x[i] = step * (float)(i * 7919 % 101 - 50) / 50;
    for (int i = 0; i < 8 && kind > 4; i++)
        x[script_next(s, 256)] = odd[script_next(s, 4)] / (kind == 7 ? 0.0f : 1.0f);
}

/* A file of any bytes. */
static inline void script_bytes(const char *path, const void *data, size_t size)
{
#ifdef VDM_MEMORY_FILES
    memory_put(path, data, size);
#else
    FILE *to = fopen(path, "wb");
    if (!to || fwrite(data, 1, size, to) != size || fclose(to)) abort();
#endif
}

static inline void script_make_folder(const char *path)
{
#ifdef VDM_MEMORY_FILES
    (void)path; /* it is there as soon as a file in it is */
#else
    mkdir(path, 0777);
#endif
}

/* A file, or an empty folder. */
static inline void script_remove(const char *path)
{
#ifdef VDM_MEMORY_FILES
    memory_remove(path);
#else
    remove(path);
#endif
}

static inline void script_text(FILE *to, const char *text)
{
    fputc('"', to);
    for (; *text; text++)
        if (*text < 0x20 || *text == '"' || *text == '\\')
            fprintf(to, "\\u%04x", (unsigned)*text);
        else
            fputc(*text, to);
    fputc('"', to);
}

/* The header of the tensors, with their data one after another. */
static inline void script_header(FILE *to, const script_file *f)
{
    size_t at = 0;
    fputs("{\"__metadata__\":{", to);
    for (int i = 0; i < f->n_metadata; i++) {
        if (i) fputc(',', to);
        script_text(to, f->metadata[i][0]);
        fputc(':', to);
        script_text(to, f->metadata[i][1]);
    }
    fputc('}', to);
    for (int i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        fprintf(to, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", t->name, vdm_dtype_name(t->dtype));
        for (int k = 0; k < t->rank; k++) fprintf(to, "%s%lld", k ? "," : "", (long long)t->shape[k]);
        fprintf(to, "],\"data_offsets\":[%zu,%zu]}", at, at + t->bytes);
        at += t->bytes;
    }
    fputc('}', to);
}

/* Not by vdm_safetensors_write, which syncs a file to the disk; machines of the other byte order see other numbers. */
static inline void script_write(const script_file *f, const char *path)
{
    char *header = NULL;
    size_t length = 0, size = 8, at;
    FILE *to = open_memstream(&header, &length);
    if (!to) abort();
    script_header(to, f);
    if (fclose(to)) abort();
    for (int i = 0; i < f->count; i++) size += f->tensors[i].bytes;
    uint8_t *bytes = malloc(size + length);
    if (!bytes) abort();
    for (int i = 0; i < 8; i++) bytes[i] = (uint8_t)((uint64_t)length >> (8 * i));
    memcpy(bytes + 8, header, length);
    at = 8 + length;
    for (int i = 0; i < f->count; at += f->tensors[i++].bytes)
        if (f->tensors[i].bytes) memcpy(bytes + at, f->tensors[i].data, f->tensors[i].bytes);
    script_bytes(path, bytes, size + length);
    free(header);
    free(bytes);
}

#endif
