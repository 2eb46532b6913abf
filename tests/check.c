#include "check.h"
#include "files/hash.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int passed, failed;
static char folder[256];

bool check_one(bool ok, const char *file, int line, const char *format, ...)
{
    if (ok) {
        passed++;
        return true;
    }
    failed++;
    printf("%s:%d: ", file, line);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return false;
}

double check_distance(const float *a, const float *b, int64_t n)
{
    double difference = 0, length = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(a[i]) || !isfinite(b[i])) return (double)INFINITY;
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        length += (double)b[i] * (double)b[i];
    }
    return difference == 0 ? 0 : sqrt(difference / length);
}

bool check_same_bits(const void *a, const void *b, int64_t bytes)
{
    return memcmp(a, b, (size_t)bytes) == 0;
}

uint64_t check_hash(const void *data, int64_t bytes)
{
    return vdm_hash_bytes(VDM_HASH_START, data, (size_t)bytes);
}

uint64_t check_hash_numbers(const void *data, int64_t count, int width)
{
    const unsigned char *p = data;
    const uint16_t one = 1;
    bool little = *(const unsigned char *)&one == 1;
    uint64_t hash = VDM_HASH_START;
    for (int64_t i = 0; i < count; i++, p += width)
        for (int k = 0; k < width; k++) hash = vdm_hash_step(hash, p[little ? k : width - 1 - k]);
    return hash;
}

uint32_t check_crc(const uint8_t *data, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < 8 * n; i++) {
        crc ^= i % 8 ? 0 : data[i / 8];
        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

void check_random(float *x, int64_t n, uint32_t seed, float scale)
{
    uint32_t s = seed * 2654435761u + 12345u;
    for (int64_t i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        x[i] = scale * ((float)(s >> 8) / 8388608.0f - 1.0f);
    }
}

const char *check_folder(void)
{
    if (!folder[0]) {
        const char *base = getenv("TMPDIR");
        char here[128] = ""; /* tests change their working folder */
        if (!base) base = "/tmp";
        if (*base != '/' && getcwd(here, sizeof here - 1)) strcat(here, "/");
        snprintf(folder, sizeof folder, "%s%s/vdm-test-XXXXXX", here, base);
        if (!mkdtemp(folder)) {
            printf("no folder for the test's files: %s\n", folder);
            exit(1);
        }
    }
    return folder;
}

int check_end(const char *name)
{
    if (folder[0]) {
        char command[300];
        snprintf(command, sizeof command, "rm -rf '%s'", folder);
        if (system(command) != 0) failed++;
    }
    printf("%s: %d passed, %d failed\n", name, passed, failed);
    return failed || !passed;
}
