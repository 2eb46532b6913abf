/* The few checks that every test program shares. A check fails if it meets NaN or Inf instead of a
 * number; nothing is skipped silently. A program ends with `return check_end();`, which prints
 * "NAME: N passed, M failed". */
#ifndef VDM_CHECK_H
#define VDM_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include "vdm.h"

/* One check: counted, and printed if it fails. */
#define CHECK(condition, ...) check_one((condition), __FILE__, __LINE__, __VA_ARGS__)
bool check_one(bool passed, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Relative L2 distance |a - b| / |b|; infinite if a contains NaN or Inf; 0 if both are zero. */
double check_distance(const float *a, const float *b, int64_t n);
/* The same bits in both. */
bool check_same_bits(const void *a, const void *b, int64_t bytes);
/* FNV-1a, 64 bit, to compare runs and builds. */
uint64_t check_hash(const void *data, int64_t bytes);
/* The same of `count` elements of `width` bytes, the lowest byte of each first on every machine. */
uint64_t check_hash_numbers(const void *data, int64_t count, int width);
/* The CRC of PNG's chunks, bit by bit. */
uint32_t check_crc(const uint8_t *data, size_t n);
/* n elements in -scale..scale, the same on every machine. */
void check_random(float *x, int64_t n, uint32_t seed, float scale);
/* A new folder for files of this test, removed by check_end. */
const char *check_folder(void);
/* Prints the counts; 0 if all passed and at least one check ran. */
int check_end(const char *name);

#endif
