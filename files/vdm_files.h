/* vdm_files: the base of the library: errors, memory, files that appear whole, JSON, safetensors. vdm.h includes it. A
 * program that learns and answers needs only vdm_error and vdm_free. */
#ifndef VDM_FILES_H
#define VDM_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Limits of the readers, each with its reason. What exceeds a limit is rejected by name. */
enum {
    VDM_MAX_RANK = 8,                     /* dimensions of a tensor: weights have at most 5 */
    VDM_MAX_HEADER = 100000000,           /* bytes of a safetensors header: the format's own limit */
    VDM_MAX_TENSORS = 1000000,            /* tensors in a file: the largest published has 1,028 */
    VDM_MAX_NAME = 1024,                  /* bytes of a tensor's name */
    VDM_MAX_JSON_DEPTH = 64,              /* nesting of JSON: configurations need 4 */
    VDM_MAX_JSON = 64 * 1024 * 1024,      /* bytes of a JSON file other than a header */
    VDM_MAX_SIDE = 16384,                 /* pixels of a picture's side */
    VDM_MAX_FRAMES = 1025,                /* frames of a video */
    VDM_MAX_LORA_RANK = 65536,            /* of an adapter, or several joined: published are at most 256 */
    VDM_MAX_PAIRS = 100000,               /* pictures in one part of a task folder */
    VDM_MAX_TOKENIZER = 64 * 1024 * 1024, /* bytes of a spiece.model: T5's has 800,000 */
    VDM_MAX_PIECES = 1000000,             /* a tokenizer's vocabulary: T5's has 32,000 */
    VDM_MAX_PROMPT = 65536                /* bytes of a prompt: 226 tokens are some 1,000 */
};

/* ------------------------------------------------------------------------------------------------
 * Errors, memory, files, the clock (system.c) */

typedef struct vdm_error {
    char text[1024]; /* one sentence, no newline at its end */
} vdm_error;

/* Writes the sentence and returns -1, so that callers can say `return vdm_fail(err, ...)`. */
int vdm_fail(vdm_error *err, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Makes names from files safe to print: replaces, in place, control characters and invalid UTF-8 by '?'. vdm_fail does
 * so with its message. */
void vdm_clean(char *text);
/* Bytes of the UTF-8 character at the beginning of text, of `size` bytes, at least 1: 1 to 4; 0 if there is none.
 * Overlong forms, surrogates and codes beyond U+10FFFF are not characters. */
int vdm_utf8_length(const char *text, size_t size);
/* Bytes of the character at the beginning of text, which ends with a NUL: 1 to 4; 0 if vdm_clean replaces it. */
int vdm_character(const char *text);

/* count * size bytes, zeroed, 64-byte aligned, checked for overflow; on failure NULL, and a message with `what` the
 * memory was for. Freed with vdm_free. Zero bytes give a valid pointer. */
void *vdm_alloc(size_t count, size_t size, const char *what, vdm_error *err);
void vdm_free(void *p);

/* A file that appears whole or not at all: written under another name in its folder, synced, then renamed. After
 * vdm_file_open write to f->stream; vdm_file_commit ends it, vdm_file_abandon drops it. */
typedef struct vdm_file {
    FILE *stream;
    char *path, *temporary;
} vdm_file;
int vdm_file_open(vdm_file *f, const char *path, vdm_error *err);
int vdm_file_commit(vdm_file *f, vdm_error *err); /* closes in any case */
void vdm_file_abandon(vdm_file *f);
/* Whether a stream of open_memstream holds all that was written to it; does not close it. Adds a NUL to its text.
 * Trap: without memory glibc's stream drops bytes and sets no error. It is full then, so that adding the NUL fails. */
bool vdm_memory_is_whole(FILE *f);
/* Closes such a stream. Its text and size, without that NUL; or -1, and *text is NULL. */
int vdm_memory_close(FILE *f, char **text, size_t *size);

/* Reads a whole regular file of at most `limit` bytes; a NUL follows the data. vdm_free it. */
int vdm_read_file(const char *path, size_t limit, char **data, size_t *size, vdm_error *err);

/* a + "/" + b in new memory (vdm_free), or NULL. */
char *vdm_path(const char *a, const char *b, vdm_error *err);
/* A copy of the text, or of its first n bytes, in new memory (vdm_free), or NULL. */
char *vdm_copy_text(const char *text, vdm_error *err);
char *vdm_copy_bytes(const char *text, size_t n, vdm_error *err);
bool vdm_is_folder(const char *path); /* links are followed */

double vdm_seconds(void); /* a monotonic clock */

/* ------------------------------------------------------------------------------------------------
 * Pictures in files (png.c; the rest is in vdm.h) */

/* What was lost when a picture was read: bits of a set. */
enum {
    VDM_NOTE_ALPHA = 1,      /* pixels that are not opaque: they were put over black */
    VDM_NOTE_DEPTH = 2,      /* 16 bits a sample: reduced to 8 */
    VDM_NOTE_PROFILE = 4,    /* a colour profile that is not known to be sRGB: ignored */
    VDM_NOTE_GAMMA = 8,      /* a gamma other than that of sRGB: ignored */
    VDM_NOTE_FRAMES = 16,    /* an animation: only its first picture */
    VDM_NOTE_ROTATED = 32,   /* an orientation in EXIF: ignored */
    VDM_NOTE_EXIF_TEXT = 64, /* EXIF in a text chunk, which is not read: its orientation is ignored */
    VDM_NOTES = 7            /* how many there are */
};

/* ------------------------------------------------------------------------------------------------
 * Tensors in files: JSON and safetensors (json.c, safetensors.c) */

typedef enum vdm_dtype {
    VDM_F32,
    VDM_F16,
    VDM_BF16, /* types of weights */
    VDM_F64,
    VDM_I64,
    VDM_I32,
    VDM_I16,
    VDM_I8, /* other types in files */
    VDM_U64,
    VDM_U32,
    VDM_U16,
    VDM_U8,
    VDM_BOOL,
    VDM_C64,
    VDM_F8_E4M3,
    VDM_F8_E5M2,
    VDM_F8_E8M0,
    VDM_F8_E4M3FNUZ,
    VDM_F8_E5M2FNUZ, /* listed, never computed with */
    VDM_F6_E2M3,
    VDM_F6_E3M2,
    VDM_F4,    /* with */
    VDM_DTYPES /* how many there are */
} vdm_dtype;

size_t vdm_dtype_bits(vdm_dtype dtype);
size_t vdm_dtype_bytes(vdm_dtype dtype);     /* of an element; 0 where elements share bytes: F4, F6 */
bool vdm_dtype_floating(vdm_dtype dtype);    /* F32, F16, BF16, F64 */
bool vdm_dtype_integer(vdm_dtype dtype);     /* I64 to U8, BOOL */
const char *vdm_dtype_name(vdm_dtype dtype); /* as safetensors spells it: "BF16" */

typedef struct vdm_tensor {
    const char *name;
    vdm_dtype dtype;
    int rank;
    int64_t shape[VDM_MAX_RANK];
    const void *data; /* native byte order, any alignment */
    size_t bytes;
} vdm_tensor;
int64_t vdm_tensor_count(const vdm_tensor *t); /* elements */
size_t vdm_tensor_bytes(const vdm_tensor *t);  /* that its type and shape need */
/* Checks, before its first element is read, that a tensor has a type that vdm_widen supports, and this shape. -1 in the
 * shape: any size from 1 on, replaced by the tensor's. If the tensor has one dimension more, a leading 1, it is
 * dropped.
 * path is for the message, err may be NULL. */
int vdm_tensor_check(const vdm_tensor *t, const char *path, int rank, int64_t *shape, vdm_error *err);

void vdm_widen(float *to, const void *from, vdm_dtype dtype,
               int64_t n); /* from a floating type, I64 or I32 */
/* The first of n elements that is NaN or infinite; -1 if there is none, and for types that are not floating. */
int64_t vdm_first_not_finite(const void *from, vdm_dtype dtype, int64_t n);
int vdm_check_finite(const void *from, vdm_dtype dtype, int64_t n, const char *path, const char *name,
                     vdm_error *err);
float vdm_from_bf16(uint16_t bits);
float vdm_from_f16(uint16_t bits);
uint16_t vdm_to_bf16(float x); /* round to nearest even, NaN stays NaN */
uint16_t vdm_to_f16(float x);

/* One safetensors file, or the shards of one part of a model as one: mapped, read-only, checked
 * (names unique, ranges tile the file without gap or overlap, sizes match shapes). */
typedef struct vdm_safetensors {
    char *path;          /* the file or folder, for messages */
    vdm_tensor *tensors; /* [count], sorted by name */
    int64_t count;
    struct vdm_mapping *files; /* private */
    int n_files;
} vdm_safetensors;
int vdm_safetensors_open(vdm_safetensors *f, const char *path, vdm_error *err);
/* dir/stem.safetensors, or the shards that dir/stem.safetensors.index.json lists. */
int vdm_safetensors_open_folder(vdm_safetensors *f, const char *dir, const char *stem, vdm_error *err);
/* The shards that an index lists, FILE.safetensors.index.json; they are in its folder. */
int vdm_safetensors_open_index(vdm_safetensors *f, const char *index, vdm_error *err);
void vdm_safetensors_close(vdm_safetensors *f);
const vdm_tensor *vdm_safetensors_find(const vdm_safetensors *f, const char *name); /* or NULL */
const char *vdm_safetensors_metadata(const vdm_safetensors *f, const char *key);    /* or NULL */

/* [count]: in the order in which they are in the file; shards by their names. vdm_free */
const vdm_tensor **vdm_safetensors_in_order(const vdm_safetensors *f, vdm_error *err);

/* Copies a tensor to f32, checked by vdm_tensor_check (shape is not changed) and for NaN and infinite elements. NULL
 * names tensor, found, expected. */
float *vdm_safetensors_floats(const vdm_safetensors *f, const char *name, int rank, const int64_t *shape,
                              vdm_error *err);

/* Rejects a file with NaN or infinite elements. It reads the whole file: use it to explain a result that is not
 * finite. */
int vdm_safetensors_check_finite(const vdm_safetensors *f, vdm_error *err);

/* Writes a file that appears whole or not at all. metadata: pairs key, value; may be NULL.
 * Tensors are written in the order given. */
int vdm_safetensors_write(const char *path, const vdm_tensor *tensors, int64_t count,
                          const char *const (*metadata)[2], int n_metadata, vdm_error *err);

/* The same, one tensor at a time, for files larger than memory: begin, add, ..., then end or abandon. The header is
 * written last, into `reserve` bytes kept for it; if it is longer, the data is moved. */
typedef struct vdm_safetensors_writer {
    vdm_file file;
    FILE *entries; /* the header so far, in memory: */
    char *text;
    size_t length;
    uint64_t reserved, bytes; /* before the data, of the data */
} vdm_safetensors_writer;
int vdm_safetensors_begin(vdm_safetensors_writer *w, const char *path, size_t reserve, vdm_error *err);
int vdm_safetensors_add(vdm_safetensors_writer *w, const vdm_tensor *t, vdm_error *err);
int vdm_safetensors_end(vdm_safetensors_writer *w, const char *const (*metadata)[2], int n_metadata,
                        vdm_error *err); /* ends in any case */
void vdm_safetensors_abandon(vdm_safetensors_writer *w);

/* A JSON document: an array of nodes in document order, the first is the root. */
typedef enum vdm_json_kind {
    VDM_JSON_NULL,
    VDM_JSON_FALSE,
    VDM_JSON_TRUE,
    VDM_JSON_NUMBER,
    VDM_JSON_STRING,
    VDM_JSON_ARRAY,
    VDM_JSON_OBJECT
} vdm_json_kind;
typedef struct vdm_json_node {
    vdm_json_kind kind;
    int64_t next;     /* index of the next sibling, -1 after the last */
    int64_t children; /* items or members; the first child is at index + 1 */
    const char *key;  /* in an object: unescaped, NUL-terminated */
    const char *text; /* string: unescaped; number: as written */
    double number;
} vdm_json_node;
typedef struct vdm_json {
    vdm_json_node *nodes;
    int64_t count;
    char *strings; /* private */
} vdm_json;
/* Strict RFC 8259 (UTF-8, no duplicate keys, no NUL in strings, depth <= VDM_MAX_JSON_DEPTH).
 * `path` is for messages. vdm_json_read ignores a byte order mark before the document, which editors write. */
int vdm_json_parse(vdm_json *j, const char *text, size_t size, const char *path, vdm_error *err);
int vdm_json_read(vdm_json *j, const char *path, vdm_error *err);
void vdm_json_free(vdm_json *j);
const vdm_json_node *vdm_json_get(const vdm_json *j, const vdm_json_node *object, const char *key);
const vdm_json_node *vdm_json_next(const vdm_json *j, const vdm_json_node *node); /* sibling or NULL */
/* A byte of a text as it is written in a JSON string: a quote, a backslash and control characters are escaped. Returns
 * the length; a NUL follows. */
enum { VDM_JSON_ESCAPE = 7 };
int vdm_json_escape(char to[VDM_JSON_ESCAPE], char byte);
/* Numbers in files have a decimal point in every locale: a double with all its digits, as JSON, and the double in a text
 * that is a JSON number; false: it is not. */
enum { VDM_JSON_NUMBER_TEXT = 32 };
void vdm_json_number_text(char to[VDM_JSON_NUMBER_TEXT], double x);
bool vdm_json_number(double *x, const char *text);
/* Writes the text as a JSON string, in quotes; the stream keeps its own errors. */
void vdm_json_put_text(FILE *to, const char *text);

#ifdef __cplusplus
}
#endif

#endif
