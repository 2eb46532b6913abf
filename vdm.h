/* vdm: few-shot learning with video diffusion models, in plain C.
 *
 * A frozen CogVideoX image-to-video model learns an image task from a few pairs (x, y): every pair
 * becomes a short video that turns x into y, LoRA adapters are trained on those videos, and a new
 * image is answered by generating a video from it and keeping the last frame (arXiv 2506.07280).
 *
 *   pair -> interp -> video -> vae -> latents -> lora (vdm) -> adapter
 *   query -> vae -> sampler (vdm + adapter) -> latents -> vae -> last frame -> task
 *
 * This header is the manual. Reading order of the sources: vdm.c, vae.c, sampler.c, lora.c, interp.c,
 * then kernels.c for how it is made fast, safetensors.c, model.c, io.c and task.c for files; t5.c and
 * tokenizer.c for prompts.
 *
 * Size letters, the same in every file. Arrays are row-major, the last index runs fastest.
 *   B  videos in a batch               T  frames of a video            H, W  its height, width (pixels)
 *   F  latent frames, padding included h, w  latent height, width      C  latent channels (16)
 *   D  width of the transformer        A  attention heads              Dh  width of a head, D / A
 *   L  text tokens                     V  video tokens                 S  L + V, text first
 *   Dt width of a text embedding       E  width of the time embedding  R  rank of a LoRA adapter
 *   M  videos of an ensemble
 *
 * Layouts at the borders of the library:
 *   picture  [H,W,3]   8 bit RGB             video   [T,3,H,W]  f32 in -1..1 (frames: 0..1)
 *   latents  [F,C,h,w] f32                   text    [L,Dt]     f32
 *
 * Conventions
 *   A function that can fail returns 0, or -1 with one sentence in *err that names the file, the
 *   field, what was found and what was expected. The library never prints, exits or aborts, and
 *   has no global state. Gradients are called d + name and are added to (+=), never overwritten.
 *   The same inputs give the same bits on every instruction set, compiler and number of threads.
 *
 * "diffusers" is the Hugging Face library whose CogVideoX classes are mirrored, named at each layer. */
#ifndef VDM_H
#define VDM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define VDM_VERSION "0.1.0"

/* Limits of the readers, each with its reason. Whatever exceeds one is refused by name. */
enum {
    VDM_MAX_RANK = 8,                 /* dimensions of a tensor: weights have at most 5 */
    VDM_MAX_HEADER = 100000000,       /* bytes of a safetensors header: the format's own limit */
    VDM_MAX_TENSORS = 1000000,        /* tensors in a file: the largest published has 1,028 */
    VDM_MAX_NAME = 1024,              /* bytes of a tensor's name */
    VDM_MAX_JSON_DEPTH = 64,          /* nesting of JSON: configurations need 4 */
    VDM_MAX_JSON = 64 * 1024 * 1024,  /* bytes of a JSON file other than a header */
    VDM_MAX_SIDE = 16384,             /* pixels of a picture's side */
    VDM_MAX_FRAMES = 1025,            /* frames of a video */
    VDM_MAX_LORA_RANK = 65536,        /* of an adapter, or several joined: published are at most 256 */
    VDM_MAX_PAIRS = 100000,           /* pictures in one part of a task folder */
    VDM_MAX_TOKENIZER = 64 * 1024 * 1024, /* bytes of a spiece.model: T5's has 800,000 */
    VDM_MAX_PIECES = 1000000,         /* a tokenizer's vocabulary: T5's has 32,000 */
    VDM_MAX_PROMPT = 65536            /* bytes of a prompt: 226 tokens are some 1,000 */
};

/* ------------------------------------------------------------------------------------------------
 * Errors, memory, files, the machine (system.c) */

typedef struct vdm_error {
    char text[1024]; /* one sentence, no newline at its end */
} vdm_error;

/* Writes the sentence and returns -1, so that callers can say `return vdm_fail(err, ...)`. */
int vdm_fail(vdm_error *err, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 2, 3)))
#endif
    ;

/* Names in files may hold anything. In place, what a terminal would not show becomes '?': control characters,
 * and bytes that are no UTF-8. vdm_fail does so with its sentence. */
void vdm_clean(char *text);
/* Bytes of the UTF-8 character that the `size` bytes of text, at least 1, begin with: 1 to 4; 0 where they begin
 * with none: overlong forms, surrogates and what is past U+10FFFF are none. */
int vdm_utf8_length(const char *text, size_t size);
/* Bytes of the character that *text, ended by a NUL, begins with: 1 to 4; 0 where vdm_clean replaces one. */
int vdm_character(const char *text);

/* count * size bytes, zeroed, 64-byte aligned, checked for overflow; NULL with a sentence that says
 * what the memory was for. Freed with vdm_free. Zero bytes give a valid pointer. */
void *vdm_alloc(size_t count, size_t size, const char *what, vdm_error *err);
void vdm_free(void *p);

/* A file that appears whole or not at all: written beside its name, synced, then renamed.
 * After vdm_file_open write to f->stream; vdm_file_commit ends it, vdm_file_abandon drops it. */
typedef struct vdm_file {
    FILE *stream;
    char *path, *beside;
} vdm_file;
int vdm_file_open(vdm_file *f, const char *path, vdm_error *err);
int vdm_file_commit(vdm_file *f, vdm_error *err); /* closes in any case */
void vdm_file_abandon(vdm_file *f);

/* Reads a whole regular file of at most `limit` bytes; a NUL follows the data. vdm_free it. */
int vdm_read_file(const char *path, size_t limit, char **data, size_t *size, vdm_error *err);

/* a + "/" + b in new memory (vdm_free), or NULL. */
char *vdm_path(const char *a, const char *b, vdm_error *err);

/* Sees every tensor of a computation as soon as it is complete (trace.c), under its name in diffusers, or one
 * of those below: to look at a model from inside, to check a port. The numbers that are computed have the same
 * bits with a tap and without.
 * A name is that of the module whose output the tensor is ("transformer_blocks.3.attn1.to_q"), behind a
 * prefix where a model runs several times: "step.K." for sampling and learning, K = 1, 2, ...; for the VAE
 * "chunk.I." where a video goes through it in chunks. Where a module gives video and text apart, they are one
 * tensor [B,S,D] here, text first; queries and keys are [B,S,A,Dh]; inside the VAE tensors are
 * channels-last [T,H,W,C]. `vdm golden --names` explains the names that PyTorch hasn't. */
enum { VDM_TAP_NAME = 192 };
typedef struct vdm_tap {
    bool (*wants)(void *user, const char *name); /* NULL: every tensor */
    void (*see)(void *user, const char *name, const float *data, int rank, const int64_t *shape);
    void *user;
    /* private */
    char prefix[64], name[VDM_TAP_NAME];
    float *space; /* for tensors that are gathered, or that no layer keeps */
    size_t room;
    bool failed;  /* no memory for one: it was left out */
} vdm_tap;
void vdm_tap_free(vdm_tap *tap); /* its memory, not itself */

typedef enum vdm_dtype {
    VDM_F32, VDM_F16, VDM_BF16,                 /* what weights may be */
    VDM_F64, VDM_I64, VDM_I32, VDM_I16, VDM_I8, /* what files may hold besides */
    VDM_U64, VDM_U32, VDM_U16, VDM_U8, VDM_BOOL
} vdm_dtype;

/* What products are computed in. All else is f32; the bits are the same on every machine (kernels.h, rules 1
 * and 5 to 7). AMX is bf16 summed in the order of Intel's AMX tiles: several times as fast where the processor has
 * them (avx512amx), slower than f32 where it hasn't. */
typedef enum vdm_precision {
    VDM_PRECISION_F32 = VDM_F32, VDM_PRECISION_BF16 = VDM_BF16, VDM_PRECISION_AMX
} vdm_precision;

/* Which kernels to use, with how many threads, and the memory that they pack operands into.
 * One vdm_cpu serves one computation at a time. */
struct vdm_kernels;
typedef struct vdm_cpu {
    const struct vdm_kernels *kernels; /* the instruction set's table: kernels.h */
    int threads;                       /* 1 without OpenMP */
    float *scratch;                    /* kernels->scratch_floats(threads) floats */
    vdm_tap *tap;                      /* shown every tensor; NULL: none, at no cost */
    vdm_precision precision;           /* of products */
} vdm_cpu;

/* threads = 0: one per core. The best instruction set is chosen, or the one that the environment
 * variable VDM_ISA names: scalar, avx2, avx512, avx512bf16, avx512amx, neon. The precision is f32; whoever
 * wants a faster one sets it afterwards. */
int vdm_cpu_init(vdm_cpu *cpu, int threads, vdm_error *err);
void vdm_cpu_free(vdm_cpu *cpu);
const char *vdm_cpu_name(const vdm_cpu *cpu); /* "avx512" */
bool vdm_has_openmp(void);
double vdm_seconds(void); /* a monotonic clock */

/* Long work calls report after every step. A return other than 0 asks it to stop: it saves what it
 * has, and returns -1 with "interrupted" in the sentence. */
typedef struct vdm_report {
    const char *phase;    /* "prompt", "encode", "train", "sample", "decode" */
    int step, of;         /* steps done, steps in all */
    double seconds;       /* since the phase began */
    double loss;          /* training: of this step; NaN elsewhere */
} vdm_report;
typedef struct vdm_progress {
    int (*report)(void *user, const vdm_report *r); /* may be NULL */
    void *user;
} vdm_progress;

/* ------------------------------------------------------------------------------------------------
 * Functions of one number, the same bits on every machine (math.c): C libraries differ.
 * Double precision, errors below 2 units in the last place for the arguments that vdm uses. */

double vdm_exp(double x);
double vdm_expm1(double x);
double vdm_log(double x);             /* x > 0; log(0) = -inf */
double vdm_pow(double x, double y);   /* x > 0, or any x with y a whole number */
double vdm_sin(double x);             /* |x| < 2^52, NaN beyond: dynamic guidance reaches 3e15 */
double vdm_cos(double x);
float vdm_from_bf16(uint16_t bits);
float vdm_from_f16(uint16_t bits);
uint16_t vdm_to_bf16(float x);        /* round to nearest even, NaN kept */
uint16_t vdm_to_f16(float x);

/* ------------------------------------------------------------------------------------------------
 * Tensors in files: JSON and safetensors (json.c, safetensors.c) */

size_t vdm_dtype_bytes(vdm_dtype dtype);
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
void vdm_safetensors_close(vdm_safetensors *f);
const vdm_tensor *vdm_safetensors_find(const vdm_safetensors *f, const char *name); /* or NULL */
const char *vdm_safetensors_metadata(const vdm_safetensors *f, const char *key);    /* or NULL */

/* Copies a tensor, of a floating dtype, I64 or I32, to f32. -1 = any size in a dimension of the shape; a
 * leading dimension of 1 is dropped where one too many is found. NULL names tensor, found, expected. */
float *vdm_safetensors_floats(const vdm_safetensors *f, const char *name, int rank,
                              const int64_t *shape, vdm_error *err);
void vdm_widen(float *to, const void *from, vdm_dtype dtype, int64_t n); /* of the dtypes above */

/* Writes a file that appears whole or not at all. metadata: pairs key, value; may be NULL.
 * Tensors are written in the order given. */
int vdm_safetensors_write(const char *path, const vdm_tensor *tensors, int64_t count,
                          const char *const (*metadata)[2], int n_metadata, vdm_error *err);

/* The same, a tensor at a time, for what memory doesn't hold: begin, add, ..., then end or abandon. The header
 * is written last, into `reserve` bytes kept for it; where it is longer, the data moves. */
typedef struct vdm_safetensors_writer {
    vdm_file file;
    FILE *entries;      /* the header so far, in memory: */
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
    VDM_JSON_NULL, VDM_JSON_FALSE, VDM_JSON_TRUE, VDM_JSON_NUMBER,
    VDM_JSON_STRING, VDM_JSON_ARRAY, VDM_JSON_OBJECT
} vdm_json_kind;
typedef struct vdm_json_node {
    vdm_json_kind kind;
    int64_t next;       /* index of the next sibling, -1 after the last */
    int64_t children;   /* items or members; the first child is at index + 1 */
    const char *key;    /* in an object: unescaped, NUL-terminated */
    const char *text;   /* string: unescaped; number: as written */
    double number;
} vdm_json_node;
typedef struct vdm_json {
    vdm_json_node *nodes;
    int64_t count;
    char *strings; /* private */
} vdm_json;
/* Strict RFC 8259 (UTF-8, no duplicate keys, no NUL in strings, depth <= VDM_MAX_JSON_DEPTH).
 * `path` is for messages. */
int vdm_json_parse(vdm_json *j, const char *text, size_t size, const char *path, vdm_error *err);
int vdm_json_read(vdm_json *j, const char *path, vdm_error *err);
void vdm_json_free(vdm_json *j);
const vdm_json_node *vdm_json_get(const vdm_json *j, const vdm_json_node *object, const char *key);
const vdm_json_node *vdm_json_next(const vdm_json *j, const vdm_json_node *node); /* sibling or NULL */

/* ------------------------------------------------------------------------------------------------
 * Models (model.c): a diffusers folder, read as published */

typedef struct vdm_matrix { /* [rows, cols], f32, f16 or bf16, any alignment */
    const void *data;
    vdm_dtype dtype;
    int64_t rows, cols;
} vdm_matrix;
typedef struct vdm_linear { /* y = x weight^T + bias */
    vdm_matrix weight;      /* [out, in] */
    const float *bias;      /* [out] */
} vdm_linear;
typedef struct vdm_norm { /* layer or group norm with weight and bias */
    const float *gamma, *beta;
} vdm_norm;

/* transformer/config.json: the switches that tell the CogVideoX variants apart */
typedef struct vdm_transformer_config {
    int layers, heads, head_dim;  /* D = heads * head_dim; head_dim is a multiple of 16 */
    int in_channels, out_channels;/* 32 and 16 in image-to-video: noisy latents, then image latents */
    int patch, patch_t;           /* patch_t 0: the 1.0 models (published as null) */
    int text_tokens, text_dim;    /* L, Dt */
    int time_dim;                 /* E */
    int ofs_dim;                  /* 0: no ofs embedding */
    bool rotary, learned_positions, patch_bias;
    bool flip_sin_to_cos;         /* cos before sin: always true in what is published */
    double freq_shift, norm_eps;
    int sample_frames, sample_height, sample_width; /* latent h, w; frames in pixels */
    double spatial_scale, temporal_scale;
    int temporal_compression;
} vdm_transformer_config;

typedef struct vdm_block { /* CogVideoXBlock */
    struct vdm_modulated_norm {   /* CogVideoXLayerNormZero */
        vdm_linear linear;        /* [6D, E]: shift, scale, gate (video), then the same for text */
        vdm_norm norm;            /* [D] */
    } norm1, norm2;
    vdm_linear q, k, v, out;      /* [D, D] */
    vdm_norm norm_q, norm_k;      /* [Dh] */
    vdm_linear ff_up, ff_down;    /* [4D, D], [D, 4D] */
} vdm_block;

typedef struct vdm_transformer { /* CogVideoXTransformer3DModel */
    vdm_transformer_config config;
    vdm_linear patch_proj, text_proj;
    const float *positions;       /* [L + V of the sample size, D] where positions are learned */
    vdm_linear time1, time2, ofs1, ofs2;
    vdm_block *blocks;            /* [layers] */
    vdm_norm norm_final, norm_out;
    vdm_linear norm_out_linear, proj_out;
    vdm_safetensors file;
    float *small;                 /* biases and norms, widened to f32 */
} vdm_transformer;

/* vae/config.json */
enum { VDM_MAX_VAE_BLOCKS = 8 };
typedef struct vdm_vae_config {
    int channels, latent_channels;              /* 3, 16 */
    int blocks, block_channels[VDM_MAX_VAE_BLOCKS];
    int layers_per_block, groups;
    int temporal_compression;                   /* 4: the first log2(4) blocks halve time */
    int sample_height, sample_width;            /* tiles are half of this */
    double norm_eps, scaling_factor;
    bool invert_scale_latents, quant_conv, post_quant_conv;
} vdm_vae_config;

typedef struct vdm_conv {
    vdm_matrix weight;            /* [kt * k * k * in, out]: taps in time, row, column order, then channel */
    const float *bias;            /* [out] */
    int in, out, kt, k;           /* kernel kt x k x k */
} vdm_conv;
typedef struct vdm_vae_norm {     /* encoder: GroupNorm. decoder: CogVideoXSpatialNorm3D */
    vdm_norm norm;
    vdm_conv y, b;                /* 1x1x1 over the latent; y.in = 0 in the encoder */
} vdm_vae_norm;
typedef struct vdm_resnet {       /* CogVideoXResnetBlock3D */
    vdm_vae_norm norm1, norm2;
    vdm_conv conv1, conv2;
    vdm_conv shortcut;            /* in = 0: none */
} vdm_resnet;
typedef struct vdm_vae_half {     /* encoder or decoder */
    vdm_conv conv_in, conv_out;
    vdm_resnet mid[2];
    struct vdm_vae_level {
        int resnets;              /* layers_per_block, one more in the decoder */
        vdm_resnet *resnet;
        vdm_conv resample;        /* in = 0: none */
        bool compress_time;
    } level[VDM_MAX_VAE_BLOCKS];
    vdm_vae_norm norm_out;
} vdm_vae_half;
typedef struct vdm_vae { /* AutoencoderKLCogVideoX */
    vdm_vae_config config;
    vdm_vae_half encoder, decoder;
    vdm_conv quant, post_quant;   /* in = 0: none */
    void *memory;                 /* private: repacked weights and the resnet arrays */
} vdm_vae;

/* scheduler/scheduler_config.json */
typedef struct vdm_scheduler_config {
    int train_timesteps;                  /* 1000 */
    double beta_start, beta_end;          /* scaled linear */
    double snr_shift_scale;
    bool rescale_zero_snr, set_alpha_to_one;
    bool trailing;                        /* timestep_spacing: the only one supported */
    bool dpm;                             /* class CogVideoXDPMScheduler */
} vdm_scheduler_config;

/* Reads the configurations alone (cheap): to refuse a wrong request before weights are touched. */
typedef struct vdm_model_config {
    vdm_transformer_config transformer;
    vdm_vae_config vae;
    vdm_scheduler_config scheduler;
} vdm_model_config;
int vdm_model_config_read(vdm_model_config *c, const char *dir, vdm_error *err);

/* dir is the folder of the part itself ("model/transformer"). Missing, extra and misshapen tensors
 * are listed by name in the sentence. Weights stay mapped; biases and norms are widened. */
int vdm_transformer_load(vdm_transformer *m, const char *dir, vdm_error *err);
void vdm_transformer_free(vdm_transformer *m);
/* Convolutions are repacked into memory of their own, in the file's dtype. */
int vdm_vae_load(vdm_vae *m, const char *dir, vdm_error *err);
void vdm_vae_free(vdm_vae *m);
int vdm_scheduler_read(vdm_scheduler_config *c, const char *dir, vdm_error *err);

/* prompt_embeds.safetensors (or any file with a tensor of that name): [L,Dt]. */
int vdm_prompt_read(float **text, const char *path, const vdm_transformer_config *c, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Text (tokenizer.c, t5.c): a prompt becomes the embedding that CogVideoX's pipelines give the transformer */

/* dir/spiece.model: a SentencePiece model of type unigram, with control pieces </s> and <pad>. */
typedef struct vdm_tokenizer vdm_tokenizer;
vdm_tokenizer *vdm_tokenizer_load(const char *dir, vdm_error *err);
void vdm_tokenizer_free(vdm_tokenizer *t);
/* ids [count]: the first count - 1 pieces of the prompt (UTF-8, "" too), </s>, and <pad> up to the end. */
int vdm_tokenize(const vdm_tokenizer *t, const char *prompt, int32_t *ids, int count, vdm_error *err);

typedef struct vdm_text_config { /* text_encoder/config.json */
    int layers, width, heads, head_dim, ff, vocabulary; /* width: Dt */
    int buckets, max_distance;                          /* of relative positions */
    double norm_eps;
} vdm_text_config;
typedef struct vdm_text_block { /* T5Block; no linear layer has a bias */
    const float *norm1, *norm2; /* [Dt] */
    vdm_linear q, k, v, o;      /* [heads * head_dim, Dt], o the reverse */
    vdm_linear wi_0, wi_1, wo;  /* [ff, Dt], [ff, Dt], [Dt, ff] */
} vdm_text_block;
typedef struct vdm_text_encoder { /* T5EncoderModel (v1.1: gated GELU) */
    vdm_text_config config;
    vdm_matrix words;           /* [vocabulary, Dt] */
    const float *position_bias; /* [buckets, heads] */
    vdm_text_block *blocks;     /* [layers] */
    const float *norm_final;    /* [Dt] */
    vdm_safetensors file;
    float *small;               /* private: norms and position_bias, widened */
} vdm_text_encoder;
/* dir: "model/text_encoder". Weights stay mapped (9.5 GB where published). */
int vdm_text_encoder_load(vdm_text_encoder *m, const char *dir, vdm_error *err);
void vdm_text_encoder_free(vdm_text_encoder *m);
/* ids [L] -> text [L,Dt]. All of ids take part, padding too. */
int vdm_text_encode(const vdm_text_encoder *m, const vdm_cpu *cpu, const int32_t *ids, int L, float *text,
                    const vdm_progress *progress, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Sizes */

/* What a video of T frames of H x W becomes. Refuses what the model can't take and names the nearest
 * legal values: T = 8k + 1 (so that T -> F -> T), H and W multiples of 8 * patch, and exactly the
 * sample height and width where positions are learned (other frame counts get computed ones, as in
 * diffusers). */
typedef struct vdm_geometry {
    int frames, height, width;     /* T, H, W */
    int latent_frames;             /* (T - 1) / 4 + 1 */
    int pad;                       /* copies of latent frame 0 put in front, so that patch_t divides F */
    int F, h, w;                   /* F = latent_frames + pad */
    int video_tokens;              /* V */
} vdm_geometry;
int vdm_geometry_init(vdm_geometry *g, const vdm_model_config *c, int frames, int height, int width,
                      vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * LoRA adapters (vdm.c computes with them, lora.c makes, reads and trains them): y += scale (x A^T) B^T
 * beside to_q, to_k, to_v, to_out.0 of every block */

typedef enum vdm_target { VDM_Q, VDM_K, VDM_V, VDM_OUT } vdm_target;
typedef struct vdm_lora {
    int layers, width, rank; /* width: D */
    float scale;             /* alpha / rank */
    double alpha;
    float *params;           /* [layers][4][ A [R,D], B [D,R] ]: one flat array, vdm_free */
} vdm_lora;
int64_t vdm_lora_count(const vdm_lora *a); /* floats in params: layers * 4 * 2 * R * D */
/* A, B of one module in `params`: a->params, or a gradient of the same layout. */
float *vdm_lora_a(const vdm_lora *a, float *params, int block, vdm_target t);
float *vdm_lora_b(const vdm_lora *a, float *params, int block, vdm_target t);
/* "transformer_blocks.{i}.attn1.to_q.lora_A.weight", or lora_B */
enum { VDM_LORA_NAME = 96 };
void vdm_lora_name(char name[VDM_LORA_NAME], int block, vdm_target t, bool b);

/* A ~ U(-1/sqrt(D), 1/sqrt(D)), B = 0 (peft's init_lora_weights=True). */
struct vdm_rng;
int vdm_lora_init(vdm_lora *a, const vdm_transformer_config *c, int rank, double alpha,
                  struct vdm_rng *rng, vdm_error *err);
void vdm_lora_free(vdm_lora *a);

/* Files as diffusers and peft write them: keys transformer.transformer_blocks.{i}.attn1.{to_q|to_k|
 * to_v|to_out.0}.lora_{A|B}.weight, rank and alpha in the metadata; without metadata alpha = rank,
 * as diffusers takes it. *applied of *modules were found; none at all is an error, as are keys that
 * match nothing. Targets that the file leaves out act as zero. */
int vdm_lora_read(vdm_lora *a, const char *path, const vdm_transformer_config *c, int *applied,
                  int *modules, vdm_error *err);
int vdm_lora_write(const vdm_lora *a, const char *path, vdm_error *err);
/* Several adapters at once are one whose rank is the sum: B is scaled by weight * alpha / rank. */
int vdm_lora_join(vdm_lora *a, const vdm_lora *parts, const double *weights, int n, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * The transformer (vdm.c) */

/* Memory of one forward (and backward) pass at a fixed size. */
typedef struct vdm_tape vdm_tape;
typedef struct vdm_tape_shape {
    int B, F, h, w;
    int rank;           /* of the adapter that will be used; 0: none */
    bool backward;      /* keeps what the backward pass needs: every block's input */
    int keep;           /* blocks, the last ones, that keep all their activations */
    int keep_attention; /* blocks before these that keep what attention gave; the rest is computed again */
} vdm_tape_shape;
size_t vdm_tape_bytes(const vdm_transformer_config *c, const vdm_tape_shape *s);
vdm_tape *vdm_tape_new(const vdm_transformer *m, const vdm_tape_shape *s, vdm_error *err);
void vdm_tape_free(vdm_tape *tape);

/* v = model(x, text, t): the velocity.
 * x [B,F,in_channels,h,w]: noisy latents, then (image-to-video) image latents; text [B,L,Dt];
 * t [B]: 0..999; v [B,F,out_channels,h,w]. lora may be NULL. */
void vdm_transformer_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu,
                             vdm_tape *tape, const float *x, const float *text, const double *t,
                             float *v);
/* dL/dv [B,F,out_channels,h,w] -> grad += dL/dparams, laid out like lora->params. Follows a forward
 * pass on the same tape. Kept activations or computed again: the same bits. */
void vdm_transformer_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu,
                              vdm_tape *tape, const float *dv, float *grad);

/* ------------------------------------------------------------------------------------------------
 * The VAE (vae.c) */

/* video [T,3,H,W] in -1..1 -> moments [F',2C,h,w]: means, then log variances; F' = latent frames
 * without padding. tiled: as diffusers' enable_tiling(): other numbers, less memory. */
int vdm_vae_encode(const vdm_vae *m, const vdm_cpu *cpu, const float *video, int T, int H, int W,
                   bool tiled, float *moments, const vdm_progress *progress, vdm_error *err);
/* latents [F',C,h,w] (already divided by the scaling factor) -> video [T,3,H,W]. F' odd: T = 4(F'-1)+1;
 * even: 4F'. */
int vdm_vae_decode(const vdm_vae *m, const vdm_cpu *cpu, const float *latents, int F, int h, int w,
                   bool tiled, float *video, const vdm_progress *progress, vdm_error *err);
int vdm_vae_latent_frames(const vdm_vae_config *c, int T);
int vdm_vae_video_frames(const vdm_vae_config *c, int F);
size_t vdm_vae_encode_bytes(const vdm_vae_config *c, int T, int H, int W, bool tiled);
size_t vdm_vae_decode_bytes(const vdm_vae_config *c, int F, int h, int w, bool tiled);
/* DiagonalGaussianDistribution: z = mean + exp(clamp(logvar, -30, 20) / 2) noise.
 * moments [F,2C,h,w], noise and z [F,C,h,w]; noise NULL: the mode. */
void vdm_vae_sample(float *z, const float *moments, const float *noise, int F, int C, int h, int w);

/* The factor on a video's latents is scaling_factor. On the image's latents, the one that users and
 * programs disagree about (they differ by 1/0.7^2 in the 1.5 models):
 *   VDM_IMAGE_PIPELINE  what diffusers' pipeline does: 1/factor where invert_scale_latents, else factor
 *   VDM_IMAGE_TRAINER   what the public trainers do: factor
 * Training and sampling must use the same. */
typedef enum vdm_image_scale { VDM_IMAGE_PIPELINE, VDM_IMAGE_TRAINER } vdm_image_scale;
double vdm_image_latent_scale(const vdm_vae_config *c, vdm_image_scale convention);

/* ------------------------------------------------------------------------------------------------
 * Random numbers, schedule, sampling (sampler.c) */

/* MT19937 and the normal fill of PyTorch's CPU generator: the same seeds give the same noise
 * (torch.randn of 16 numbers or more, to the last places of its own logarithm and cosine). */
typedef struct vdm_rng {
    uint32_t state[624];
    int next;
    double spare;     /* second normal of the scalar path, as PyTorch keeps it */
    bool has_spare;
} vdm_rng;
void vdm_rng_seed(vdm_rng *r, uint64_t seed);
uint32_t vdm_rng_u32(vdm_rng *r);
uint64_t vdm_rng_u64(vdm_rng *r);                     /* two draws, the first one high */
void vdm_randn(vdm_rng *r, float *x, int64_t n);      /* torch.randn */
void vdm_rand(vdm_rng *r, float *x, int64_t n);       /* torch.rand */
int64_t vdm_randint(vdm_rng *r, int64_t below);       /* torch.randint(below, (1,)) */

/* Cumulative alphas [train_timesteps] in double: scaled linear betas, SNR shift, zero terminal SNR. */
typedef struct vdm_schedule {
    vdm_scheduler_config config;
    double alphas[1000];
} vdm_schedule;
int vdm_schedule_init(vdm_schedule *s, const vdm_scheduler_config *c, vdm_error *err);
double vdm_schedule_alpha(const vdm_schedule *s, int t); /* 1 for t < 0 */
/* Trailing timesteps, descending, [steps]. */
void vdm_schedule_timesteps(const vdm_schedule *s, int steps, int *t);

/* One step from t to t - 1000/steps. x [n] is updated from the velocity v [n]. */
void vdm_ddim_step(const vdm_schedule *s, const vdm_cpu *cpu, int steps, int t, float *x, const float *v,
                   int64_t n);
/* SDE-DPM++ 2M: old [n] keeps the last x0; t_back is the timestep before t, or -1 at the first step;
 * noise [2,n]: a second-order step uses the second, a first-order one the first (PyTorch draws and
 * drops the other). */
void vdm_dpm_step(const vdm_schedule *s, const vdm_cpu *cpu, int steps, int t, int t_back, float *x,
                  const float *v, float *old, const float *noise, int64_t n);
/* use_dynamic_cfg: the published formula mixes the timestep with the number of steps; kept as it is. */
double vdm_dynamic_guidance(double guidance, int steps, int t);

typedef enum vdm_sampler { VDM_DDIM, VDM_DPM } vdm_sampler;
typedef struct vdm_sample_options {
    vdm_geometry geometry;
    int steps;               /* 50 */
    vdm_sampler sampler;
    double guidance;         /* 6; at 1 or less the negative prompt is not computed */
    bool dynamic_guidance, tiled;
    vdm_image_scale image_scale;
    uint64_t seed;
    int videos;              /* N images answered in one pass, each as it would be alone; 0: one */
    int ensemble;            /* M: an answer is decoded from the mean latents of M videos, each from noise of
                              * its own (test-time ensembling, as Marigold's: arXiv 2312.02145); 0: one.
                              * All are sampled together, in M times the memory */
    /* instead of the seed's numbers; each may be NULL */
    const float *noise;        /* [M,F,C,h,w] */
    const float *image_noise;  /* [C,h,w]: of the posterior sample */
    const float *step_noise;   /* [steps,2,M,F,C,h,w] */
} vdm_sample_options;

/* CogVideoXImageToVideoPipeline. images [N,3,H,W] in -1..1; prompt, negative [L,Dt];
 * videos [N,T,3,H,W] in 0..1. lora may be NULL. A tap sees "image_latents" and, for step K = 1..steps,
 * "velocity.K" (guided) and "latents.K" (after it), all [N*M*F,C,h,w]; besides what the models show, behind
 * "encode.", "step.K." and "decode.". */
int vdm_sample(const vdm_transformer *m, const vdm_vae *vae, const vdm_schedule *s, const vdm_lora *lora,
               const vdm_cpu *cpu, const vdm_sample_options *o, const float *images,
               const float *prompt, const float *negative, float *videos,
               const vdm_progress *progress, vdm_error *err);
/* Bytes that vdm_sample takes beyond the weights, at its peak. */
size_t vdm_sample_bytes(const vdm_model_config *c, const vdm_sample_options *o, int rank);

/* ------------------------------------------------------------------------------------------------
 * Transitions (interp.c) */

typedef struct vdm_picture { /* 8 bit RGB, [H,W,3] */
    int width, height;
    uint8_t *rgb;            /* vdm_free */
} vdm_picture;

typedef enum vdm_phi_kind {
    VDM_PHI_LINEAR, VDM_PHI_QUADRATIC, VDM_PHI_SQRT, VDM_PHI_DISCRETE, VDM_PHI_BLACK, VDM_PHI_TILES,
    VDM_PHI_NOISY
} vdm_phi_kind;
typedef struct vdm_phi {
    vdm_phi_kind kind;
    int black;            /* black:b: frames of black between the two */
    int tiles_y, tiles_x; /* tiles:NxM */
    bool quadratic;       /* noisy, noisy:quadratic: the path under the noise */
    double amplitude;     /* noisy: 127.5 of 255 */
} vdm_phi;
/* "linear", "quadratic", "sqrt", "discrete", "black:3", "tiles:4x4", "noisy", "noisy:quadratic". */
int vdm_phi_parse(vdm_phi *phi, const char *text, vdm_error *err);
/* frames [T,H,W,3]: frame 0 is x, frame T-1 is y. x and y are of the same size. rng: of tiles and noisy. */
int vdm_interp(const vdm_phi *phi, const vdm_picture *x, const vdm_picture *y, int T, vdm_rng *rng,
               uint8_t *frames, vdm_error *err);
/* [T,H,W,3] 0..255 <-> [T,3,H,W] f32: to -1..1 as x/255*2-1; from 0..1, rounded half to even. */
void vdm_video_from_bytes(float *video, const uint8_t *frames, int T, int H, int W);
void vdm_bytes_from_video(uint8_t *frames, const float *video, int T, int H, int W);

/* ------------------------------------------------------------------------------------------------
 * Pictures and videos (io.c) */

/* PPM and PGM, ASCII and binary (P2, P3, P5, P6), 8 and 16 bit, comments. */
int vdm_picture_read(vdm_picture *p, const char *path, vdm_error *err);
void vdm_picture_free(vdm_picture *p);
/* By the ending of the name: .ppm, .png (stored or deflated, as browsers show it). */
int vdm_picture_write(const vdm_picture *p, const char *path, vdm_error *err);
int vdm_png_write(const vdm_picture *p, FILE *to, vdm_error *err); /* the stream keeps its own errors */
void vdm_ppm_write(const vdm_picture *p, FILE *to);                /* likewise: ferror(to) */
/* The Lanczos resize of Pillow 13, to the bit; the aspect is not kept. A picture of that size is copied. */
int vdm_picture_resize(vdm_picture *to, const vdm_picture *from, int width, int height, vdm_error *err);
/* YUV4MPEG2, 4:4:4, BT.601, 8 frames a second. frames [T,H,W,3]. */
int vdm_y4m_write(const char *path, const uint8_t *frames, int T, int H, int W, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Learning (lora.c: the optimiser; fit.c: the loop) */

/* torch.optim.AdamW on one flat array. */
typedef struct vdm_adamw {
    double lr, beta1, beta2, eps, weight_decay; /* 1e-4, 0.9, 0.95, 1e-8, 1e-4 */
    int64_t n;
    float *m, *v;  /* [n] */
    int step;      /* updates done */
} vdm_adamw;
int vdm_adamw_init(vdm_adamw *o, int64_t n, vdm_error *err); /* fills in the defaults */
void vdm_adamw_free(vdm_adamw *o);
/* One update with the learning rate lr (o->lr times the schedule's factor). */
void vdm_adamw_update(vdm_adamw *o, const vdm_cpu *cpu, float *params, const float *grad, double lr);
/* Scales grad so that its norm is at most max (torch.nn.utils.clip_grad_norm_); returns the norm before. */
double vdm_clip_grad(const vdm_cpu *cpu, float *grad, int64_t n, double max);

typedef enum vdm_lr_schedule {
    VDM_LR_CONSTANT, VDM_LR_CONSTANT_WITH_WARMUP, VDM_LR_LINEAR, VDM_LR_COSINE
} vdm_lr_schedule;
double vdm_lr_factor(vdm_lr_schedule s, int step, int warmup, int total); /* step counts from 0 */

/* Every use of random numbers has its own generator, a function of the seed, the use and a counter: no two
 * repeat each other's numbers, and a resumed run needs no state of a generator. Seeds with
 * mix(seed + 0x9E3779B97F4A7C15 (2^32 use + counter)), mix being the end of splitmix64. */
typedef enum vdm_fit_use {
    VDM_FIT_ADAPTER, /* 0: a new adapter, vdm_lora_init */
    VDM_FIT_LATENTS, /* pair: phi's, the video's posterior [C,F',h,w], sigma, pixels, image's [C,h,w] */
    VDM_FIT_EPOCH,   /* epoch: the order of the pairs, for i = n-1, ..., 1 swap i with randint(i + 1) */
    VDM_FIT_STEP,    /* step, from 0: for every batch of it t of each video (where pure_noise > 0 a rand first,
                      * and no t if that is below it), then the noise of all */
    VDM_FIT_WATCH    /* element of the fixed set: noise */
} vdm_fit_use;
void vdm_fit_rng(vdm_rng *r, uint64_t seed, vdm_fit_use use); /* counter 0: the others are vdm_fit's own */

/* What the pairs become, once for the whole run. */
typedef struct vdm_fit_data {
    int pairs, F, C, h, w;
    float *videos; /* [pairs,F,C,h,w]: posterior samples times scaling_factor, with the padding in front */
    float *images; /* [pairs,C,h,w]: frame 0 of the condition; its other frames are zero */
} vdm_fit_data;
typedef struct vdm_fit_data_options {
    vdm_geometry geometry;
    const vdm_phi *phi;
    vdm_image_scale image_scale;
    bool tiled;
    bool augment;  /* image + sigma * noise before it is encoded; log sigma ~ N(-3, 0.5^2) for every pair */
    uint64_t seed;
    /* instead of the seed's numbers (drawn all the same), in diffusers' layouts; each may be NULL */
    const float *video_noise;       /* [pairs,C,F',h,w]: of the posterior; F' without padding */
    const float *image_noise;       /* [pairs,C,h,w]: of the posterior */
    const float *image_pixel_noise; /* [pairs,3,H,W] */
    const float *image_sigma;       /* [pairs] */
} vdm_fit_data_options;
/* Pair i is x[i], y[i], pictures of the geometry's size. Reports "encode" after every pair. */
int vdm_fit_data_make(vdm_fit_data *d, const vdm_vae *vae, const vdm_cpu *cpu, const vdm_fit_data_options *o,
                      const vdm_picture *x, const vdm_picture *y, int pairs,
                      const vdm_progress *progress, vdm_error *err);
void vdm_fit_data_free(vdm_fit_data *d);

typedef struct vdm_fit_options {
    int steps, batch;    /* 500, 2 */
    int accumulate;      /* 1: batches averaged in a step; N = batch * accumulate videos */
    double lr, beta1, beta2, eps, weight_decay; /* 1e-4, 0.9, 0.95, 1e-8, 1e-4 */
    double clip;         /* 1 */
    vdm_lr_schedule schedule;
    int warmup;          /* 0 */
    double pure_noise;   /* 0: share of the videos with the last t, 999; of the others t is uniform. With
                          * zero terminal SNR x_t is nothing but noise there, and the answer has to come
                          * from the picture alone, as in the first step of sampling (arXiv 2409.11355
                          * learns at this t alone). The fixed set has the same share */
    uint64_t seed;       /* 42 */
    size_t memory;       /* 2 GiB: bytes of activations; as much is kept as fits (vdm_tape_shape) */
    int watch_every;     /* 10: steps between losses on a fixed set; 0: never */
    int save_every;      /* 50: steps between saved states; 0: only when the run ends or is stopped */
    const char *state;   /* the file of the state, or NULL */
    bool resume;         /* go on from that file */
    /* instead of the seed's numbers, which are drawn all the same; each may be NULL */
    const int *t;        /* [steps,N]: 0..999 */
    const int *pair;     /* [steps,N] */
    const float *noise;  /* [steps,N,F,C,h,w] */
} vdm_fit_options;
void vdm_fit_defaults(vdm_fit_options *o);

/* Row k tells of step k = 1, 2, ...; row 0 has only `watch`, the loss before the first step. */
typedef struct vdm_fit_row {
    double loss, grad_norm, lr; /* mean over the step's videos; before clipping */
    double watch;               /* loss on a fixed set after the step; NaN where it wasn't taken */
} vdm_fit_row;

/* Trains `lora` from what it holds. text [L,Dt]; rows [steps + 1], filled as the run goes on; *done: steps.
 * Every step: the pairs of a shuffled epoch, t (uniform, but for pure_noise), noise;
 * x_t = sqrt(abar) z + sqrt(1-abar) noise;
 * loss = mean (v - (sqrt(abar) noise - sqrt(1-abar) z))^2; clip; AdamW.
 * Stopped or killed at any moment and resumed, a run ends with the same bits. A loss or gradient that
 * is not finite stops it: the sentence names step and pairs, and the state is that before the step.
 * A tap sees, behind "step.K." (K = 1, 2, ...; where batches are accumulated "step.K.batch.I."): what the model
 * shows, "target" [batch,F,C,h,w], and the gradients "grad.v", "grad.transformer_blocks.I" (of the block's
 * output, [B,S,D]); then "loss", "grad_norm", "lr" [1], "grad.NAME" before clipping, and after the update
 * "adapter.NAME", "adamw.m.NAME", "adamw.v.NAME", NAME from vdm_lora_name. */
int vdm_fit(const vdm_transformer *m, const vdm_schedule *s, const vdm_cpu *cpu, const vdm_fit_data *data,
            const float *text, const vdm_fit_options *o, vdm_lora *lora, vdm_fit_row *rows, int *done,
            const vdm_progress *progress, vdm_error *err);
/* Bytes that vdm_fit takes beyond the weights, the data and the adapter. */
size_t vdm_fit_bytes(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                     int rank);
/* Blocks that keep all activations in o->memory; *attention: further ones that keep what attention gave. */
int vdm_fit_kept(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o, int rank,
                 int *attention);

/* ------------------------------------------------------------------------------------------------
 * Tasks (task.c) */

/* Pictures of grids: every number of a cell has a colour, as the authors paint them. */
typedef enum vdm_palette {
    VDM_PALETTE_ARC,  /* 0..9: ARC's symbols, as the authors and the ARC site paint them */
    VDM_PALETTE_MAZE, /* 0..4: wall, way, end, start, path; also of their automata and ants */
    VDM_PALETTE_VIVID /* 0..9: ARC's symbols in colours that are further apart from each other */
} vdm_palette;
const uint8_t *vdm_palette_colour(vdm_palette p, int number); /* RGB; NULL beyond the last */
enum { VDM_MAX_COLOURS = 16 };                                 /* of a palette, at most */

typedef enum vdm_metric {
    VDM_METRIC_PSNR, VDM_METRIC_IOU, VDM_METRIC_CELLS, VDM_METRIC_POSE,
    VDM_METRIC_MIOU, VDM_METRIC_PCK, VDM_METRIC_SSIM, VDM_METRIC_MAE
} vdm_metric;
const char *vdm_metric_name(vdm_metric m); /* as task.json has it: "psnr" */

/* A grid of an ARC-AGI task. */
enum { VDM_MAX_GRID = 30, VDM_MAX_ARC_PAIRS = 10000 }; /* cells a side, by ARC's rules; with --augment's views */
typedef struct vdm_grid {
    int rows, cols;                             /* 0 x 0: not known */
    uint8_t cells[VDM_MAX_GRID * VDM_MAX_GRID]; /* [rows,cols]: 0..9 */
} vdm_grid;
typedef struct vdm_arc_pair {
    vdm_grid x, y; /* y is 0 x 0 where a test's answer is kept back */
} vdm_arc_pair;
typedef struct vdm_arc {
    char *path, *name; /* name: "0a1b2c3d" of DIR/0a1b2c3d.json */
    vdm_arc_pair *train, *test;
    int n_train, n_test;
} vdm_arc;

typedef struct vdm_example {
    char *name;               /* "cat" of train/cat.in.ppm */
    char *input, *output;     /* paths; output NULL where a test has no answer */
    const vdm_grid *x, *y;    /* of an ARC task, in place of the pictures: the paths are those of its file then */
} vdm_example;
typedef struct vdm_task {
    char *path, *name, *prompt;      /* name: the folder's unless task.json says so; prompt may be NULL */
    bool has_phi, has_metric;        /* task.json says so */
    vdm_phi phi;
    vdm_metric metric;
    int grid_rows, grid_cols, cell, border; /* geometry of the cells metric; 0: not given */
    int align;                       /* the grid's corner is at multiples of it, near the centre; 0: as 1 */
    bool grey;                       /* beyond the grid: the separators' grey, not black */
    vdm_palette palette;
    vdm_example *train, *test;       /* sorted by name */
    int n_train, n_test;
    vdm_arc arc;                     /* where the task is an ARC-AGI file: its grids, which the examples name */
    const struct vdm_arc_view *view; /* what examples are shown in; NULL: as they are */
} vdm_task;
/* A task folder, or an ARC-AGI file (see vdm_arc_read), whose metric is cells: vdm_arc_layout has to say what
 * its pictures look like; grid_rows and grid_cols differ from example to example (vdm_example_grid). */
int vdm_task_read(vdm_task *t, const char *dir, vdm_error *err);
void vdm_task_free(vdm_task *t);

/* Scores of one answer against the truth, of the same size. NaN where sizes differ or the grid doesn't fit.
 * cells: share of grid cells whose mean colour is nearest to the same palette colour. */
double vdm_score_cells(const vdm_picture *a, const vdm_picture *b, const vdm_task *geometry);
/* cells [rows,cols] as a picture of height x width pixels, black beyond the grid, which stands in the centre;
 * 0 x 0: as large as the grid. Separators (85,85,85) of `border` pixels run between cells and around. */
int vdm_grid_render(vdm_picture *p, const uint8_t *cells, const vdm_task *geometry, int height, int width,
                    vdm_error *err);
/* The grid in a picture: cells [rows,cols] are numbers of palette colours, as vdm_score_cells reads them; the
 * first cell's upper left pixel is at (*top, *left). -1 where the grid doesn't fit. cells may be NULL. */
int vdm_grid_read(uint8_t *cells, int *top, int *left, const vdm_picture *p, const vdm_task *geometry);
/* An example's picture, input or output, of that size: a file is resized to it, a grid rendered; in the task's view. */
int vdm_example_picture(vdm_picture *p, const vdm_task *t, const vdm_example *e, bool output, int height,
                        int width, vdm_error *err);
/* The task's geometry with the size of that example's output (of its input, where the output isn't known). It
 * owns nothing. */
vdm_task vdm_example_grid(const vdm_task *t, const vdm_example *e);

/* ------------------------------------------------------------------------------------------------
 * ARC-AGI (arc.c): grids of numbers as pictures and back, as arXiv 2510.24448 and its code have it */

/* {"train": [{"input": [[0, 1], [2, 3]], "output": ...}, ...], "test": [...]}: rows of numbers 0..9, one length,
 * 1 to 30 a side. A test may lack its output. Other keys are left alone: published files have some. */
int vdm_arc_read(vdm_arc *a, const char *path, vdm_error *err);
void vdm_arc_free(vdm_arc *a);

struct vdm_colour_map;

/* The canvas, and what stands on it. The paper's: 400x400, as large as fits, 2, 1, false, VDM_PALETTE_ARC. */
typedef struct vdm_arc_canvas {
    int height, width; /* pixels */
    int cell;          /* pixels of a cell, at most; 0: as large as fits */
    int border;        /* pixels between cells and around */
    int align;         /* the grid's corner is at multiples of it */
    bool grey;         /* what is beyond the grid */
    vdm_palette palette;
} vdm_arc_canvas;
/* The largest height and width of the task's grids; answers: those of the test outputs too, where known. */
void vdm_arc_largest(const vdm_arc *a, bool answers, int *rows, int *cols);
/* One cell size c for all grids of a task: with the largest rows R and columns C, c = min(floor((W -
 * border (C + 1)) / C), floor((H - border (R + 1)) / R)). Fills in geometry's cell, border, align, grey and
 * palette. Fails where c < 1. */
int vdm_arc_layout(vdm_task *geometry, const vdm_arc_canvas *c, int rows, int cols, vdm_error *err);
int vdm_arc_render(vdm_picture *p, const vdm_grid *g, const vdm_task *geometry, int height, int width,
                   vdm_error *err);
/* The grid in a picture, g->rows x g->cols known, after a correction of its colours (the paper's:
 * VDM_COLOUR_SHIFT) or, with NULL, none. Fails where the grid doesn't fit. */
int vdm_arc_decode(vdm_grid *g, const vdm_picture *p, const vdm_task *geometry,
                   const struct vdm_colour_map *colours, vdm_error *err);
/* g->rows, g->cols from the picture alone: of all sizes that fit, the one whose grid, read and rendered again,
 * is nearest to the picture. A cell more must make up for 16 levels a channel: where the surroundings and an
 * outer row are black and nothing separates them (border 0, not grey), the row is taken for surroundings. */
int vdm_arc_infer_size(vdm_grid *g, const vdm_picture *p, const vdm_task *geometry, vdm_error *err);

/* A view of a task: its grids mirrored (symmetry & 1: left and right, & 2: up and down), then transposed (& 4),
 * and each number c replaced by number[c]. */
typedef struct vdm_arc_view {
    int symmetry;
    uint8_t number[10];
} vdm_arc_view;
/* views [n]: the first changes nothing. The others go through the symmetries (without transpositions where not
 * `square`), each with a permutation of its own of the numbers from `first` (1: 0 stays, the background) to below
 * `colours`. The permutation is also what tells views apart: a rule such as "fall down" is another one in a
 * mirrored view. View k is the same among any n. */
void vdm_arc_views(vdm_arc_view *views, int n, bool square, int first, int colours, uint64_t seed);
void vdm_arc_apply(vdm_grid *to, const vdm_grid *from, const vdm_arc_view *v);
void vdm_arc_undo(vdm_grid *to, const vdm_grid *from, const vdm_arc_view *v);
/* The same for cells [rows,cols] of `from`, 0..9 each: into the view, or back. */
void vdm_view_cells(uint8_t *to, const uint8_t *from, int rows, int cols, const vdm_arc_view *v, bool back);
/* The grid in a picture, drawn anew in the view, or back from it; geometry: as p has it. */
int vdm_view_picture(vdm_picture *p, const vdm_task *geometry, const vdm_arc_view *v, bool back, vdm_error *err);
/* All pairs and tests in all views: pair i of view k is train[k * from->n_train + i], and so with tests. */
int vdm_arc_augment(vdm_arc *to, const vdm_arc *from, const vdm_arc_view *views, int n, vdm_error *err);
/* The task whose examples are those grids; takes a's over, also where it fails. */
int vdm_arc_task(vdm_task *t, vdm_arc *a, vdm_error *err);

bool vdm_grid_equal(const vdm_grid *a, const vdm_grid *b);
/* best [most]: of each of the most frequent grids the index of its first; votes [most], or NULL. The earlier one
 * first where they are equally frequent. Returns how many. */
int vdm_arc_vote(int *best, int *votes, int most, const vdm_grid *grids, int n);

/* ------------------------------------------------------------------------------------------------
 * Scores of answers (score.c: pixels and masks; pose.c: stick figures; vdm_score_cells above: grids)
 *
 * Of one answer against the truth, of the same size; NaN where sizes differ. The mean over a task's pictures is
 * the task's score. arXiv 2506.07280 publishes no rule for its masks and poses; these are the usual ones.
 *
 * psnr  10 log10(255^2 / mean squared error) over all pixels and channels, infinite when equal
 *       (skimage.metrics.peak_signal_noise_ratio, data_range=255).
 * ssim  Wang et al. 2004, as skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=2) has it
 *       by default: a uniform 7x7 window, sample covariance (over 48), K1 = .01, K2 = .03, the mean over all
 *       windows that lie inside, then over channels. NaN where a side is below 7.
 * mae   mean |a - b| over pixels and channels, in levels of 0..255: the only score of which less is better.
 * iou   |P and G| / |P or G|, the Jaccard index; a pixel is on where its luminance 0.299 R + 0.587 G +
 *       0.114 B > 127.5. 1 where both are empty. Its mean over pictures is the paper's mIoU
 *       (sklearn.metrics.jaccard_score; pycocotools.mask.iou).
 * miou  every pixel has the class of the nearest palette colour (squared distance in RGB, the first of equals);
 *       the mean IoU over the classes that occur in either picture (jaccard_score, average="macro"). */
double vdm_score_psnr(const vdm_picture *a, const vdm_picture *b);
double vdm_score_ssim(const vdm_picture *a, const vdm_picture *b);
double vdm_score_mae(const vdm_picture *a, const vdm_picture *b);
double vdm_score_iou(const vdm_picture *a, const vdm_picture *b);
double vdm_score_miou(const vdm_picture *a, const vdm_picture *b, vdm_palette palette);

/* Stick figures, as the paper paints poses: face white, torso blue, arms red, legs green, on black; discs of 11
 * and lines of 4 pixels where the shorter side has 480, in proportion elsewhere, but at least 3 and 1.5. */
typedef enum vdm_part { VDM_FACE, VDM_TORSO, VDM_ARM, VDM_LEG } vdm_part;
const uint8_t *vdm_pose_colour(vdm_part part); /* RGB */
typedef struct vdm_joint {
    double y, x; /* pixels; the first one's centre is at 0.5, 0.5 */
    vdm_part part;
} vdm_joint;
typedef struct vdm_limb { /* a line between two joints, in the colour of its own part */
    int from, to;
    vdm_part part;
} vdm_limb;
enum { VDM_MAX_JOINTS = 1024 }; /* in a picture: 60 people */
/* Over what the picture holds: lines first, then discs. */
void vdm_pose_draw(vdm_picture *p, const vdm_joint *joints, int n, const vdm_limb *limbs, int n_limbs);
/* joints [VDM_MAX_JOINTS]; their number, or -1 without memory. A joint is where a disc around a pixel is covered
 * by a part's colour to 0.65 or more, and no less than anywhere near. Joints under others stay hidden. */
int vdm_pose_read(vdm_joint *joints, const vdm_picture *p, vdm_error *err);
/* Joints of the truth that have a joint of the answer: of the same part, at most `within` pixels away, none
 * taken twice, as many as can be (maximum matching). */
int vdm_pose_pairs(const vdm_joint *truth, int n_truth, const vdm_joint *answer, int n_answer, double within);

/* pose  match rate: matched / joints, both read from the pictures, within 0.05 of the picture's shorter side
 *       (24 pixels at 480x720). 1 where the truth has no joint and the answer none, 0 where only it has.
 * pck   percentage of correct keypoints (Yang & Ramanan 2013): the same within 0.1 of the longer side of the box
 *       around the truth's joints; in pictures of several people the box of all. */
typedef struct vdm_pose_match {
    int joints, found, matched; /* of the truth; of the answer; of the truth with a partner */
    double within;              /* pixels */
    double share;               /* the score; NaN where sizes differ */
} vdm_pose_match;
int vdm_score_pose(vdm_pose_match *m, const vdm_picture *answer, const vdm_picture *truth, bool pck,
                   vdm_error *err);

/* By the task's metric. exact: equal pixels (psnr, ssim, mae), equal masks or cells, or every joint matched and
 * none too many. Fails only without memory. */
int vdm_score(double *score, bool *exact, const vdm_task *t, const vdm_picture *answer,
              const vdm_picture *truth, vdm_error *err);

/* The colours that a task's metric tells apart: the palette's (cells, miou), black and white (iou), black and
 * the parts' (pose, pck); none for psnr, ssim, mae. NULL beyond the last. */
const uint8_t *vdm_task_colour(const vdm_task *t, int number);
int vdm_nearest_colour(const vdm_task *t, const double rgb[3]); /* its number; the first of equals */

/* ------------------------------------------------------------------------------------------------
 * Colours that a model shifts (colour.c)
 *
 * arXiv 2510.24448 shifts an answer's colours before it reads the grid, and leaves learned maps open. A map is
 * learned from the answers to the model's own training pairs, never from what is asked. Of grids (metric cells)
 * the cells count, of other pictures the pixels; geometry and colours are the task's. */
typedef enum vdm_colour {
    VDM_COLOUR_NONE,
    VDM_COLOUR_SHIFT,  /* the authors': up to 3 times, stopped where the sum of distances to the nearest colours
                          changes by less than 1, adds the mean of (nearest colour - mean of the cell, cut to
                          whole numbers) to the picture, within 0..255. Learns nothing */
    VDM_COLOUR_AFFINE, /* rgb' = A rgb + b: least squares from where each colour comes out (the median of its
                          cells) to the colour; of all pixels where the metric tells no colours apart. With a
                          ridge (levels in 0..1) towards rgb' = rgb of 1e-4, and 0.3 times the share of the
                          task's colours that no training answer should have had */
    VDM_COLOUR_PALETTE /* the colour whose place of coming out is nearest; of colours that were not seen, where
                          the affine map from true to seen ones expects them */
} vdm_colour;
int vdm_colour_parse(vdm_colour *kind, const char *word); /* "none", "shift", "affine", "palette"; -1: others */

/* What came out where each colour should have been. Zeroed at first; 100 KB. */
typedef struct vdm_colour_study {
    bool right_only;                          /* count only what is nearest to the right colour already */
    uint64_t seen[VDM_MAX_COLOURS];           /* cells or pixels */
    uint64_t level[VDM_MAX_COLOURS][3][256];  /* how many of them had each level */
    double zz[4][4], zd[4][3], pixels;        /* equations over all pixels, where there are no colours */
} vdm_colour_study;
/* Adds one answer. Pictures of other sizes than the truth, and grids that don't fit, add nothing. */
void vdm_colour_add(vdm_colour_study *s, const vdm_task *t, const vdm_picture *answer,
                    const vdm_picture *truth);

typedef struct vdm_colour_map {
    vdm_colour kind;
    double affine[3][4];               /* r', g', b' from r, g, b, 1; levels of 0..255 */
    double centre[VDM_MAX_COLOURS][3]; /* palette: where each colour comes out */
} vdm_colour_map;
/* From a study without answers: the identity. -1 where the metric tells no colours apart and the map needs it. */
int vdm_colour_learn(vdm_colour_map *m, vdm_colour kind, const vdm_colour_study *s, const vdm_task *t,
                     vdm_error *err);
/* Corrects a picture in place, rounding to whole levels. */
void vdm_colour_apply(const vdm_colour_map *m, const vdm_task *t, vdm_picture *p);
/* vdm_grid_read of the corrected picture, without that rounding: of the shift, what the authors read. */
int vdm_colour_read(uint8_t *cells, const vdm_colour_map *m, const vdm_picture *p, const vdm_task *geometry);

/* ------------------------------------------------------------------------------------------------
 * Signs of failure (diagnosis.c): sums over answers, zeroed at first. Levels are those of 0..255; frames are the
 * model's own, before any correction of colours.
 *
 * colour shift  for every colour of the task the mean of (level seen - colour) over the cells, or pixels, of known
 *               answers that are read right; of all pixels where the metric tells no colours apart.
 * motion blur   late / answers: mean |frame T-1 - frame T-2|; late / moved: as a share of frame 0 to T-1, which a
 *               discrete transition makes 0 and a linear one 1 / (T-1). edges / truth_edges: energy of the last
 *               frame's edges against the truth's, below 1 where it is smeared.
 * drift         drift / answers: mean |frame 0 - query|. The first frame should be the input.
 * memorising    the share of training pairs answered exactly beside that of held-out ones. */
typedef struct vdm_signs {
    int answers, known; /* known: with a truth */
    double late, moved, edges, truth_edges, drift;
    int train, train_exact, test, test_exact; /* of memorising: counted by the caller */
    vdm_colour_study colours;
} vdm_signs;
/* frames [T,H,W,3]; query and truth [H,W,3]; truth may be NULL. */
void vdm_signs_add(vdm_signs *s, const vdm_task *t, const uint8_t *frames, int T, const vdm_picture *query,
                   const vdm_picture *truth);
/* The shift of one colour of the task (0: of the whole picture where it has none), and how many cells or pixels
 * it is the mean of; 0 and NaN where there are none. */
int64_t vdm_signs_shift(double shift[3], const vdm_signs *s, const vdm_task *t, int number);
/* Mean of dx^2 + dy^2 over pixels: differences of luminance to the right and downwards neighbour, 0 at the rim. */
double vdm_edge_energy(const vdm_picture *p);

#endif
