/* What the program does to files that are not its own, and to its own when something fails: outputs over inputs, names
 * without a format, two runs in one folder, closed and full standard output, links, full disks. */
#include "program.h"
#include "tiny.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL "--model model"

static void write_picture(const char *name, int shade)
{
    vdm_error err;
    static uint8_t rgb[32 * 48 * 3];
    vdm_picture p = {32, 48, rgb};
    for (int i = 0; i < 32 * 48 * 3; i++) rgb[i] = (uint8_t)(shade + i / 144 * 5 + i % 3 * 20);
    CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
}

static void write_inputs(void)
{
    expect_shell(0, "", "mkdir task task/train task/test tasks");
    write_picture("task/train/a.in.ppm", 10);
    write_picture("task/train/a.out.ppm", 90);
    write_picture("task/test/b.in.ppm", 40);
    write_picture("task/test/b.out.ppm", 60);
    write_picture("q.ppm", 30);
    for (int i = 0; i < 2; i++)
        write_text(
            i ? "tasks/two.json" : "tasks/one.json",
            "{\"train\": [{\"input\": [[1, 2]], \"output\": [[2, %d]]}], \"test\": [{\"input\": [[3, 1]], \"output\": "
            "[[1, 3]]}]}",
            i);
    expect(0, "1 step on 1 pair", "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o run");
}

/* The command is rejected, and the file is as it was. */
static void rejected(const char *file, const char *piece, const char *words)
{
    expect_shell(0, "", "cp %s before", file);
    expect(1, piece, "%s", words);
    expect_same(file, "before", true);
}

static void check_outputs_over_inputs(void)
{
    expect_shell(0, "",
                 "ln -s q.ppm link.ppm; ln q.ppm hard.ppm; cp run/lora.safetensors l.safetensors; "
                 "rm run/state.safetensors");
    expect(0, "", "golden " MODEL " --size 32x48 --what vae-encode -o ref.g --only '*.conv_in'");
    rejected("q.ppm", "would replace", "predict " MODEL " --image q.ppm -o ./q.ppm");
    rejected("q.ppm", "would replace", "predict " MODEL " --image link.ppm -o q.ppm");
    rejected("q.ppm", "would replace", "predict " MODEL " --image hard.ppm -o task/../q.ppm");
    rejected("q.ppm", "would replace", "interp q.ppm q.ppm -o q.ppm");
    expect_shell(0, "", "cp ref.g got.g");
    rejected("ref.g", "would replace", "compare ref.g got.g --html ./ref.g");
    rejected("l.safetensors", "would replace",
             "predict " MODEL " --image q.ppm -o n.ppm --lora l.safetensors --dump l.safetensors");
    rejected("l.safetensors", "would replace",
             "predict " MODEL " --image q.ppm -o n.ppm --lora l.safetensors:0.5 --dump l.safetensors");
    rejected("run/lora.safetensors", "would replace",
             "demo task " MODEL
             " --steps 1 --limit 1 --init run/lora.safetensors -o run"); /* a folder without a state */
    rejected("model/vae/config.json", "among the files of model",
             "golden " MODEL " --what vae-encode -o model/vae/config.json");
    expect_shell(0, "", ": > model/prompt_embeds.safetensors");
    rejected("model/prompt_embeds.safetensors", "would replace model",
             "golden " MODEL " --what vae-encode -o model/prompt_embeds.safetensors");
    expect_shell(0, "", "rm model/prompt_embeds.safetensors");
    rejected("task/test/b.in.ppm", "among the files of task",
             "eval task " MODEL " --sample-steps 1 -o task/test");
    static const char *const into_the_task[] = {"eval task " MODEL " --sample-steps 1 -o task/test/answers",
                                                "fit task " MODEL " --steps 1 -o task/train/run/",
                                                "demo task " MODEL " --steps 1 -o ./task/../task/train/demo"};
    for (int i = 0; i < 3; i++) rejected("task/test/b.in.ppm", "among the files of task", into_the_task[i]);
    expect_shell(0, "", "test $(ls task/train task/test | wc -l) = 7"); /* no folder was made there */
    expect_shell(1, "", "test -e n.ppm");
}

static void check_two_outputs_of_one_file(void)
{
    expect(1, "two files for two outputs", "predict " MODEL " --image q.ppm -o n.ppm --dump ./n.ppm");
    expect_shell(0, "", "ln -s n.y4m m.y4m; : > n.y4m");
    expect(1, "two files for two outputs",
           "predict " MODEL " --image q.ppm -o n.png --video n.y4m --dump m.y4m");
    expect_shell(1, "", "test -e n.ppm");
    expect(0, "", "predict " MODEL " --image q.ppm -o fine.png --sample-steps 1 --video fine.y4m");
}

/* Before the model is loaded. */
static void check_endings(void)
{
    expect(1, ".png or .ppm", "predict " MODEL " --image q.ppm -o answer.jpg --video v.y4m");
    CHECK(!strstr(printed, "loaded in"), "found out after the model was loaded: %s", printed);
    expect(1, "ffmpeg", "predict " MODEL " --image q.ppm -o answer.png --video v.mp4");
    expect(1, "found ''", "predict " MODEL " --image q.ppm -o answer");
    expect(1, "expected .y4m", "interp q.ppm q.ppm -o v.gif");
    /* golden writes its command into the file */
    expect(1, "expected text in UTF-8", "golden none -o \"$(printf 'a\\377').g\"");
    expect_shell(1, "", "test -e v.gif || test -e v.mp4 || test -e answer.jpg || test -e v.y4m");
}

/* A task of grids, and answers to vote on. */
static void write_votes(void)
{
    expect(0, "", "tasks recolour -n 2 --tests 1 -o grids");
    expect_shell(0, "", "mkdir answers; cp grids/test/0000.out.ppm answers/0000.ppm");
}

static void check_one_run_in_a_folder(void)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    write_votes();
    expect_shell(0, "", "mkdir busy");
    int fd = open("busy/lock", O_RDWR | O_CREAT, 0666);
    CHECK(fd >= 0 && fcntl(fd, F_SETLK, &l) == 0, "the test can't lock a file");
    expect(1, "another run is writing", "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o busy");
    expect(1, "another run is writing", "demo task " MODEL " --steps 1 --limit 1 -o busy");
    expect(1, "another run is writing", "eval task " MODEL " --sample-steps 1 -o busy");
    expect(1, "another run is writing", "vote grids answers -o busy");
    expect_shell(0, "", ": > answers/lock");
    expect(1, "answers: expected a run of 'vdm eval' that has ended, found its lock",
           "vote grids answers -o free");
    expect_shell(0, "", "rm answers/lock");
    expect_shell(0, "lock", "ls busy");
    close(fd);
    expect_shell(
        0, "", ": > busy/lora.safetensors.12.0.part; : > busy/mine.12.0.part"); /* a killed run's, and not */
    expect(0, "", "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o busy");
    expect_shell(1, "", "test -e busy/lock || test -e busy/lora.safetensors.12.0.part");
    expect_shell(0, "", "test -e busy/mine.12.0.part");
}

/* A user's file that has the name of a lock stays. */
static void check_users_lock(void)
{
    static const char *const words[] = {"fit task " MODEL " --steps 1 --rank 2 --batch 1 -o users",
                                        "fit task " MODEL " --steps 1 --rank 2 --batch 1 --resume -o users",
                                        "eval task " MODEL " --sample-steps 1 -o users",
                                        "demo task " MODEL " --steps 1 --limit 1 -o users",
                                        "demo recolour " MODEL " --steps 1 --limit 1 -o users",
                                        "arc tasks " MODEL " --size 32x48 --steps 1 --out users.jsonl"};
    expect_shell(
        0, "",
        "mkdir users users.jsonl.work; echo precious > users/lock; echo precious > users.jsonl.work/lock");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        expect(1, "/lock: expected vdm's lock, an empty file, or none, found another file", "%s", words[i]);
    expect_shell(0, "precious\nprecious\n",
                 "cat users/lock users.jsonl.work/lock; rm users/lock; : > empty; ln -s ../empty users/lock");
    expect(1, "found another file", "%s", words[0]);
    expect_shell(0, "", "rm users/lock; test -e empty; : > users/lock");
    expect(0, "1 step on", "%s", words[0]); /* a killed run's */
}

/* Two runs on one file of results, started at once: every task has one line, whichever comes first. */
static void check_two_arcs(void)
{
    const char *const arc =
        "arc tasks " MODEL " --size 32x48 --steps 1 --batch 1 --rank 2 --sample-steps 1 --out two.jsonl";
    for (int i = 0; i < 8; i++) {
        expect_shell(
            0, "",
            "rm -rf two.jsonl*; (\"$VDM\" %s >a.txt 2>&1; echo $? >>a.txt) & (\"$VDM\" %s >b.txt 2>&1; echo "
            "$? >>b.txt) & wait; cat a.txt b.txt",
            arc, arc);
        expect_shell(
            0, "",
            "for f in a b; do tail -n 1 $f.txt | grep -qx 0 || grep -q 'another run is writing' $f.txt "
            "|| exit 1; done");
        expect_shell(0, "2", "grep -c task two.jsonl; ! test -e two.jsonl.work");
        expect(0, "all                      2", "arc --report two.jsonl -o two.html");
    }
}

static void check_standard_streams(void)
{
    const char *const arc =
        "arc tasks " MODEL " --size 32x48 --steps 1 --batch 1 --rank 2 --sample-steps 1 --out";
    expect_shell(0, "", "\"$VDM\" %s closed.jsonl >&- 2>&- <&-", arc);
    expect(0, "2 tasks", "%s open.jsonl", arc);
    expect_shell(
        0, "",
        "for f in open closed; do sed 's/\"seconds.*//' $f.jsonl > $f.txt; done; cmp open.txt closed.txt");
    if (access("/dev/full", W_OK)) return;
    expect_shell(1, "standard output", "\"$VDM\" tasks 2>&1 >/dev/full");
    expect_shell(1, "No space left", "\"$VDM\" compare ref.g got.g 2>&1 >/dev/full");
    expect_shell(2, "is not a command", "\"$VDM\" nonsense 2>&1 >/dev/full");
}

static void check_arc_files(void)
{
    const char *const arc =
        "arc tasks " MODEL " --size 32x48 --steps 1 --batch 1 --rank 2 --sample-steps 1 --out";
    write_text("notes.txt", "my only copy, without newline");
    expect_shell(0, "", "cp notes.txt before");
    expect(1, "left as it is", "%s notes.txt", arc);
    expect_same("notes.txt", "before", true);
    write_text("half.jsonl", "{\"task\": \"on"); /* a killed run's */
    expect(0, "2 tasks", "%s half.jsonl", arc);
    expect_shell(0, "", "mkdir other; : > other/lora.safetensors; ln -s other linked.jsonl.work");
    expect(1, "found a link", "%s linked.jsonl", arc);
    expect_shell(0, "", "test -e other/lora.safetensors");
    expect_shell(0, "", "cp -r tasks names; cp tasks/one.json \"names/$(printf 'a\\377').json\"");
    expect(1, "UTF-8", "arc names " MODEL " --size 32x48 --out names.jsonl");
    expect(2, "--shard: expected I/N", "%s shard.jsonl --shard 0/3", arc);
}

/* A link in the place of the folder of a task: its name is a function of the run, so it is known beforehand. */
static void check_arc_work_link(void)
{
    const char *const arc =
        "arc tasks " MODEL " --size 32x48 --steps 100000 --batch 1 --rank 2 --save-every 1 --out";
    expect_shell(
        0, "",
        "\"$VDM\" %s work.jsonl & for i in $(seq 300); do ls work.jsonl.work/*/state.safetensors && break; "
        "sleep 0.1; done; kill -9 $!; wait",
        arc);
    expect_shell(
        0, "",
        "cd work.jsonl.work; for d in *; do if [ -d $d ]; then mv $d ../precious; ln -s ../precious $d; fi; done");
    expect(1, "found a link", "%s work.jsonl", arc);
    expect_shell(0, "", "ls precious/*");
}

/* No answer is known: not solved and not unsolved. */
static void check_unknown_answers(void)
{
    static const char *const line =
        "{\"task\": \"%s\", \"of\": 2, \"run\": \"r\", \"attempts\": 1, \"pairs\": 1, \"cell\": 8, "
        "\"canvas\": \"%s\", \"palette\": \"arc\", \"tests\": [{\"input\": \"1\", \"truth\": \"%s\", "
        "\"answers\": [\"1\"]}], \"seconds\": 1}\n";
    char text[1024];
    int n = snprintf(text, sizeof text, line, "a", "64x64", "1");
    snprintf(text + n, sizeof text - (size_t)n, line, "b", "64x64", "");
    write_text("hidden.jsonl", "%s", text);
    expect(0, "1 task without known answer", "arc --report hidden.jsonl -o hidden.html");
    CHECK(strstr(printed, "100.00%") && !strstr(printed, "50.00%") && !strstr(printed, "no result yet"), "%s",
          printed);
    expect_shell(0, "", "grep -q '1 of 1 task solved' hidden.html");
    expect_shell(0, "",
                 "(sed -n 1p hidden.jsonl | sed 's/\"pairs\": 1/\"pairs\": 63/'; sed -n 1p hidden.jsonl | "
                 "sed 's/\"pairs\": 1/\"pairs\": 70/; s/\"a\"/\"c\"/') > many.jsonl");
    expect(0, "63 pairs or more         2", "arc --report many.jsonl -o hidden.html");
    snprintf(text, sizeof text, line, "a", "-1x5abc", "1");
    write_text("canvas.jsonl", "%s", text);
    expect(1, "-1x5abc", "arc --report canvas.jsonl -o hidden.html");
    expect(1, "would replace", "arc --report hidden.jsonl -o ./hidden.jsonl");
}

/* A run that has no answer yet leaves the table of the run before. */
static void check_scores_stay(void)
{
    expect(0, "1 answered", "eval task " MODEL " --sample-steps 1 -o scores");
    expect_shell(0, "",
                 "cp scores/scores.csv before; cp -r task broken; head -c 20 q.ppm > broken/test/b.in.ppm");
    expect(1, "", "eval broken " MODEL " --size 32x48 --sample-steps 1 -o scores");
    expect_same("scores/scores.csv", "before", true);
    expect(2, "from 1 to 1000", "eval task " MODEL " --sample-steps 3000 -o scores");
    expect_shell(
        0, "",
        "cp -r task odd; mv odd/test/b.in.ppm 'odd/test/=1+b.in.ppm'; mv odd/test/b.out.ppm 'odd/test/=1+b.out.ppm'");
    expect(0, "1 answered", "eval odd " MODEL " --sample-steps 1 -o odd/answers");
    expect_shell(0, "'=1+b,", "cat odd/answers/scores.csv");
}

/* A user's file that has the name of an output stays, unless the folder has a page of the same command. */
static void check_users_files(void)
{
    static const struct {
        const char *words, *files[5];
    } cases[] = {
        {"eval task " MODEL " --sample-steps 1", {"b.ppm", "scores.csv", "report.html"}},
        {"fit task " MODEL " --steps 1 --rank 2 --batch 1", {"lora.safetensors", "train.csv", "report.html"}},
        {"demo task " MODEL " --steps 1 --rank 2 --limit 1",
         {"lora.safetensors", "train.csv", "scores.csv", "strip.png", "demo.html"}},
        {"demo recolour " MODEL " --steps 1 --rank 2 --limit 1",
         {"lora.safetensors", "train.csv", "scores.csv", "strip.png", "demo.html"}},
        {"vote grids answers", {"0000.ppm", "scores.csv", "report.html"}},
        {"arc tasks/one.json " MODEL " --size 32x48 --steps 1",
         {"lora.safetensors", "train.csv", "arc.html"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int k = 0; k < 5 && cases[i].files[k]; k++) {
            expect_shell(0, "", "rm -rf mine mine.0; mkdir mine; echo precious > mine/%s; cp -r mine mine.0",
                         cases[i].files[k]);
            expect(1, cases[i].files[k], "%s -o mine", cases[i].words);
            CHECK(!strstr(printed, "loaded in"), "found out after the model was loaded: %s", printed);
            expect_shell(0, "", "diff -r mine mine.0");
        }
    expect(1, "mine/arc.html: expected no such file in a folder without a run of 'vdm arc', found one",
           "arc tasks/one.json " MODEL " --size 32x48 --steps 1 -o mine");
    expect(0, "2 tasks",
           "arc tasks " MODEL " --size 32x48 --steps 1 --rank 2 --sample-steps 1 --out mine.jsonl");
    expect_shell(0, "", "echo precious > arc.html; cp arc.html before");
    rejected("arc.html",
             "arc.html: expected no such file, or a page of 'vdm arc --report', found another one",
             "arc --report mine.jsonl");
    rejected("arc.html", "found another one", "arc --report mine.jsonl -o ./arc.html");
    expect_shell(0, "", "rm arc.html");
    for (int i = 0; i < 2; i++) expect(0, "", "arc --report mine.jsonl");
    rejected("arc.html",
             "./arc.html: expected no such file in a folder without a run of 'vdm arc', found one",
             "arc tasks/one.json " MODEL " --size 32x48 --steps 1 -o .");
}

/* An output replaces an earlier one of its kind, and an empty file; a file of another kind stays as it is. */
static void check_other_kinds(void)
{
    static const char fit[] = "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o dumped --dump",
                      predict[] = "predict " MODEL " --image q.ppm -o n.png --sample-steps 1 --dump",
                      golden[] = "golden " MODEL " --size 32x48 --what vae-encode --only '*.conv_in' -o",
                      page[] = "compare ref.g got.g --html", bench[] = "bench norm --quick --runs 1 --json",
                      report[] = "arc --report mine.jsonl -o", prompt[] = "prompt hello --model encoder -o";
    /* words, a new name, files that are not replaced */
    static const struct {
        const char *words, *mine, *others[5];
    } cases[] = {{golden, "k.g", {"l.safetensors", "weights.st", "q.ppm", "k.fit", "k.st"}},
                 {predict, "k.st", {"l.safetensors", "weights.st", "notes.md", "k.g", "k.fit"}},
                 {prompt, "k.p", {"l.safetensors", "weights.st", "k.g", "notes.md", "k.st"}},
                 {page, "k.html", {"users.html", "run/report.html", "arc.html"}},
                 {bench, "k.json", {"tasks/one.json", "k2.json", "model/vae/config.json"}},
                 {report, "k2.json", {"tasks/one.json", "k.json", "none.json", "half.json"}},
                 {report, "k2.html", {"users.html", "run/report.html", "k.html", "arc/arc.html"}}};
    write_text("notes.md", "precious");
    write_text("users.html", "<pre><code>ls</code></pre>");
    write_text("none.json", "{\"a\": []}");
    write_text("half.json", "{\"a\": [{\"attempt_1\": [[1]]}]}");
    expect_shell(0, "", "cp model/vae/*.safetensors weights.st");
    expect(0, "", "%s k.fit", fit);
    expect_shell(0, "", "rm -r dumped");
    rejected("l.safetensors",
             "l.safetensors: expected no such file, or tensors of 'vdm fit --dump', found another",
             "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o dumped --dump l.safetensors");
    expect(0, "", "%s k.fit", fit);
    expect(0, "", "arc tasks/one.json " MODEL " --size 32x48 --steps 1 --sample-steps 1");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_shell(0, "", ": > %s", cases[i].mine);
        for (int k = 0; k < 2; k++) expect(0, "", "%s %s", cases[i].words, cases[i].mine);
    }
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int k = 0; k < 5 && cases[i].others[k]; k++) {
            expect_shell(0, "", "cp %s before", cases[i].others[k]);
            expect(1, "found another one, which would be replaced", "%s %s", cases[i].words,
                   cases[i].others[k]);
            CHECK(!strstr(printed, "loaded in"), "found out after the model was loaded: %s", printed);
            expect_same(cases[i].others[k], "before", true);
        }
    rejected("mine.jsonl", "mine.jsonl: this output would replace", "arc --report mine.jsonl -o mine.jsonl");
    expect_shell(0, "", "cp mine.jsonl mine2.jsonl");
    rejected("mine2.jsonl", "mine2.jsonl: expected a name that ends in .html, for a page, or in .json",
             "arc --report mine.jsonl -o mine2.jsonl");
    rejected("l.safetensors", "ends in .html", "compare ref.g got.g --html l.safetensors");
    rejected("l.safetensors", "ends in .json", "bench norm --quick --runs 1 --json l.safetensors");
}

/* The pictures of a task that the command does not read as a task. */
static void check_outside_tasks(void)
{
    static const char says[] = "this output would be among the files of a task";
    expect_shell(
        0, "", "cp -r task foreign; cp task/test/b.out.ppm foreign/test/c.out.ppm; ln -s foreign/test link");
    rejected("foreign/test/c.out.ppm", says,
             "predict " MODEL " --image foreign/test/b.in.ppm -o foreign/test/c.out.ppm --sample-steps 1");
    rejected("foreign/test/c.out.ppm", says, "interp q.ppm q.ppm -o link/c.out.ppm");
    rejected("foreign/train/a.out.ppm", says, "interp q.ppm q.ppm -o foreign/train/a.out.ppm");
    rejected("foreign/test/b.in.ppm", says, "predict " MODEL " --image q.ppm -o n.ppm --dump foreign/test/d");
    expect_shell(1, says, "cd foreign/test && \"$VDM\" interp ../../q.ppm ../../q.ppm -o c.out.ppm");
    expect_shell(0, "",
                 "test $(ls foreign/test | wc -l) = 3 && cmp foreign/test/c.out.ppm task/test/b.out.ppm");
    expect(0, "", "interp q.ppm q.ppm -o foreign/strip.png"); /* it is not among the pictures */
    expect_shell(0, "", "mkdir train test");
    expect(0, "", "interp q.ppm q.ppm -o test/strip.png"); /* no task */
    expect_shell(0, "", "rm -r train test link foreign");
}

/* An evaluation that is stopped leaves no page that shows an earlier one; a shorter one reports what it leaves. */
static void check_stopped_eval(void)
{
    const char *const eval =
        "eval stopped " MODEL " --sample-steps 2 --ensemble 64 --train-pairs 0 -o stopped.run";
    expect_shell(0, "",
                 "cp -r task stopped; for i in c d e; do cp task/test/b.in.ppm stopped/test/$i.in.ppm; done");
    expect(0, "4 answered", "%s --seed 1", eval);
    CHECK(!strstr(printed, "not from this run"), "%s", printed);
    expect_shell(0, "", "! grep -q 'not finished' stopped.run/report.html");
    expect_shell(
        1, "interrupted",
        "\"$VDM\" %s & for i in $(seq 500); do grep -q 'not finished' stopped.run/report.html && break; "
        "sleep 0.02; done; kill $!; wait $!",
        eval);
    expect_shell(0, "", "grep -q '<code>vdm eval</code>' stopped.run/report.html");
    expect(0, "4 answered", "%s", eval); /* the folder is still its own */
    expect_shell(0, "", "! grep -q 'not finished' stopped.run/report.html");
    expect(0, "stopped.run: 3 pictures in this folder (NAME.ppm) are not from this run", "%s --limit 1",
           eval);
}

/* What a task or a command names wrong is found before the model is loaded, and named. */
static void rejected_early(const char *piece, const char *words)
{
    expect(1, piece, "%s", words);
    CHECK(!strstr(printed, "loaded in"), "vdm %s: found out after the model was loaded: %s", words, printed);
}

static void check_early(void)
{
    expect_shell(0, "", "cp -r task pipe; rm pipe/train/a.in.ppm; mkfifo pipe/train/a.in.ppm");
    rejected_early("pipe/train/a.in.ppm: expected a picture, found a device or pipe",
                   "fit pipe " MODEL " --steps 1 -o early");
    expect_shell(0, "", "cp -r task short; head -c 3000 task/test/b.in.ppm > short/test/c.in.ppm");
    rejected_early("short/test/c.in.ppm: pixels: found", "eval short " MODEL " --sample-steps 1 -o early");
    expect_shell(0, "", "cp -r task black");
    write_text("black/task.json", "{\"phi\": \"black:8\"}");
    rejected_early("frames: found 9, expected 10", "fit black " MODEL " --steps 1 -o early");
    rejected_early("tiles for a picture of 32 x 48",
                   "fit task " MODEL " --phi tiles:33x1 --steps 1 -o early");
    write_text("black/task.json", "{\"metric\": \"cells\", \"grid\": {\"rows\": 4, \"cols\": 4, \"cell\": 9, "
                                  "\"border\": 0}}");
    rejected_early("expected one that fits into 32x48", "fit black " MODEL " --steps 1 -o early");
    write_text("dot.ppm", "P3 1 1 255 1 2 3");
    rejected_early("dot.ppm: height: found 1, expected a multiple of 16",
                   "predict " MODEL " --image dot.ppm -o n.ppm");
    rejected_early("model/vae: expected a model's folder, with transformer/",
                   "predict --model model/vae --image q.ppm -o n.ppm");
    rejected_early("q.ppm: expected a model's folder", "predict --model q.ppm --image q.ppm -o n.ppm");
    expect_shell(0, "", "ln -s . tasks/self");
    rejected_early("tasks/self: expected a folder of tasks, found a link to a folder that it is in",
                   "arc tasks " MODEL " --size 32x48 --out loop.jsonl");
    expect_shell(0, "", "rm tasks/self");
    expect_shell(1, "", "test -e loop.jsonl || test -e n.ppm || test -e early/lora.safetensors");
}

/* The same adapter, with alpha in other keys of the metadata or nowhere; the same is printed when it is used. */
static void check_alpha_info(void)
{
    static const struct {
        const char *key, *text, *info, *used;
    } cases[] = {
        {"ss_network_alpha", "1", "alpha 1 (ss_network_alpha)", "rank 2, alpha 1, weight 1\n"},
        {"lora_alpha", "1", "alpha 1 (lora_alpha)", "rank 2, alpha 1, weight 1\n"},
        {"lora_config", "{\"r\": 2, \"lora_alpha\": 1}", "its metadata:\n", "rank 2, alpha 1, weight 1\n"},
        {"other", "1", "no alpha, so that alpha = rank",
         "rank 2, alpha 2, weight 1; the file has no alpha for 8 modules: their scale is 1\n"}};
    for (int i = 0; i < 4; i++) {
        const char *const metadata[][2] = {{cases[i].key, cases[i].text}};
        vdm_safetensors f;
        vdm_error err;
        if (!CHECK(vdm_safetensors_open(&f, "l.safetensors", &err) == 0, "%s", err.text)) return;
        CHECK(vdm_safetensors_write("alpha.safetensors", f.tensors, (int)f.count, metadata, 1, &err) == 0,
              "%s", err.text);
        vdm_safetensors_close(&f);
        expect(0, cases[i].info, "info alpha.safetensors");
        expect(0, cases[i].used,
               "predict " MODEL " --image q.ppm -o n.ppm --sample-steps 1 --lora alpha.safetensors");
    }
    expect(0, "alpha 2; the file has no alpha for 8 modules: their scale is 1\n",
           "fit task " MODEL " --steps 1 --batch 1 --init alpha.safetensors -o from.alpha");
}

/* What info tells of an adapter is true in every spelling. */
static void check_adapter_info(void)
{
    static const float x[12] = {1};
    static const char q[] = "lora_unet_transformer_blocks_0_attn1_to_q",
                      k[] = "lora_unet_transformer_blocks_0_attn1_to_k";
    char names[5][80];
    vdm_tensor t[] = {{names[0], VDM_F32, 2, {2, 4}, x, 32},
                      {names[1], VDM_F32, 2, {4, 2}, x, 32},
                      {names[2], VDM_F32, 0, {0}, x, 4},
                      {names[3], VDM_F32, 2, {3, 4}, x, 48},
                      {names[4], VDM_F32, 2, {4, 3}, x, 48}};
    vdm_error err;
    snprintf(names[0], sizeof names[0], "%s.lora_down.weight", q),
        snprintf(names[1], sizeof names[1], "%s.lora_up.weight", q);
    snprintf(names[2], sizeof names[2], "%s.alpha", q);
    snprintf(names[3], sizeof names[3], "%s.lora_down.weight", k),
        snprintf(names[4], sizeof names[4], "%s.lora_up.weight", k);
    CHECK(vdm_safetensors_write(path_of("kohya.safetensors"), t, 5, NULL, 0, &err) == 0, "%s", err.text);
    expect(0, "an adapter of rank 2 to 3 on 2 modules; alpha of each in a tensor", "info kohya.safetensors");
    check_alpha_info();
}

/* One input with two outputs. */
static void check_contradictions(void)
{
    vdm_error err;
    static const char *const fit = "fit twice " MODEL " --steps 1 --rank 2 --batch 1";
    vdm_picture p;
    expect_shell(0, "", "cp -r task twice; cp task/train/a.out.ppm twice/train/b.out.ppm");
    if (CHECK(!vdm_picture_read(&p, "task/train/a.in.ppm", &err), "%s", err.text))
        CHECK(!vdm_picture_write(&p, "twice/train/b.in.png", &err), "%s", err.text);
    expect(0, "2 pairs", "%s -o twice.0", fit); /* the same pair twice is no contradiction */
    CHECK(!strstr(printed, "different outputs"), "%s", printed);
    p.rgb[7] ^= 1;
    CHECK(!vdm_picture_write(&p, "twice/train/b.out.ppm", &err), "%s", err.text);
    vdm_picture_free(&p);
    expect(0, "twice/train/a.in.ppm and twice/train/b.in.png: the same input with different outputs",
           "%s -o twice.1", fit);
    CHECK(strstr(printed, "2 pairs") && !strstr(printed, "such pairs"), "%s", printed);
    expect(0, "on 1 pair", "%s --shots 1 -o twice.2", fit);
    CHECK(!strstr(printed, "different outputs"), "%s", printed);
    expect_shell(
        0, "", "cp twice/train/a.in.ppm twice/train/c.in.ppm; cp twice/train/a.in.ppm twice/train/c.out.ppm");
    expect(0, "which can't both be learned; there are 2 such pairs", "%s -o twice.3", fit);
    write_text("twice.json",
               "{\"train\": [{\"input\": [[1, 2]], \"output\": [[2, 1]]}, {\"input\": [[1, 2]], "
               "\"output\": [[2, 2]]}], \"test\": [{\"input\": [[3, 2]], \"output\": [[2, 3]]}]}");
    const char *const says = "twice.json: train[0] and twice.json: train[1]: the same input";
    expect(0, says, "fit twice.json " MODEL " --size 32x48 --steps 1 --rank 2 -o twice.4");
    expect(0, says, "arc twice.json " MODEL " --size 32x48 --steps 1 --sample-steps 1 --augment 2");
    CHECK(!strstr(printed, "such pairs") && !strstr(printed, "training inputs too"), "%s", printed);
}

/* Runs that mean less than they seem to say so. */
static void check_warnings(void)
{
    expect_shell(0, "", "cp -r task seen; cp seen/train/a.in.ppm seen/test/a.in.ppm");
    expect(0, "1 of 2 test inputs are training inputs too", "eval seen " MODEL " --sample-steps 1");
    expect(0, "1 answered", "eval task " MODEL " --sample-steps 1");
    CHECK(!strstr(printed, "training inputs too"), "%s", printed);
    write_text("seen.json",
               "{\"train\": [{\"input\": [[1, 2]], \"output\": [[2, 1]]}], \"test\": [{\"input\": [[1, 2]], "
               "\"output\": [[2, 1]]}, {\"input\": [[1], [2]], \"output\": [[2], [1]]}]}");
    expect(0, "1 of 2 test inputs are training", "eval seen.json " MODEL " --size 32x48 --sample-steps 1");
    expect(0, "1 of 2 test inputs are training",
           "arc seen.json " MODEL " --size 32x48 --steps 1 --sample-steps 1");
    expect_shell(0, "", "rm seen/test/a.in.ppm");
    vdm_picture p;
    vdm_error err;
    if (CHECK(!vdm_picture_read(&p, "seen/train/a.in.ppm", &err), "%s", err.text))
        CHECK(!vdm_picture_write(&p, "seen/test/a.in.png", &err), "%s", err.text); /* the same pixels */
    vdm_picture_free(&p);
    expect(0, "1 of 2 test inputs are training inputs too", "eval seen " MODEL " --sample-steps 1");
    check_contradictions();
    expect(0, "the learning rate reaches 0.01 of 0.1",
           "fit task " MODEL " --steps 2 --lr 0.1 --schedule warmup --warmup 10 --plan");
    expect(0, "", "fit task " MODEL " --steps 10 --lr 0.1 --schedule warmup --warmup 10 --plan");
    CHECK(!strstr(printed, "longer than the run"), "%s", printed);
}

/* ulimit -f: a write that fails, not a signal; the sentence ends with the reason, however long the path is. */
static void check_limits(void)
{
    expect_shell(1, "can't be written: File too large",
                 "(ulimit -f 8; \"$VDM\" golden " MODEL " --size 32x48 --what vae-encode -o large.g)");
    expect_shell(0, "", "! ls large.g*");
    expect_shell(1, ": No such file or directory",
                 "\"$VDM\" predict " MODEL " --image $(printf 'folder/%%.0s' $(seq 500))x.ppm -o n.ppm");
    CHECK(strncmp(printed, "vdm: folder/folder/", 19) == 0 && strstr(printed, " ... "), "%s", printed);
}

/* A signal stops golden, which then leaves no part of a file. */
static void check_golden_stops(void)
{
    expect_shell(
        1, "interrupted",
        "\"$VDM\" golden " MODEL " --size 32x48 --what train --steps 1000 -o long.g & "
        "for i in $(seq 3000); do ls long.g.* 2>/dev/null && break; sleep 0.01; done; kill $!; wait $!");
    expect_shell(0, "", "! ls long.g* 2>/dev/null");
    expect_shell(
        1, "interrupted at tensor",
        "\"$VDM\" golden " MODEL " --size 32x48 --batch 512 --only '*' -o long.g & "
        "for i in $(seq 3000); do ls long.g.* 2>/dev/null && break; sleep 0.01; done; kill $!; wait $!");
    expect_shell(0, "", "! ls long.g* 2>/dev/null");
}

static void check_threads(void)
{
    expect(0, "more than the", "predict " MODEL " --image q.ppm --plan --threads 100");
    expect(0, "", "predict " MODEL " --image q.ppm --plan --threads 1");
    CHECK(!strstr(printed, "more than the"), "%s", printed);
}

int main(void)
{
    vdm_error err;
    unsetenv("VDM_MODEL");
    if (!find_program()) return check_end("outputs");
    expect_shell(0, "", "cp -r tests/golden/1.5-5B-I2V @/encoder");
    if (!CHECK(chdir(check_folder()) == 0, "the test can't enter its folder")) return check_end("outputs");
    CHECK(tiny_write(path_of("model"), TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_inputs();
    check_outputs_over_inputs();
    check_two_outputs_of_one_file();
    check_endings();
    check_one_run_in_a_folder();
    check_users_lock();
    check_two_arcs();
    check_standard_streams();
    check_arc_files();
    check_arc_work_link();
    check_unknown_answers();
    check_scores_stay();
    check_users_files();
    check_other_kinds();
    check_outside_tasks();
    check_stopped_eval();
    check_early();
    check_adapter_info();
    check_warnings();
    check_limits();
    check_golden_stops();
    check_threads();
    return check_end("outputs");
}
