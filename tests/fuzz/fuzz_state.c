/* Training states: any tensors and settings, and the rest of the script as the bytes of a file. */
#include "tests/fuzz/script.h"
#include "files/fit_state.h"
#include "vdm.h"

static int states_read;

static void state_read(const char *path)
{
    enum { N = 4, STEPS = 3 };
    static const vdm_fit_setting settings[] = {
        {.name = "steps", .kind = VDM_SETTING_NUMBER, .number = 3},
        {.name = "phi", .kind = VDM_SETTING_WORD, .word = "4", .default_before = "4"},
        {.name = NULL}};
    float *arrays = calloc(3 * N, sizeof *arrays); /* each its own memory: a write past its end is seen */
    vdm_fit_row *rows = calloc(STEPS + 1, sizeof *rows);
    if (!arrays || !rows) abort();
    vdm_fit_state s = {settings, N, arrays, arrays + N, arrays + 2 * N, rows, -1, STEPS};
    vdm_error err = {""};
    int status = vdm_fit_state_read(&s, path, &err);
    if ((status == 0) != (err.text[0] == 0) || (!status && (s.step < 0 || s.step > STEPS))) __builtin_trap();
    states_read += !status;
    free(arrays), free(rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"params", "m", "v", "rows"};
    static script_file file;
    char path[SCRIPT_PATH];
    script s = {.data = data, .size = size};
    script_path(path, "state");
    file.count = 0;
    for (int i = 0; i < 4; i++) { /* as they should be, if the script does not say otherwise */
        vdm_tensor t = {names[i], VDM_F32, 1, {4}, file.data, 0};
        if (i == 3) t.dtype = VDM_F64, t.rank = 2, t.shape[0] = 1 + script_next(&s, 6), t.shape[1] = 4;
        if (script_next(&s, 12) == 1) {
            script_tensor(&file, &s, names + i, 1);
            continue;
        }
        t.bytes = vdm_tensor_bytes(&t);
        file.tensors[file.count++] = t;
    }
    file.metadata[0][0] = "vdm_fit", file.metadata[0][1] = script_next(&s, 12) == 1 ? "2" : "1";
    file.metadata[1][0] = "steps", file.metadata[1][1] = script_next(&s, 12) == 1 ? "4" : "3";
    file.n_metadata = 2;
    script_fill(&file, &s, 1);
    script_write(&file, path);
    state_read(path);
    script_bytes(path, data + s.at, size - s.at);
    state_read(path);
    script_remove(path);
    return 0;
}
