/* Every key of the configurations in a model folder: the arguments of the classes' constructors (diffusers 0.42,
 * transformers 5.24), and what their libraries add when they save. tests/test_model.c walks the table: an obeyed key
 * changes the configuration, a fixed one is rejected with any other value, an ignored one changes nothing;
 * tests/peer/config_keys.py compares it with the constructors. A key that is not here belongs to none of these classes,
 * and they ignore it with a warning.
 *
 * Trap: `_use_default_values` and `quantization_config` are arguments of no constructor, but obeyed on loading. */
#include "files/config_keys.h"

#include <stddef.h>

#define OBEYED(part, key)                        \
    {                                            \
        part, key, VDM_KEY_OBEYED, NULL, NULL, 0 \
    }
#define FIXED(part, key, value)                  \
    {                                            \
        part, key, VDM_KEY_FIXED, value, NULL, 0 \
    }
#define REQUIRED(part, key, value)               \
    {                                            \
        part, key, VDM_KEY_FIXED, value, NULL, 1 \
    }
#define IGNORED(part, key, reason)                  \
    {                                               \
        part, key, VDM_KEY_IGNORED, NULL, reason, 0 \
    }

static const char LABEL[] = "a name or a version; nothing is computed from it";
static const char DECODER[] = "of the decoder; there is only an encoder";
static const char TRAINING[] = "acts only in training; the text encoder is never trained";
static const char OUTPUTS[] = "what a call returns, not what is computed";

#define T "transformer"
#define V "vae"
#define S "scheduler"
#define E "text_encoder"

/* clang-format off */
const vdm_config_key vdm_config_keys[] = {
    /* CogVideoXTransformer3DModel */
    REQUIRED(T, "_class_name", "CogVideoXTransformer3DModel"),
    OBEYED(T, "num_attention_heads"),
    OBEYED(T, "attention_head_dim"),
    OBEYED(T, "in_channels"),
    OBEYED(T, "out_channels"),
    OBEYED(T, "flip_sin_to_cos"),
    OBEYED(T, "freq_shift"),
    OBEYED(T, "time_embed_dim"),
    OBEYED(T, "ofs_embed_dim"),
    OBEYED(T, "text_embed_dim"),
    OBEYED(T, "num_layers"),
    FIXED(T, "dropout", "0"),
    FIXED(T, "attention_bias", "true"),
    OBEYED(T, "sample_width"),
    OBEYED(T, "sample_height"),
    OBEYED(T, "sample_frames"),
    OBEYED(T, "patch_size"),
    OBEYED(T, "patch_size_t"),
    OBEYED(T, "temporal_compression_ratio"),
    OBEYED(T, "max_text_seq_length"),
    FIXED(T, "activation_fn", "gelu-approximate"),
    FIXED(T, "timestep_activation_fn", "silu"),
    FIXED(T, "norm_elementwise_affine", "true"),
    OBEYED(T, "norm_eps"),
    OBEYED(T, "spatial_interpolation_scale"),
    OBEYED(T, "temporal_interpolation_scale"),
    OBEYED(T, "use_rotary_positional_embeddings"),
    OBEYED(T, "use_learned_positional_embeddings"),
    OBEYED(T, "patch_bias"),
    FIXED(T, "qk_norm", "layer_norm"), /* of forks */
    FIXED(T, "quantization_config", "null"),
    FIXED(T, "_use_default_values", "null"),
    IGNORED(T, "_diffusers_version", LABEL),
    IGNORED(T, "_name_or_path", LABEL),
    /* AutoencoderKLCogVideoX */
    REQUIRED(V, "_class_name", "AutoencoderKLCogVideoX"),
    FIXED(V, "in_channels", "3"),
    FIXED(V, "out_channels", "3"),
    OBEYED(V, "down_block_types"),
    OBEYED(V, "up_block_types"),
    OBEYED(V, "block_out_channels"),
    OBEYED(V, "latent_channels"),
    OBEYED(V, "layers_per_block"),
    FIXED(V, "act_fn", "silu"),
    OBEYED(V, "norm_eps"),
    OBEYED(V, "norm_num_groups"),
    OBEYED(V, "temporal_compression_ratio"),
    OBEYED(V, "sample_height"),
    OBEYED(V, "sample_width"),
    OBEYED(V, "scaling_factor"),
    FIXED(V, "shift_factor", "null"),
    FIXED(V, "latents_mean", "null"),
    FIXED(V, "latents_std", "null"),
    IGNORED(V, "force_upcast", "asks for float32 in pipelines of float16; sums are always in float32 here"),
    OBEYED(V, "use_quant_conv"),
    OBEYED(V, "use_post_quant_conv"),
    OBEYED(V, "invert_scale_latents"),
    FIXED(V, "quantization_config", "null"),
    FIXED(V, "_use_default_values", "null"),
    IGNORED(V, "_diffusers_version", LABEL),
    IGNORED(V, "_name_or_path", LABEL),
    /* CogVideoXDDIMScheduler and CogVideoXDPMScheduler, which have the same arguments */
    OBEYED(S, "_class_name"),
    OBEYED(S, "num_train_timesteps"),
    OBEYED(S, "beta_start"),
    OBEYED(S, "beta_end"),
    FIXED(S, "beta_schedule", "scaled_linear"),
    FIXED(S, "trained_betas", "null"),
    REQUIRED(S, "clip_sample", "false"),
    OBEYED(S, "set_alpha_to_one"),
    IGNORED(S, "steps_offset", "is only added to the timesteps of \"leading\" spacing"),
    REQUIRED(S, "prediction_type", "v_prediction"),
    IGNORED(S, "clip_sample_range", "acts only with clip_sample, which is false"),
    IGNORED(S, "sample_max_value", "acts only with thresholding, which the class does not have"),
    REQUIRED(S, "timestep_spacing", "trailing"),
    OBEYED(S, "rescale_betas_zero_snr"),
    OBEYED(S, "snr_shift_scale"),
    FIXED(S, "_use_default_values", "null"),
    IGNORED(S, "_diffusers_version", LABEL),
    /* T5EncoderModel: T5Config */
    REQUIRED(E, "model_type", "t5"),
    OBEYED(E, "vocab_size"),
    OBEYED(E, "d_model"),
    OBEYED(E, "d_kv"),
    OBEYED(E, "d_ff"),
    OBEYED(E, "num_layers"),
    OBEYED(E, "num_heads"),
    OBEYED(E, "relative_attention_num_buckets"),
    OBEYED(E, "relative_attention_max_distance"),
    OBEYED(E, "layer_norm_epsilon"),
    REQUIRED(E, "feed_forward_proj", "gated-gelu"),
    FIXED(E, "dense_act_fn", "gelu_new"), /* goes before feed_forward_proj */
    FIXED(E, "is_gated_act", "true"),
    FIXED(E, "quantization_config", "null"),
    IGNORED(E, "num_decoder_layers", DECODER),
    IGNORED(E, "decoder_start_token_id", DECODER),
    IGNORED(E, "scale_decoder_outputs", DECODER),
    IGNORED(E, "is_decoder", "T5EncoderModel sets it to false"),
    IGNORED(E, "is_encoder_decoder", "T5EncoderModel sets it to false"),
    IGNORED(E, "use_cache", "of the decoder's keys and values"),
    IGNORED(E, "dropout_rate", TRAINING),
    IGNORED(E, "classifier_dropout", TRAINING),
    IGNORED(E, "initializer_factor", "of weights that are drawn, not loaded"),
    IGNORED(E, "pad_token_id", "the tokenizer's ids are used; padding attends like any token"),
    IGNORED(E, "eos_token_id", "the tokenizer's ids are used"),
    IGNORED(E, "tie_word_embeddings", "the table is looked up under both of its names"),
    IGNORED(E, "output_past", OUTPUTS),
    IGNORED(E, "output_hidden_states", OUTPUTS),
    IGNORED(E, "output_attentions", OUTPUTS),
    IGNORED(E, "return_dict", OUTPUTS),
    IGNORED(E, "chunk_size_feed_forward", "the same result in pieces; T5 does not read it"),
    IGNORED(E, "id2label", LABEL),
    IGNORED(E, "label2id", LABEL),
    IGNORED(E, "problem_type", LABEL),
    IGNORED(E, "architectures", LABEL),
    IGNORED(E, "transformers_version", LABEL),
    IGNORED(E, "_name_or_path", LABEL),
    IGNORED(E, "dtype", "weights have the types of their files"),
    IGNORED(E, "torch_dtype", "weights have the types of their files"),
    {NULL, NULL, VDM_KEY_IGNORED, NULL, NULL, 0},
};
/* clang-format on */
