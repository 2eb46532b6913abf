/* Weights that are read a part ahead and given back: whatever the order of use, what is read is what the file has. */
#include "files/stream.h"
#include "check.h"
#include "vdm.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { PARTS = 6, PER = 3, EXTENT = 1000000 /* not whole pages */, BYTES = PARTS * PER * EXTENT };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761u >> 13);
}

static const unsigned char *map_file(void)
{
    char path[512];
    snprintf(path, sizeof path, "%s/weights", check_folder());
    FILE *f = fopen(path, "w+b");
    for (size_t i = 0; f && i < BYTES; i++) fputc(byte_at(i), f);
    if (!CHECK(f && fflush(f) == 0, "%s is not written", path)) return NULL;
    fsync(fileno(f)); /* what is not on disk can't be given back */
    void *base = mmap(NULL, BYTES, PROT_READ, MAP_PRIVATE, fileno(f), 0);
    fclose(f);
    return CHECK(base != MAP_FAILED, "%s is not mapped", path) ? base : NULL;
}

static void check_part(const unsigned char *base, int part)
{
    int64_t wrong = 0;
    size_t first = (size_t)part * PER * EXTENT;
    for (size_t i = first; i < first + PER * EXTENT; i++) wrong += base[i] != byte_at(i);
    CHECK(wrong == 0, "part %d: %lld bytes are wrong", part, (long long)wrong);
}

static void test_orders(const unsigned char *base, int resident)
{
    vdm_extent e[PARTS * PER];
    for (int i = 0; i < PARTS * PER; i++) e[i] = (vdm_extent){base + (size_t)i * EXTENT, EXTENT};
    vdm_stream *s = vdm_stream_new(e, PARTS, PER, resident);
    if (!CHECK(s != NULL, "no memory")) return;
    for (int pass = 0; pass < 3; pass++) { /* forward, backward, jumping */
        for (int i = 0; i < PARTS; i++) {
            vdm_stream_use(s, i, (i + 1) % PARTS);
            check_part(base, i);
        }
        for (int i = PARTS - 1; i >= 0; i--) {
            vdm_stream_use(s, i, i > 0 ? i - 1 : 1);
            check_part(base, i);
        }
        for (int i = 0; i < 3 * PARTS; i++) {
            vdm_stream_use(s, i * 5 % PARTS, i * 7 % PARTS);
            check_part(base, i * 5 % PARTS);
        }
        for (int i = 0; i < 100; i++)
            vdm_stream_use(s, i % PARTS, (i + 1) % PARTS); /* faster than it reads */
    }
    vdm_stream_free(s);
    for (int i = 0; i < PARTS; i++) check_part(base, i);
}

#ifdef __linux__
/* KiB of mapped files that are in this process's memory */
static long mapped_kib(void)
{
    char line[256];
    long kib = -1;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssFile: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib;
}

static void wait_ms(long ms)
{
    nanosleep(&(struct timespec){0, ms * 1000000}, NULL);
}

/* After a part was used, its memory is given back as soon as the next one is: two parts at a time, and those resident. */
static void test_memory(const unsigned char *base)
{
    vdm_extent e[PARTS * PER];
    for (int i = 0; i < PARTS * PER; i++) e[i] = (vdm_extent){base + (size_t)i * EXTENT, EXTENT};
    vdm_stream *s = vdm_stream_new(e, PARTS, PER, 1);
    for (int i = 0; i < PARTS; i++) check_part(base, i);
    long all = mapped_kib(), left = all;
    vdm_stream_use(s, 0, 1);
    for (int i = 0; i < PARTS; i++) { /* all were used */
        vdm_stream_use(s, i, (i + 1) % PARTS);
        wait_ms(20);
    }
    vdm_stream_use(s, 1, 2);
    for (int i = 0; i < 200 && left > all - 2 * PER * EXTENT / 1024; i++) {
        wait_ms(10);
        left = mapped_kib();
    }
    CHECK(all > BYTES / 1024 && left <= all - 2 * PER * EXTENT / 1024, "%ld KiB of %ld are still there", left,
          all);
    vdm_stream_free(s);
}
#endif

int main(void)
{
    const unsigned char *base = map_file();
    vdm_stream_use(NULL, 0, 1);
    vdm_stream_free(NULL);
    if (base) {
        for (int resident = 0; resident <= PARTS; resident += 2) test_orders(base, resident);
#ifdef __linux__
        test_memory(base);
#endif
    }
    return check_end("stream");
}
