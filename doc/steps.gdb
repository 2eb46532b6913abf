# One stop at every formula of TOUR.md, in the order of the computation; `continue` goes to the next one.
#   make BUILD=build/debug OPT=-O0 build/debug/vdm
#   VDM_ISA=plain gdb -x doc/steps.gdb --args build/debug/vdm predict --image x.ppm --ensemble 1 -o y.png
# With `vdm fit` in place of predict it stops at learning and at the backward pass too.
set pagination off
set breakpoint pending off

# steps 1 to 6: pictures become latents
tbreak interp.c:vdm_interp
tbreak vae.c:causal_conv
tbreak kernels/plain.c:plain_conv
tbreak kernels/plain.c:plain_group_norm
tbreak vae.c:downsample
tbreak vae.c:vdm_vae_sample
# 7 and 8, and 28 to 29: schedule, noise, timesteps
tbreak sampler.c:vdm_schedule_init
tbreak fit.c:train_step
tbreak sampler.c:run_pipeline
# 9 to 18: the transformer
tbreak vdm.c:rope_tables
tbreak vdm.c:patchify
tbreak vdm.c:embed_timesteps
# 768: the products that measure the speed for the expected time (tools/run/plan.c), not the model's
tbreak kernels/plain.c:plain_matmul if m->K != 768
tbreak kernels/plain.c:plain_layer_norm
tbreak lora.c:vdm_adapted_forward
tbreak kernels/plain.c:plain_rope
tbreak kernels/plain.c:plain_attention_forward
tbreak kernels/plain.c:plain_gated_add
tbreak kernels/plain.c:plain_gelu
tbreak vdm.c:head_forward
# 19 to 27: loss, backward pass, AdamW
tbreak vdm.c:head_backward
tbreak vdm.c:block_backward
tbreak vdm.c:feed_backward
tbreak kernels/plain.c:plain_gelu_backward
tbreak kernels/plain.c:plain_layer_norm_backward
tbreak vdm.c:attention_backward
tbreak kernels/plain.c:plain_attention_backward
tbreak vdm.c:qk_backward
tbreak lora.c:vdm_adapted_backward if l->target <= VDM_OUT
tbreak lora.c:vdm_clip_grad
tbreak kernels/plain.c:plain_adamw
# 30 to 35: a step of sampling, and back to pixels
tbreak sampler.c:predict
tbreak sampler.c:vdm_ddim_step
tbreak sampler.c:decode
tbreak vae.c:latent_frame
tbreak vae.c:upsample
tbreak interp.c:vdm_bytes_from_video
run
