/* Tensors in files: the safetensors format, one file or the shards of one model part.
 *
 *   8 bytes      n, the length of the header, little-endian
 *   n bytes      JSON: {"name": {"dtype": "BF16", "shape": [3072, 256], "data_offsets": [begin, end]}, ...,
 *                "__metadata__": {"key": "text", ...}}; offsets count from the end of the header
 *   the rest     the tensors, row-major, little-endian, without gap or overlap
 *
 * A file is mapped, not read: a tensor's pages come from the disk when they are first used, and programs share them.
 * The whole header is checked when the file is opened, so that users of a tensor's pointer need no checks.
 *
 * Traps
 *   Data may be at any address, which depends on the header's length. Read it by memcpy or by bytes.
 *   The product of a shape may exceed 64 bits, offsets may be inverted or beyond the file: check, then multiply.
 *   If another program truncates a mapped file, SIGBUS kills this one. Replace files by renaming, as vdm does; then the
 *   old pages stay valid. */
#include "vdm_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct vdm_mapping {
    char *path;
    void *base; /* the mapped file, [size] */
    size_t size;
    vdm_json header; /* of header_bytes: its strings hold the tensors' names and the metadata */
    size_t header_bytes;
    char *swapped;       /* big-endian machines: the data in native byte order; else NULL */
    vdm_tensor *tensors; /* [count], while the file is opened; then moved to vdm_safetensors */
    int64_t count;
} vdm_mapping;

/* ------------------------------------------------------------------------------------------------
 * Byte order */

static bool big_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 0;
}

/* Bytes that are reversed on a machine of the other byte order; C64 is two floats. */
static size_t swapped_bytes(vdm_dtype dtype)
{
    size_t bytes = vdm_dtype_bytes(dtype);
    return dtype == VDM_C64 ? 4 : bytes ? bytes : 1;
}

/* Copies elements of `width` bytes, each with its bytes reversed. */
static void copy_swapped(char *to, const char *from, size_t bytes, size_t width)
{
    for (size_t i = 0; i < bytes; i += width)
        for (size_t k = 0; k < width; k++) to[i + k] = from[i + width - 1 - k];
}

/* ------------------------------------------------------------------------------------------------
 * One entry of the header */

/* A JSON number that is written as an integer from 0 to 2^63-1: 3, not 3.0 or 3e0. */
static bool read_integer(const vdm_json_node *node, int64_t *value)
{
    if (node->kind != VDM_JSON_NUMBER) return false;
    *value = 0;
    for (const char *c = node->text; *c; c++) {
        if (*c < '0' || *c > '9') return false;
        if (*value > (INT64_MAX - (*c - '0')) / 10) return false;
        *value = 10 * *value + (*c - '0');
    }
    return true;
}

static int read_dtype(vdm_tensor *t, const vdm_json_node *node, const char *path, vdm_error *err)
{
    if (!node || node->kind != VDM_JSON_STRING)
        return vdm_fail(err, "%s: tensor '%s': dtype: expected a string", path, t->name);
    for (int i = 0; i < VDM_DTYPES; i++) {
        t->dtype = (vdm_dtype)i;
        if (strcmp(node->text, vdm_dtype_name(t->dtype)) == 0) return 0;
    }
    return vdm_fail(err, "%s: tensor '%s': dtype: found '%s', expected F32, F16, BF16 or another known type",
                    path, t->name, node->text);
}

/* Sizes whose product exceeds 64 bits are rejected even if another size is 0: strides are products too. */
static int read_shape(vdm_tensor *t, const vdm_json *j, const vdm_json_node *node, const char *path,
                      vdm_error *err)
{
    if (!node || node->kind != VDM_JSON_ARRAY)
        return vdm_fail(err, "%s: tensor '%s': shape: expected a list of integers", path, t->name);
    if (node->children > VDM_MAX_RANK)
        return vdm_fail(err, "%s: tensor '%s': shape: found %lld dimensions, at most %d are allowed", path,
                        t->name, (long long)node->children, VDM_MAX_RANK);
    int64_t product = (int64_t)vdm_dtype_bits(t->dtype); /* bits; elements of 4 or 6 share bytes */
    bool zero = false;
    for (const vdm_json_node *n = node->children ? node + 1 : NULL; n; n = vdm_json_next(j, n)) {
        int64_t *size = &t->shape[t->rank++];
        if (!read_integer(n, size))
            return vdm_fail(err, "%s: tensor '%s': shape: expected integers from 0 to 2^63-1, found %s", path,
                            t->name, n->text ? n->text : "something else");
        if (*size > 0 && product > INT64_MAX / *size)
            return vdm_fail(err, "%s: tensor '%s': shape: more bytes than 64 bits can count", path, t->name);
        if (*size > 0) product *= *size;
        zero |= *size == 0;
    }
    if (!zero && product % 8)
        return vdm_fail(err, "%s: tensor '%s': shape: %lld bits are not whole bytes", path, t->name,
                        (long long)product);
    t->bytes = zero ? 0 : (size_t)product / 8;
    return 0;
}

static int read_offsets(vdm_tensor *t, const vdm_json *j, const vdm_json_node *node, const vdm_mapping *m,
                        const char *data, vdm_error *err)
{
    int64_t at[2];
    if (!node || node->kind != VDM_JSON_ARRAY || node->children != 2 || !read_integer(node + 1, &at[0]) ||
        !read_integer(vdm_json_next(j, node + 1), &at[1]) || at[0] > at[1])
        return vdm_fail(err, "%s: tensor '%s': data_offsets: expected [begin, end], two integers", m->path,
                        t->name);
    size_t capacity = m->size - (size_t)(data - (const char *)m->base);
    if ((uint64_t)at[1] > capacity)
        return vdm_fail(
            err,
            "%s: tensor '%s': data_offsets: ends at byte %lld of %zu in the file: was its download "
            "cut short?",
            m->path, t->name, (long long)at[1], capacity);
    if ((uint64_t)(at[1] - at[0]) != t->bytes)
        return vdm_fail(err, "%s: tensor '%s': shape and dtype need %zu bytes, data_offsets give %lld",
                        m->path, t->name, t->bytes, (long long)(at[1] - at[0]));
    t->data = data + at[0];
    return 0;
}

static int check_name(const char *name, const char *path, vdm_error *err)
{
    size_t length = strlen(name);
    if (length == 0) return vdm_fail(err, "%s: a tensor's name is empty", path);
    if (length > VDM_MAX_NAME)
        return vdm_fail(err, "%s: tensor '%.40s...': a name of %zu bytes, at most %d are allowed", path, name,
                        length, VDM_MAX_NAME);
    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            return vdm_fail(err, "%s: tensor '%s': a control character in its name", path, name);
    return 0;
}

static int read_entry(vdm_tensor *t, const vdm_json *j, const vdm_json_node *node, const vdm_mapping *m,
                      const char *data, vdm_error *err)
{
    *t = (vdm_tensor){.name = node->key};
    if (check_name(t->name, m->path, err)) return -1;
    if (node->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "%s: tensor '%s': expected an object with dtype, shape and data_offsets",
                        m->path, t->name);
    if (read_dtype(t, vdm_json_get(j, node, "dtype"), m->path, err)) return -1;
    if (read_shape(t, j, vdm_json_get(j, node, "shape"), m->path, err)) return -1;
    return read_offsets(t, j, vdm_json_get(j, node, "data_offsets"), m, data, err);
}

/* ------------------------------------------------------------------------------------------------
 * One file */

static int compare_place(const void *a, const void *b)
{
    const vdm_tensor *x = a, *y = b;
    const char *p = x->data, *q = y->data;
    if (p != q) return p < q ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int compare_name(const void *a, const void *b)
{
    return strcmp(((const vdm_tensor *)a)->name, ((const vdm_tensor *)b)->name);
}

/* Of pointers; empty tensors of one place by name. */
static int compare_place_in_file(const void *a, const void *b)
{
    const vdm_tensor *x = *(const vdm_tensor *const *)a, *y = *(const vdm_tensor *const *)b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Checks that, in the order of their data, every tensor begins at the end of the one before it, and the last one ends with
 * the file. With overlaps a file of 1 MB could describe 100 GB; gaps could hide data. */
static int check_tiling(vdm_mapping *m, const char *data, vdm_error *err)
{
    const char *at = data, *end = (const char *)m->base + m->size;
    qsort(m->tensors, (size_t)m->count, sizeof *m->tensors, compare_place);
    for (int64_t i = 0; i < m->count; i++) {
        const char *begin = m->tensors[i].data;
        if (begin < at)
            return vdm_fail(err, "%s: tensors '%s' and '%s' overlap", m->path, m->tensors[i - 1].name,
                            m->tensors[i].name);
        if (begin > at)
            return vdm_fail(err, "%s: %td bytes before tensor '%s' belong to no tensor", m->path, begin - at,
                            m->tensors[i].name);
        at = begin + m->tensors[i].bytes;
    }
    if (at < end)
        return vdm_fail(err, "%s: %td bytes after the last tensor belong to no tensor", m->path, end - at);
    return 0;
}

static int check_metadata(const vdm_json *j, const vdm_json_node *node, const char *path, vdm_error *err)
{
    if (node->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "%s: __metadata__: expected an object of strings", path);
    for (const vdm_json_node *n = node->children ? node + 1 : NULL; n; n = vdm_json_next(j, n))
        if (n->kind != VDM_JSON_STRING)
            return vdm_fail(err, "%s: __metadata__: '%s': expected a string", path, n->key);
    return 0;
}

/* Other files that are often saved as .safetensors by mistake; NULL if it is none of them. */
static const char *known_impostor(const char *base, size_t size)
{
    static const struct {
        const char *begin, *what;
    } known[] = {
        {"version https://git-lfs", "this is a git-lfs pointer, not a weight file: download the file itself"},
        {"<", "this is a web page, not a weight file: download it again"},
        {"PK\x03\x04", "this is a zip archive (a PyTorch file?), not a safetensors file"},
        {"GGUF", "this is a GGUF file, not a safetensors file"},
    };
    while (size > 0 && (*base == '\n' || *base == '\r' || *base == ' ')) {
        base++;
        size--;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        size_t length = strlen(known[i].begin);
        if (size >= length && memcmp(base, known[i].begin, length) == 0) return known[i].what;
    }
    return NULL;
}

/* Checks the eight bytes of length; *header points to the bytes after them, [*length]. */
static int find_header(const vdm_mapping *m, const char **header, size_t *length, vdm_error *err)
{
    const char *impostor = known_impostor(m->base, m->size);
    uint64_t n = 0;
    if (m->size == 0) return vdm_fail(err, "%s: the file is empty", m->path);
    for (size_t i = 0; i < 8 && i < m->size; i++)
        n |= (uint64_t)((const unsigned char *)m->base)[i] << (8 * i);
    if (m->size >= 8 && n >= 2 && n <= VDM_MAX_HEADER && n <= m->size - 8) {
        *header = (const char *)m->base + 8;
        *length = (size_t)n;
        return 0;
    }
    if (impostor) return vdm_fail(err, "%s: %s", m->path, impostor);
    if (m->size < 8)
        return vdm_fail(err, "%s: %zu bytes are too few for a safetensors file", m->path, m->size);
    if (n < 2) return vdm_fail(err, "%s: the header's length is %d: not a safetensors file", m->path, (int)n);
    if (n > VDM_MAX_HEADER)
        return vdm_fail(err,
                        "%s: the header's length is %llu, at most %d are allowed: not a safetensors file",
                        m->path, (unsigned long long)n, VDM_MAX_HEADER);
    return vdm_fail(
        err, "%s: the header's length is %llu, but the file has %zu bytes: was its download cut short?",
        m->path, (unsigned long long)n, m->size);
}

/* Big-endian machines: the tensors get their own memory. */
static int to_native(vdm_mapping *m, const char *data, vdm_error *err)
{
    if (!big_endian()) return 0;
    size_t bytes = m->size - (size_t)(data - (const char *)m->base);
    m->swapped = vdm_alloc(bytes, 1, m->path, err);
    if (!m->swapped) return -1;
    for (int64_t i = 0; i < m->count; i++) {
        vdm_tensor *t = &m->tensors[i];
        char *to = m->swapped + ((const char *)t->data - data);
        copy_swapped(to, t->data, t->bytes, swapped_bytes(t->dtype));
        t->data = to;
    }
    return 0;
}

static int read_header(vdm_mapping *m, vdm_error *err)
{
    const char *header = NULL;
    size_t length = 0;
    if (find_header(m, &header, &length, err)) return -1;
    const char *data = header + length;
    m->header_bytes = length;
    if (vdm_json_parse(&m->header, header, length, m->path, err)) return -1;
    const vdm_json_node *root = m->header.nodes;
    if (root->kind != VDM_JSON_OBJECT) return vdm_fail(err, "%s: the header is not a JSON object", m->path);
    if (root->children > VDM_MAX_TENSORS)
        return vdm_fail(err, "%s: %lld tensors, at most %d are allowed", m->path, (long long)root->children,
                        VDM_MAX_TENSORS);
    m->tensors = vdm_alloc((size_t)root->children, sizeof *m->tensors, m->path, err);
    if (!m->tensors) return -1;
    for (const vdm_json_node *n = root->children ? root + 1 : NULL; n; n = vdm_json_next(&m->header, n)) {
        bool metadata = strcmp(n->key, "__metadata__") == 0;
        if (metadata ? check_metadata(&m->header, n, m->path, err)
                     : read_entry(&m->tensors[m->count++], &m->header, n, m, data, err))
            return -1;
    }
    return check_tiling(m, data, err) || to_native(m, data, err) ? -1 : 0;
}

static int map_opened(vdm_mapping *m, int fd, vdm_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return vdm_fail(err, "%s: %s", m->path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return vdm_fail(err, "%s: expected a safetensors file, found %s", m->path,
                        S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
    if ((uintmax_t)info.st_size > SIZE_MAX / 8) return vdm_fail(err, "%s: too large to be mapped", m->path);
    if (info.st_size == 0) return 0; /* can't be mapped; find_header reports the error */
    void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED) return vdm_fail(err, "%s: can't be mapped: %s", m->path, strerror(errno));
    m->base = base;
    m->size = (size_t)info.st_size;
    return 0;
}

static int mapping_open(vdm_mapping *m, const char *path, vdm_error *err)
{
    *m = (vdm_mapping){0};
    m->path = vdm_alloc(strlen(path) + 1, 1, path, err);
    if (!m->path) return -1;
    memcpy(m->path, path, strlen(path));
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return vdm_fail(err, "%s: %s", path, strerror(errno));
    int status = map_opened(m, fd, err);
    close(fd); /* the mapping keeps the file */
    return status ? -1 : read_header(m, err);
}

static void mapping_close(vdm_mapping *m)
{
    if (m->base) munmap(m->base, m->size);
    vdm_json_free(&m->header);
    vdm_free(m->swapped);
    vdm_free(m->tensors);
    vdm_free(m->path);
    *m = (vdm_mapping){0};
}

/* ------------------------------------------------------------------------------------------------
 * Several files as one */

static bool lies_in(const vdm_mapping *m, const vdm_tensor *t)
{
    uintptr_t begin = (uintptr_t)m->header.strings, at = (uintptr_t)t->name;
    return at >= begin && at - begin <= m->header_bytes;
}

/* Opens n files, and joins their tensors, sorted by name. */
static int open_all(vdm_safetensors *f, char *const *paths, int n, vdm_error *err)
{
    f->files = vdm_alloc((size_t)n, sizeof *f->files, f->path, err);
    if (!f->files) return -1;
    for (int i = 0; i < n; i++) {
        f->n_files = i + 1;
        if (mapping_open(&f->files[i], paths[i], err)) return -1;
        f->count += f->files[i].count;
    }
    f->tensors = vdm_alloc((size_t)f->count, sizeof *f->tensors, f->path, err);
    if (!f->tensors) return -1;
    vdm_tensor *to = f->tensors;
    for (int i = 0; i < n; i++) {
        vdm_mapping *m = &f->files[i];
        if (m->count) memcpy(to, m->tensors, (size_t)m->count * sizeof *to);
        to += m->count;
        vdm_free(m->tensors);
        m->tensors = NULL;
    }
    qsort(f->tensors, (size_t)f->count, sizeof *f->tensors, compare_name);
    for (int64_t i = 1; i < f->count; i++)
        if (strcmp(f->tensors[i - 1].name, f->tensors[i].name) == 0)
            return vdm_fail(err, "%s: tensor '%s' is in two files", f->path, f->tensors[i].name);
    return 0;
}

static int set_path(vdm_safetensors *f, const char *path, vdm_error *err)
{
    *f = (vdm_safetensors){0};
    size_t bytes = strlen(path) + 1;
    f->path = vdm_alloc(bytes, 1, path, err);
    if (!f->path) return -1;
    memcpy(f->path, path, bytes);
    return 0;
}

int vdm_safetensors_open(vdm_safetensors *f, const char *path, vdm_error *err)
{
    if (set_path(f, path, err) == 0 && open_all(f, &f->path, 1, err) == 0) return 0;
    vdm_safetensors_close(f);
    return -1;
}

void vdm_safetensors_close(vdm_safetensors *f)
{
    for (int i = 0; i < f->n_files; i++) mapping_close(&f->files[i]);
    vdm_free(f->files);
    vdm_free(f->tensors);
    vdm_free(f->path);
    *f = (vdm_safetensors){0};
}

/* ------------------------------------------------------------------------------------------------
 * Shards: {"metadata": {"total_size": ...}, "weight_map": {"tensor": "file in the same folder", ...}}.
 * total_size is ignored: writers count shared or converted storage, and nothing depends on it. */

typedef struct shard_index {
    const char *path;
    vdm_json json;
    const vdm_json_node **entries; /* [count] members of weight_map */
    int64_t count;
    const char **files; /* [n_files] distinct, sorted */
    char **paths;       /* [n_files] */
    int n_files;
} shard_index;

static int compare_file(const void *a, const void *b)
{
    return strcmp((*(const vdm_json_node *const *)a)->text, (*(const vdm_json_node *const *)b)->text);
}

static int compare_key(const void *a, const void *b)
{
    return strcmp((*(const vdm_json_node *const *)a)->key, (*(const vdm_json_node *const *)b)->key);
}

/* A shard is in the folder of its index: an index must not open other files. */
static int check_file_name(const shard_index *x, const vdm_json_node *n, vdm_error *err)
{
    if (n->kind != VDM_JSON_STRING)
        return vdm_fail(err, "%s: weight_map: '%s': expected the name of a file", x->path, n->key);
    if (!*n->text || strchr(n->text, '/') || strchr(n->text, '\\') || strcmp(n->text, "..") == 0)
        return vdm_fail(err,
                        "%s: weight_map: '%s': found '%s', expected the name of a file in the same folder",
                        x->path, n->key, n->text);
    return 0;
}

static int index_read(shard_index *x, vdm_error *err)
{
    if (vdm_json_read(&x->json, x->path, err)) return -1;
    const vdm_json_node *map = vdm_json_get(&x->json, x->json.nodes, "weight_map");
    if (!map || map->kind != VDM_JSON_OBJECT || map->children == 0)
        return vdm_fail(err, "%s: weight_map: expected an object of tensor and file names", x->path);
    if (map->children > VDM_MAX_TENSORS)
        return vdm_fail(err, "%s: weight_map: %lld tensors, at most %d are allowed", x->path,
                        (long long)map->children, VDM_MAX_TENSORS);
    x->entries = vdm_alloc((size_t)map->children, sizeof *x->entries, x->path, err);
    x->files = x->entries ? vdm_alloc((size_t)map->children, sizeof *x->files, x->path, err) : NULL;
    if (!x->files) return -1;
    for (const vdm_json_node *n = map + 1; n; n = vdm_json_next(&x->json, n)) {
        if (check_file_name(x, n, err)) return -1;
        x->entries[x->count++] = n;
    }
    qsort(x->entries, (size_t)x->count, sizeof *x->entries, compare_file);
    for (int64_t i = 0; i < x->count; i++)
        if (i == 0 || compare_file(&x->entries[i - 1], &x->entries[i]) != 0)
            x->files[x->n_files++] = x->entries[i]->text;
    qsort(x->entries, (size_t)x->count, sizeof *x->entries, compare_key);
    return 0;
}

static int index_paths(shard_index *x, const char *dir, vdm_error *err)
{
    x->paths = vdm_alloc((size_t)x->n_files, sizeof *x->paths, x->path, err);
    if (!x->paths) return -1;
    for (int i = 0; i < x->n_files; i++) {
        x->paths[i] = vdm_path(dir, x->files[i], err);
        if (!x->paths[i]) return -1;
        if (access(x->paths[i], F_OK) != 0)
            return vdm_fail(err, "%s: this shard is missing; %s lists it", x->paths[i], x->path);
    }
    return 0;
}

static int find_shard(const shard_index *x, const char *file)
{
    int low = 0, high = x->n_files - 1;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (strcmp(x->files[middle], file) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Both lists are sorted by name: one pass compares the index with the shards. */
static int check_agreement(const vdm_safetensors *f, const shard_index *x, vdm_error *err)
{
    for (int64_t i = 0; i < f->count || i < x->count; i++) {
        int order = i == x->count ? 1 : i == f->count ? -1 : strcmp(x->entries[i]->key, f->tensors[i].name);
        if (order > 0)
            return vdm_fail(err, "%s: weight_map: tensor '%s' of a shard is not listed", x->path,
                            f->tensors[i].name);
        const vdm_json_node *entry = x->entries[i];
        if (order < 0 || !lies_in(&f->files[find_shard(x, entry->text)], &f->tensors[i]))
            return vdm_fail(err, "%s: weight_map: tensor '%s' is not in '%s'", x->path, entry->key,
                            entry->text);
    }
    return 0;
}

static int open_shards(vdm_safetensors *f, const char *dir, const char *index, vdm_error *err)
{
    shard_index x = {.path = index};
    int status = index_read(&x, err);
    if (status == 0) status = index_paths(&x, dir, err);
    if (status == 0) status = open_all(f, x.paths, x.n_files, err);
    if (status == 0) status = check_agreement(f, &x, err);
    for (int i = 0; x.paths && i < x.n_files; i++) vdm_free(x.paths[i]);
    vdm_free(x.paths);
    vdm_free(x.files);
    vdm_free(x.entries);
    vdm_json_free(&x.json);
    return status;
}

/* The folder that the index is in is that of its shards. */
int vdm_safetensors_open_index(vdm_safetensors *f, const char *index, vdm_error *err)
{
    const char *slash = strrchr(index, '/');
    size_t n = slash == index ? 1 : slash ? (size_t)(slash - index) : 0; /* "/" of "/index" */
    *f = (vdm_safetensors){0};
    char *dir = vdm_alloc(n + 2, 1, index, err);
    if (!dir) return -1;
    memcpy(dir, n ? index : ".", n ? n : 1);
    int status = set_path(f, index, err);
    if (status == 0) status = open_shards(f, dir, index, err);
    vdm_free(dir);
    if (status) vdm_safetensors_close(f);
    return status;
}

int vdm_safetensors_open_folder(vdm_safetensors *f, const char *dir, const char *stem, vdm_error *err)
{
    char name[256];
    *f = (vdm_safetensors){0};
    if (strlen(stem) > 200) return vdm_fail(err, "%s: the name '%.40s...' is too long", dir, stem);
    snprintf(name, sizeof name, "%s.safetensors", stem);
    char *single = vdm_path(dir, name, err);
    snprintf(name, sizeof name, "%s.safetensors.index.json", stem);
    char *index = single ? vdm_path(dir, name, err) : NULL;
    int status = index ? set_path(f, dir, err) : -1;
    if (status == 0) {
        bool one = access(single, F_OK) == 0, many = access(index, F_OK) == 0;
        if (one && many)
            status = vdm_fail(err, "%s: found %s.safetensors and %s: expected one of them", dir, stem, name);
        else if (one)
            status = open_all(f, &single, 1, err);
        else if (many)
            status = open_shards(f, dir, index, err);
        else
            status = vdm_fail(err, "%s: found neither %s.safetensors nor %s", dir, stem, name);
    }
    vdm_free(single);
    vdm_free(index);
    if (status) vdm_safetensors_close(f);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Lookup */

const vdm_tensor *vdm_safetensors_find(const vdm_safetensors *f, const char *name)
{
    vdm_tensor wanted = {.name = name};
    if (f->count == 0) return NULL;
    return bsearch(&wanted, f->tensors, (size_t)f->count, sizeof wanted, compare_name);
}

const vdm_tensor **vdm_safetensors_in_order(const vdm_safetensors *f, vdm_error *err)
{
    const vdm_tensor **all = vdm_alloc((size_t)f->count, sizeof *all, "the order of tensors", err);
    int64_t n = 0;
    for (int file = 0; all && file < f->n_files; file++) {
        int64_t first = n;
        for (int64_t i = 0; i < f->count; i++)
            if (f->n_files == 1 || lies_in(&f->files[file], &f->tensors[i])) all[n++] = &f->tensors[i];
        qsort(all + first, (size_t)(n - first), sizeof *all, compare_place_in_file);
    }
    return all;
}

const char *vdm_safetensors_metadata(const vdm_safetensors *f, const char *key)
{
    for (int i = 0; i < f->n_files; i++) {
        const vdm_json *j = &f->files[i].header;
        const vdm_json_node *n = vdm_json_get(j, vdm_json_get(j, j->nodes, "__metadata__"), key);
        if (n) return n->text;
    }
    return NULL;
}

/* "[3072,256]", -1 as "any" */
static const char *shape_text(char text[static 256], int rank, const int64_t *shape)
{
    int at = snprintf(text, 256, "[");
    for (int i = 0; i < rank && at < 220; i++) {
        const char *comma = i ? "," : "";
        if (shape[i] < 0)
            at += snprintf(text + at, 256 - (size_t)at, "%sany", comma);
        else
            at += snprintf(text + at, 256 - (size_t)at, "%s%lld", comma, (long long)shape[i]);
    }
    snprintf(text + at, 256 - (size_t)at, "]");
    return text;
}

int vdm_tensor_check(const vdm_tensor *t, const char *path, int rank, int64_t *shape, vdm_error *err)
{
    int skip = t->rank == rank + 1 && t->shape[0] == 1;
    bool fits = t->rank == rank + skip;
    for (int i = 0; fits && i < rank; i++)
        fits = shape[i] < 0 ? t->shape[i + skip] > 0 : t->shape[i + skip] == shape[i];
    char expected[256], found[256];
    if (!fits)
        return vdm_fail(err, "%s: tensor '%s': expected %s, found %s", path, t->name,
                        shape_text(expected, rank, shape), shape_text(found, t->rank, t->shape));
    if (t->dtype > VDM_I32) /* floating types come first, then wide integers */
        return vdm_fail(err, "%s: tensor '%s': expected F32, F16, BF16, F64, I64 or I32, found %s", path,
                        t->name, vdm_dtype_name(t->dtype));
    for (int i = 0; i < rank; i++) shape[i] = t->shape[i + skip];
    return 0;
}

float *vdm_safetensors_floats(const vdm_safetensors *f, const char *name, int rank, const int64_t *shape,
                              vdm_error *err)
{
    int64_t needed[VDM_MAX_RANK];
    const vdm_tensor *t = vdm_safetensors_find(f, name);
    if (!t) {
        vdm_fail(err, "%s: tensor '%s' is missing", f->path, name);
        return NULL;
    }
    if (rank) memcpy(needed, shape, (size_t)rank * sizeof *needed);
    if (vdm_tensor_check(t, f->path, rank, needed, err)) return NULL;
    float *floats = vdm_alloc((size_t)vdm_tensor_count(t), sizeof *floats, name, err);
    if (floats) vdm_widen(floats, t->data, t->dtype, vdm_tensor_count(t));
    if (!floats || !vdm_check_finite(floats, VDM_F32, vdm_tensor_count(t), f->path, name, err)) return floats;
    vdm_free(floats);
    return NULL;
}

int vdm_safetensors_check_finite(const vdm_safetensors *f, vdm_error *err)
{
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        if (vdm_check_finite(t->data, t->dtype, vdm_tensor_count(t), f->path, t->name, err)) return -1;
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

static void put_metadata(FILE *to, const char *const (*metadata)[2], int n_metadata)
{
    fputs("\"__metadata__\":{", to);
    for (int i = 0; i < n_metadata; i++) {
        if (i) fputc(',', to);
        vdm_json_put_text(to, metadata[i][0]);
        fputc(':', to);
        vdm_json_put_text(to, metadata[i][1]);
    }
    fputc('}', to);
}

static void put_entry(FILE *to, const vdm_tensor *t, uint64_t at)
{
    vdm_json_put_text(to, t->name);
    fprintf(to, ":{\"dtype\":\"%s\",\"shape\":[", vdm_dtype_name(t->dtype));
    for (int k = 0; k < t->rank; k++) fprintf(to, "%s%lld", k ? "," : "", (long long)t->shape[k]);
    fprintf(to, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
            (unsigned long long)(at + t->bytes));
}

static void put_header(FILE *to, const vdm_tensor *tensors, int64_t count, const char *const (*metadata)[2],
                       int n_metadata)
{
    uint64_t at = 0;
    const char *comma = n_metadata > 0 ? "," : "";
    fputc('{', to);
    if (n_metadata > 0) put_metadata(to, metadata, n_metadata);
    for (int64_t i = 0; i < count; i++) {
        fputs(comma, to);
        comma = ",";
        put_entry(to, &tensors[i], at);
        at += tensors[i].bytes;
    }
    fputc('}', to);
}

static void put_data(FILE *to, const vdm_tensor *t)
{
    size_t width = swapped_bytes(t->dtype);
    char number[8];
    if (!big_endian()) {
        if (t->bytes) fwrite(t->data, 1, t->bytes, to);
        return;
    }
    for (size_t i = 0; i < t->bytes; i += width) {
        copy_swapped(number, (const char *)t->data + i, width, width);
        fwrite(number, 1, width, to);
    }
}

/* Whether the type and the shape are those of a tensor, and `bytes` bytes of it are there. */
static bool has_its_bytes(const vdm_tensor *t)
{
    if ((unsigned)t->dtype >= VDM_DTYPES || t->rank < 0 || t->rank > VDM_MAX_RANK) return false;
    const int64_t bits = (int64_t)vdm_dtype_bits(t->dtype);
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) {
        if (t->shape[i] < 0 || (t->shape[i] > 0 && count > INT64_MAX / bits / t->shape[i])) return false;
        count *= t->shape[i];
    }
    return count * bits % 8 == 0 && t->bytes == (uint64_t)(count * bits / 8) && (t->data || !t->bytes);
}

/* What a reader would reject is not written. */
static int check_tensor(const char *path, const vdm_tensor *t, vdm_error *err)
{
    if (check_name(t->name, path, err)) return -1;
    if (!has_its_bytes(t))
        return vdm_fail(err, "%s: tensor '%s': %zu bytes do not fit its shape", path, t->name, t->bytes);
    return 0;
}
static int check_header(const char *path, const char *header, size_t length, vdm_error *err)
{
    if (length > VDM_MAX_HEADER) return vdm_fail(err, "%s: a header of %zu bytes is too long", path, length);
    vdm_json j; /* names that are not UTF-8, or appear twice */
    if (vdm_json_parse(&j, header, length, path, err)) return -1;
    vdm_json_free(&j);
    return 0;
}

int vdm_safetensors_write(const char *path, const vdm_tensor *tensors, int64_t count,
                          const char *const (*metadata)[2], int n_metadata, vdm_error *err)
{
    char *header = NULL;
    size_t length = 0;
    for (int64_t i = 0; i < count; i++)
        if (check_tensor(path, &tensors[i], err)) return -1;
    FILE *memory = open_memstream(&header, &length);
    if (!memory) return vdm_fail(err, "%s: no memory for the header", path);
    put_header(memory, tensors, count, metadata, n_metadata);
    for (int i = 0; i < 7 && ftell(memory) % 8; i++) fputc(' ', memory); /* the data is then aligned */
    vdm_file f;
    if (vdm_memory_close(memory, &header, &length))
        return vdm_fail(err, "%s: no memory for the header", path);
    int status = check_header(path, header, length, err);
    if (status == 0) status = vdm_file_open(&f, path, err);
    if (status == 0) {
        for (int i = 0; i < 8; i++) fputc((int)((uint64_t)length >> (8 * i) & 255), f.stream);
        fwrite(header, 1, length, f.stream);
        for (int64_t i = 0; i < count; i++) put_data(f.stream, &tensors[i]);
        status = vdm_file_commit(&f, err);
    }
    free(header);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Writing one tensor at a time */

int vdm_safetensors_begin(vdm_safetensors_writer *w, const char *path, size_t reserve, vdm_error *err)
{
    *w = (vdm_safetensors_writer){.reserved = 8 + (reserve + 7) / 8 * 8};
    if (vdm_file_open(&w->file, path, err)) return -1;
    w->entries = open_memstream(&w->text, &w->length);
    if (w->entries && fseek(w->file.stream, (long)w->reserved, SEEK_SET) == 0) return 0;
    vdm_fail(err, "%s: no memory for the header", path);
    vdm_safetensors_abandon(w);
    return -1;
}

int vdm_safetensors_add(vdm_safetensors_writer *w, const vdm_tensor *t, vdm_error *err)
{
    if (check_tensor(w->file.path, t, err)) return -1;
    errno = 0;
    if (ftell(w->entries) > 0) fputs(",", w->entries);
    put_entry(w->entries, t, w->bytes);
    put_data(w->file.stream, t);
    w->bytes += t->bytes;
    if (!ferror(w->entries) && !ferror(w->file.stream)) return 0;
    return vdm_fail(err, "%s: tensor '%s' can't be written: %s", w->file.path, t->name,
                    strerror(errno ? errno : EIO));
}

/* Moves the data, which starts at w->reserved, up to `start`: the end first. */
static int move_data(vdm_safetensors_writer *w, uint64_t start, vdm_error *err)
{
    enum { PIECE = 1 << 20 };
    FILE *f = w->file.stream;
    char *piece = vdm_alloc(PIECE, 1, w->file.path, err);
    if (!piece) return -1;
    bool good = true;
    for (uint64_t left = w->bytes; left && good;) {
        size_t n = left < PIECE ? (size_t)left : PIECE;
        left -= n;
        good = fseeko(f, (off_t)(w->reserved + left), SEEK_SET) == 0 && fread(piece, 1, n, f) == n &&
               fseeko(f, (off_t)(start + left), SEEK_SET) == 0 && fwrite(piece, 1, n, f) == n;
    }
    vdm_free(piece);
    w->reserved = start;
    return good ? 0 : vdm_fail(err, "%s: can't be written", w->file.path);
}

/* The header, with spaces up to the data. */
static int write_header(vdm_safetensors_writer *w, const char *header, size_t length, vdm_error *err)
{
    FILE *f = w->file.stream;
    uint64_t needed = 8 + (length + 7) / 8 * 8;
    if (check_header(w->file.path, header, length, err)) return -1;
    if (needed > w->reserved && move_data(w, needed, err)) return -1;
    if (fseeko(f, 0, SEEK_SET)) return vdm_fail(err, "%s: can't be written", w->file.path);
    for (int i = 0; i < 8; i++) fputc((int)((w->reserved - 8) >> (8 * i) & 255), f);
    fwrite(header, 1, length, f);
    for (uint64_t i = 8 + length; i < w->reserved; i++) fputc(' ', f);
    return 0;
}

int vdm_safetensors_end(vdm_safetensors_writer *w, const char *const (*metadata)[2], int n_metadata,
                        vdm_error *err)
{
    char *header = NULL;
    size_t length = 0;
    FILE *memory = open_memstream(&header, &length);
    bool composed = memory && vdm_memory_is_whole(w->entries);
    if (composed) {
        fputc('{', memory);
        if (n_metadata > 0) put_metadata(memory, metadata, n_metadata);
        fprintf(memory, "%s%s}", n_metadata > 0 && *w->text ? "," : "", w->text);
    }
    if (memory && vdm_memory_close(memory, &header, &length)) composed = false;
    int status = composed ? write_header(w, header, length, err)
                          : vdm_fail(err, "%s: no memory for the header", w->file.path);
    free(header);
    if (status == 0) status = vdm_file_commit(&w->file, err);
    vdm_safetensors_abandon(w);
    return status;
}

void vdm_safetensors_abandon(vdm_safetensors_writer *w)
{
    if (w->entries) fclose(w->entries);
    free(w->text);
    vdm_file_abandon(&w->file);
    *w = (vdm_safetensors_writer){0};
}
