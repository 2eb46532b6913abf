/* Errors, memory, whole-or-nothing files, the choice of kernels. */
#include "check.h"
#include "kernels/kernels.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static vdm_error err;

/* The address sanitizer's allocator is to fail as malloc does. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static bool says(const char *piece)
{
    bool found = strstr(err.text, piece) != NULL;
    if (!found) printf("  the sentence: %s\n", err.text);
    return found;
}

static void test_errors(void)
{
    CHECK(vdm_fail(&err, "%s: found %d", "a.json", 3) == -1, "returns -1");
    CHECK(strcmp(err.text, "a.json: found 3") == 0, "%s", err.text);
    vdm_fail(&err, "b/%s", err.text);
    CHECK(strcmp(err.text, "b/a.json: found 3") == 0, "the old text may be an argument: %s", err.text);
    vdm_fail(&err, "name\n\x1b[2J");
    CHECK(strcmp(err.text, "name??[2J") == 0, "control characters are replaced: %s", err.text);
    vdm_fail(&err, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x9e");
    CHECK(strcmp(err.text, "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x9e") == 0, "other characters are not: %s",
          err.text);
    vdm_fail(&err, "\x9b|\xc2\x9b|\xc3|\xe0\x80\x80|\xed\xa0\x80|\xf4\x90\x80\x80|\x7f|\xf0\x9f");
    CHECK(strcmp(err.text, "?|??|?|???|???|????|?|??") == 0, "C1 and what is no UTF-8 are: %s", err.text);
    vdm_fail(&err, "a\xe2\x80\xaegpj.b \xe2\x81\xa6 \xe2\x80\xa9 \xe2\x80\xaf");
    CHECK(strcmp(err.text, "a???gpj.b ??? \xe2\x80\xa9 \xe2\x80\xaf") == 0, "directions are: %s", err.text);
    char big[5000];
    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = 0;
    vdm_fail(&err, "%s", big);
    CHECK(strlen(err.text) == sizeof err.text - 1, "cut at the end of the buffer");
    CHECK(vdm_fail(NULL, "nobody asks") == -1, "no error wanted");
}

static void test_memory(void)
{
    for (size_t n = 0; n < 200; n += 33) {
        unsigned char *p = vdm_alloc(n, 3, "a test", &err);
        CHECK(p && (uintptr_t)p % 64 == 0, "aligned");
        unsigned any = 0;
        for (size_t i = 0; p && i < 3 * n; i++) any |= p[i];
        CHECK(any == 0, "zeroed");
        vdm_free(p);
    }
    CHECK(!vdm_alloc(SIZE_MAX / 2, 3, "the noise", &err) && says("the noise"), "overflow");
    CHECK(!vdm_alloc(SIZE_MAX / 2, 1, "the noise", &err) && says("no memory"), "too much");
    vdm_free(NULL);
}

static char *path_of(const char *name)
{
    return vdm_path(check_folder(), name, &err);
}

/* Files of the folder: nothing may be left in addition to those that were asked for. */
static int files_in(const char *dir)
{
    int n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *e; d && (e = readdir(d));) n += e->d_name[0] != '.';
    if (d) closedir(d);
    return n;
}

static bool holds(const char *path, const char *expected)
{
    char *data;
    size_t size;
    if (vdm_read_file(path, 1000, &data, &size, &err) != 0) return false;
    bool same = size == strlen(expected) && memcmp(data, expected, size + 1) == 0;
    vdm_free(data);
    return same;
}

static void test_files(void)
{
    vdm_file f, g;
    char *path = path_of("a.txt");
    CHECK(vdm_file_open(&f, path, &err) == 0, "%s", err.text);
    fputs("one", f.stream);
    CHECK(access(path, F_OK) != 0, "nothing appears before the commit");
    CHECK(vdm_file_commit(&f, &err) == 0 && holds(path, "one"), "%s", err.text);

    CHECK(vdm_file_open(&f, path, &err) == 0 && vdm_file_open(&g, path, &err) == 0, "two writers at once");
    fputs("two", f.stream);
    fputs("three", g.stream);
    CHECK(vdm_file_commit(&f, &err) == 0 && holds(path, "two"), "first");
    CHECK(vdm_file_commit(&g, &err) == 0 && holds(path, "three"), "last wins");

    CHECK(vdm_file_open(&f, path, &err) == 0, "%s", err.text);
    fputs("never", f.stream);
    vdm_file_abandon(&f);
    vdm_file_abandon(&f);
    CHECK(holds(path, "three"), "an abandoned file changes nothing");
    CHECK(files_in(check_folder()) == 1, "nothing left next to it");

    CHECK(vdm_file_open(&f, check_folder(), &err) != 0 && says("folder"), "a folder");
    CHECK(vdm_file_open(&f, "", &err) != 0 && says("empty"), "no name");
    CHECK(vdm_file_open(&f, "/dev/null", &err) != 0 && says("device"), "a device");
    CHECK(vdm_file_open(&f, "/no/such/folder/x", &err) != 0 && says("/no/such/folder/x"), "no folder");
    vdm_free(path);
}

/* A full disk: the name stays as it was, nothing is left next to it. */
static void test_full_disk(void)
{
    vdm_file f;
    char *path = path_of("full.txt");
    CHECK(vdm_file_open(&f, path, &err) == 0, "%s", err.text);
    FILE *full = fopen("/dev/full", "wb");
    if (full) { /* Linux: writes to it fail as on a full disk */
        fclose(f.stream);
        f.stream = full;
        for (int i = 0; i < 100000; i++) fputs("data", f.stream);
        CHECK(vdm_file_commit(&f, &err) != 0 && says("full.txt"), "a full disk");
    } else {
        vdm_file_abandon(&f);
    }
    CHECK(access(path, F_OK) != 0 && files_in(check_folder()) == 1, "nothing appears");
    vdm_free(path);
}

static void test_reading(void)
{
    char *data, *path = path_of("a.txt"), *pipe = path_of("pipe"), *none = path_of("none");
    size_t size;
    CHECK(vdm_read_file(none, 10, &data, &size, &err) != 0 && says("none"), "missing");
    CHECK(vdm_read_file(check_folder(), 10, &data, &size, &err) != 0 && says("folder"), "a folder");
    CHECK(vdm_read_file(path, 4, &data, &size, &err) != 0 && says("at most 4"), "over the limit");
    CHECK(vdm_read_file(path, 5, &data, &size, &err) == 0 && size == 5 && data[5] == 0, "at the limit");
    vdm_free(data);
    if (mkfifo(pipe, 0600) == 0)
        CHECK(vdm_read_file(pipe, 10, &data, &size, &err) != 0 && says("regular"), "a pipe doesn't hang");
    vdm_free(path);
    vdm_free(pipe);
    vdm_free(none);

    char *joined = vdm_path("a/", "b", &err), *other = vdm_path("a", "b", &err);
    CHECK(strcmp(joined, "a/b") == 0 && strcmp(other, "a/b") == 0, "%s %s", joined, other);
    vdm_free(joined);
    vdm_free(other);
    char *copy = vdm_copy_text("cat", &err), *part = vdm_copy_bytes("catalogue", 3, &err),
         *empty = vdm_copy_text("", &err);
    CHECK(strcmp(copy, "cat") == 0 && strcmp(part, "cat") == 0 && !*empty, "%s %s", copy, part);
    vdm_free(copy);
    vdm_free(part);
    vdm_free(empty);
    CHECK(vdm_is_folder(check_folder()) && !vdm_is_folder("Makefile") && !vdm_is_folder("no such thing"),
          "folders");
}

static void test_cpu(void)
{
    vdm_cpu cpu;
    unsetenv("VDM_ISA");
    CHECK(vdm_cpu_init(&cpu, 0, &err) == 0, "%s", err.text);
    CHECK(cpu.threads >= 1 && (vdm_has_threads() || cpu.threads == 1), "%d threads", cpu.threads);
    printf("  chosen: %s, %d threads\n", vdm_cpu_name(&cpu), cpu.threads);
    vdm_cpu_free(&cpu);
    CHECK(vdm_cpu_init(&cpu, 3, &err) == 0 && cpu.threads == (vdm_has_threads() ? 3 : 1), "three threads");
    vdm_cpu_free(&cpu);
    CHECK(vdm_cpu_init(&cpu, -1, &err) != 0 && says("threads"), "negative");
    CHECK(vdm_cpu_init(&cpu, 1 << 30, &err) != 0 && says("threads"), "huge");
    setenv("VDM_ISA", "scalar", 1);
    CHECK(vdm_cpu_init(&cpu, 1, &err) == 0 && strcmp(vdm_cpu_name(&cpu), "scalar") == 0, "scalar by name");
    vdm_cpu_free(&cpu);
    setenv("VDM_ISA", "plain", 1);
    CHECK(vdm_cpu_init(&cpu, 1, &err) == 0 && strcmp(vdm_cpu_name(&cpu), "plain") == 0, "plain by name");
    vdm_cpu_free(&cpu);
    const char *sets[] = {"avx2", "avx512", "avx512bf16", "avx512amx", "neon"};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        setenv("VDM_ISA", sets[i], 1);
        if (vdm_cpu_init(&cpu, 1, &err) == 0)
            CHECK(strcmp(vdm_cpu_name(&cpu), sets[i]) == 0, "found %s", vdm_cpu_name(&cpu));
        else
            CHECK(says(sets[i]), "rejected by name");
        vdm_cpu_free(&cpu);
    }
    setenv("VDM_ISA", "mmx", 1);
    CHECK(vdm_cpu_init(&cpu, 1, &err) != 0 && says("'mmx'"), "unknown name");
    vdm_cpu_free(&cpu);
    unsetenv("VDM_ISA");
    double before = vdm_seconds();
    CHECK(vdm_seconds() >= before, "the clock runs forwards");
}

/* A file with this text in a folder that is made */
static void put(const char *folder, const char *name, const char *text)
{
    char path[512];
    for (size_t i = 1; i <= strlen(folder); i++) {
        if (folder[i] != '/' && folder[i] != '\0') continue;
        snprintf(path, sizeof path, "%.*s", (int)i, folder);
        mkdir(path, 0777);
    }
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s is not written", path);
}

static void check_quota(const char *groups, const char *root, int expected)
{
    int found = vdm_quota_processors(groups, root);
    CHECK(found == expected, "quota: found %d processors, expected %d", found, expected);
}

/* Quotas of control groups, in a folder that looks like theirs */
static void test_quota(void)
{
    char root[] = "/tmp/vdm-quota-XXXXXX", groups[128], folder[256], remove[128];
    CHECK(mkdtemp(root) != NULL, "no folder %s", root);
    snprintf(groups, sizeof groups, "%s/groups", root);
    check_quota(groups, root, 0); /* no such file: not Linux */

    put(root, "groups", "0::/shop/job\n");
    check_quota(groups, root, 0); /* no such group: the namespace of a container */
    snprintf(folder, sizeof folder, "%s/shop/job", root);
    put(folder, "cpu.max", "max 100000\n");
    check_quota(groups, root, 0);
    put(folder, "cpu.max", "250000 100000\n");
    check_quota(groups, root, 3); /* rounded up */
    put(folder, "cpu.max", "5000 100000\n");
    check_quota(groups, root, 1);
    put(folder, "cpu.max", "800000 100000\n");
    put(root, "cpu.max", "400000 100000\n");
    check_quota(groups, root, 4); /* the smaller one, of the root here */
    put(folder, "cpu.max", "nonsense\n");
    put(root, "groups", "nonsense\n::\n\n");
    check_quota(groups, root, 4);

    put(root, "groups", "5:memory:/job\n3:cpu,cpuacct:/job\n");
    check_quota(groups, root, 0);
    snprintf(folder, sizeof folder, "%s/cpu/job", root);
    put(folder, "cpu.cfs_quota_us", "-1\n");
    put(folder, "cpu.cfs_period_us", "50000\n");
    check_quota(groups, root, 0);
    put(folder, "cpu.cfs_quota_us", "100000\n");
    check_quota(groups, root, 2);

    CHECK(vdm_quota_memory(groups, root) == 0, "a limit of memory that nobody wrote");
    snprintf(folder, sizeof folder, "%s/memory/job", root);
    put(folder, "memory.limit_in_bytes", "9223372036854771712\n");
    CHECK(vdm_quota_memory(groups, root) == 0, "nearly 2^63 is no limit");
    put(folder, "memory.limit_in_bytes", "8589934592\n");
    CHECK(vdm_quota_memory(groups, root) == 0x1p33, "%g bytes", vdm_quota_memory(groups, root));
    put(root, "groups", "0::/shop/job\n");
    snprintf(folder, sizeof folder, "%s/shop/job", root);
    put(folder, "memory.max", "max\n");
    put(root, "memory.max", "4294967296\n");
    CHECK(vdm_quota_memory(groups, root) == 0x1p32, "%g bytes", vdm_quota_memory(groups, root));
#ifdef __linux__
    CHECK(vdm_memory_limit() > 0, "the limit of this process: found %g bytes",
          vdm_memory_limit()); /* 0: unknown */
#endif
    snprintf(remove, sizeof remove, "rm -r %s", root);
    CHECK(system(remove) == 0, "%s failed", remove);

    int threads = vdm_default_threads();
    CHECK(threads >= 1 && threads <= sysconf(_SC_NPROCESSORS_ONLN), "%d threads", threads);
}

int main(void)
{
    test_errors();
    test_quota();
    test_memory();
    test_files();
    test_full_disk();
    test_reading();
    test_cpu();
    return check_end("system");
}
