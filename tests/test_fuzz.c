/* A short run of the fuzzers of tests/fuzz without libFuzzer: scripts and mutated files from a fixed seed, the same
 * on every machine. A crash ends the program; under `make sanitize` every read out of bounds does. */
#define _XOPEN_SOURCE 700 /* fuzz_coco.c */
#include "check.h"

#define LLVMFuzzerTestOneInput fuzz_compare
#include "fuzz/fuzz_compare.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_lora
#include "fuzz/fuzz_lora.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_safetensors
#include "fuzz/fuzz_safetensors.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_config
#include "fuzz/fuzz_config.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_picture
#include "fuzz/fuzz_picture.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_tokenizer
#include "fuzz/fuzz_tokenizer.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_json
#include "fuzz/fuzz_json.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_inject
#include "fuzz/fuzz_inject.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_arc
#include "fuzz/fuzz_arc.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_results
#include "fuzz/fuzz_results.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_state
#include "fuzz/fuzz_state.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_coco
#include "fuzz/fuzz_coco.c"
#undef LLVMFuzzerTestOneInput

#include <dirent.h>
#include <fcntl.h>

static uint32_t state = 12345;
static uint32_t draw(uint32_t below)
{
    state ^= state << 13, state ^= state >> 17, state ^= state << 5;
    return state % below;
}

/* A seed with some bytes changed, a piece left out or doubled, or a number replaced by another one. */
static size_t mutate(uint8_t *to, size_t capacity, const uint8_t *seed, size_t size)
{
    static const char *const numbers[] = {"0",     "-1",  "65536", "4294967296", "9223372036854775807",
                                          "1e300", "0.5", "[]"};
    memcpy(to, seed, size);
    for (uint32_t n = 1 + draw(4); n && size > 2; n--) {
        size_t at = draw((uint32_t)size), length = 1 + draw(8);
        if (length > size - at) length = size - at;
        switch (draw(4)) {
        case 0:
            to[at] = (uint8_t)draw(256);
            break;
        case 1:
            memmove(to + at, to + at + length, size - at - length), size -= length;
            break;
        case 2:
            if (size + length > capacity) break;
            memmove(to + at + length, to + at, size - at), size += length;
            break;
        default: {
            const char *number = numbers[draw(8)];
            size_t digits = strlen(number);
            while (at < size && (to[at] < '0' || to[at] > '9')) at++;
            if (at + digits > size) break;
            memcpy(to + at, number, digits);
        }
        }
    }
    return size;
}

typedef int target(const uint8_t *data, size_t size);

static void run_scripts(target *fuzz, int runs, const char *tail)
{
    uint8_t bytes[600];
    for (int i = 0; i < runs; i++) {
        size_t size = 20 + draw(280), more = draw(3) ? 0 : strlen(tail);
        for (size_t k = 0; k < size; k++) bytes[k] = (uint8_t)draw(256);
        memcpy(bytes + size, tail, more);
        fuzz(bytes, size + more);
    }
}

static void run_mutants(target *fuzz, int runs, const void *seed, size_t size)
{
    uint8_t bytes[4096];
    for (int i = 0; i < runs; i++) fuzz(bytes, mutate(bytes, sizeof bytes, seed, size));
}

/* What the fuzzers found so far: the inputs of tests/fuzz/corpus, each of which reaches lines that the others do not. */
static void replay(const char *name, target *fuzz)
{
    char folder[64];
    int n = 0;
    vdm_error err;
    snprintf(folder, sizeof folder, "tests/fuzz/corpus/%s", name);
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char *path = e->d_name[0] == '.' ? NULL : vdm_path(folder, e->d_name, &err), *bytes;
        size_t size;
        if (path && CHECK(!vdm_read_file(path, 1 << 20, &bytes, &size, &err), "%s", err.text)) {
            fuzz((const uint8_t *)bytes, size);
            vdm_free(bytes);
            n++;
        }
        vdm_free(path);
    }
    if (d) closedir(d);
    CHECK(n > 0, "%s holds no inputs", folder);
}

static void test_safetensors(void)
{
    char path[400], *bytes;
    size_t size;
    vdm_error err;
    const float x[6] = {1, 2, 3, 4, 5, 6};
    vdm_tensor t[] = {
        {"a", VDM_F32, 2, {2, 3}, x, 24}, {"b", VDM_BF16, 1, {4}, x, 8}, {"c", VDM_F4, 1, {2}, x, 1}};
    snprintf(path, sizeof path, "%s/seed", check_folder());
    if (!CHECK(!vdm_safetensors_write(path, t, 3, (const char *const[][2]){{"format", "pt"}}, 1, &err) &&
                   !vdm_read_file(path, 4000, &bytes, &size, &err),
               "%s", err.text))
        return;
    run_mutants(fuzz_safetensors, 3000, bytes, size);
    vdm_free(bytes);
}

static void test_configs(void)
{
    uint8_t seed[512];
    for (int i = 0; i < 4; i++) {
        size_t size = strlen(config_files[i].text);
        seed[0] = (uint8_t)i;
        memcpy(seed + 1, config_files[i].text, size);
        run_mutants(fuzz_config, 150, seed, size + 1);
    }
}

static const char arc_seed[] =
    "{\"train\": [{\"input\": [[1, 2, 0], [3, 4, 5]], \"output\": [[2, 1]]}], \"test\": [{\"input\": [[3, 1]]}]}";
static const char arc_collection[] =
    "{\"a1\": {\"train\": [{\"input\": [[1]], \"output\": [[2]]}], \"test\": [{\"input\": [[3]]}]}, \"b2\": {}}";
static const char result_seed[] =
    "{\"task\": \"a\", \"of\": 2, \"run\": \"--size-rule same\", \"attempts\": 1, \"pairs\": 1, \"cell\": 4, "
    "\"canvas\": \"16x24\", \"palette\": \"arc\", \"tests\": [{\"input\": \"1/2\", \"truth\": \"23\", \"answers\": [\"23\"]}], "
    "\"seconds\": 1.5}\n{\"task\": \"b\", \"of\": 2, \"run\": \"--size-rule same\", \"error\": \"no\", \"seconds\": 0.5}\n";
static const char coco_seed[] =
    "@{\"categories\":[{\"id\":1,\"name\":\"dog\"},{\"id\":\"x\",\"name\":\"cat\"}],\"images\":[{\"id\":5,\"file_name\":"
    "\"a.jpg\",\"height\":6,\"width\":8}],\"annotations\":[{\"image_id\":5,\"category_id\":1,\"area\":9,\"segmentation\":"
    "[[0,0,5,0,5,5.5,0,5]]},{\"image_id\":5,\"category_id\":\"x\",\"segmentation\":{\"size\":[6,8],\"counts\":"
    "[6,2,3,2,35]}}]}";

static const struct {
    const char *name;
    target *fuzz;
} fuzzers[] = {
    {"fuzz_arc", fuzz_arc},       {"fuzz_coco", fuzz_coco},           {"fuzz_compare", fuzz_compare},
    {"fuzz_config", fuzz_config}, {"fuzz_inject", fuzz_inject},       {"fuzz_json", fuzz_json},
    {"fuzz_lora", fuzz_lora},     {"fuzz_picture", fuzz_picture},     {"fuzz_results", fuzz_results},
    {"fuzz_state", fuzz_state},   {"fuzz_tokenizer", fuzz_tokenizer}, {"fuzz_safetensors", fuzz_safetensors}};
static const char json_seed[] =
    "{\"a\": [1, -2.5e-3, true, null, {\"\\u00e9\\ud83d\\ude00\": \"x\\n\"}], \"b\": {\"c\": [], \"d\": 0}}";

int main(void)
{
    int out = dup(1), errors = dup(2), nothing = open("/dev/null", O_WRONLY);
    if (!CHECK(out >= 0 && errors >= 0 && nothing >= 0, "no descriptors")) return check_end("fuzz");
    fflush(stdout);
    dup2(nothing, 1), dup2(nothing, 2); /* what vdm compare prints */
    run_scripts(fuzz_compare, 3000, "x y\n");
    run_scripts(fuzz_lora, 3000, "{\"r\": 2, \"lora_alpha\": 4, \"rank_pattern\": {\"to_q\": 3}}");
    test_safetensors();
    test_configs();
    run_mutants(fuzz_arc, 3000, arc_seed, sizeof arc_seed - 1);
    run_mutants(fuzz_arc, 500, arc_collection, sizeof arc_collection - 1);
    run_mutants(fuzz_results, 3000, result_seed, sizeof result_seed - 1);
    run_mutants(fuzz_coco, 800, coco_seed, sizeof coco_seed - 1);
    run_scripts(fuzz_state, 1500, "");
    run_scripts(fuzz_inject, 60, "");
    for (size_t i = 0; i < sizeof fuzzers / sizeof *fuzzers; i++) replay(fuzzers[i].name, fuzzers[i].fuzz);
    run_mutants(fuzz_json, 20000, json_seed, sizeof json_seed - 1);
    fflush(stdout);
    dup2(out, 1), dup2(errors, 2);
    CHECK(compare_statuses[0] > 50 && compare_statuses[3] > 300,
          "compare: %d agree, %d differ, %d are rejected", compare_statuses[0], compare_statuses[3],
          compare_statuses[1]);
    CHECK(adapters_read > 40, "%d adapters are read", adapters_read);
    CHECK(arc_files_read > 20 && results_lines_read > 20 && coco_tasks_made > 10 && states_read > 50,
          "%d tasks of ARC-AGI, %d results, %d tasks of COCO, %d states are read", arc_files_read,
          results_lines_read, coco_tasks_made, states_read);
    CHECK(documents_parsed > 500 && goldens_written > 5, "%d JSON documents, %d goldens", documents_parsed,
          goldens_written);
    return check_end("fuzz");
}
