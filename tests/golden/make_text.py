"""Makes the text encoder and the tokenizer of tests/golden/1.5-5B-I2V, and what transformers and sentencepiece make of
them: text.safetensors and tokenizer.json of tests/test_t5.c. As make.py, which makes the others.

    python tests/golden/make_text.py        (writes next to itself; the numbers change with the seed alone)"""

import io
import os
import re
import shutil
import tempfile

import sentencepiece
import torch
from make import HERE, Golden, common
from transformers import T5Config, T5EncoderModel, T5Tokenizer

# A small table, in the file's own form: NFKC's would be 240 KB. Code points -> code points, in hexadecimal.
RULES = ["9\t20", "A\t20", "A0\t20", "3000\t20", "200B\t", "FB01\t66 69", "65 301\tE9", "65 301 301\t45", "BD\t31 2F 32",
         "FF21\t41", "2026\t2E 2E 2E", "20 20 2E\t2E", "AD\t"]  # fmt: skip
TEXT = """the red square falls down
a mirror image of the picture
cells live and die
turn it by ninety degrees
the fish and the figure
déjà vu"""
PROMPTS = ["", " ", "a", "the red square", "  the   red\tsquare \n", "\u3000mirror\u00a0image ", "\ufb01sh \ufb01gure", "de\u0301ja\u0300 vu",
           "e\u0301\u0301e\u0301e", "zzz qqq", "日本語 cells", "cells\u200band\u00addie", "▁", "turn ▁it▁", "½ \uff21 …  .", "</s> <unk>",
           "the fish and the figure fall down and live and die by ninety degrees, mirror image of the picture"]  # fmt: skip
BYTES = [b"\xff", b"a\x80b", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"cells\xe6\x97", b"\x01\x7f"]


def tokenizer(folder):
    model = io.BytesIO()
    before = os.getcwd()
    with tempfile.TemporaryDirectory() as there:  # the model keeps the table's path: a bare name
        os.chdir(there)
        with open("rules.tsv", "w") as rules:
            rules.write("\n".join(RULES) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXT.splitlines() * 3), model_writer=model, vocab_size=80, model_type="unigram", pad_id=0,
            eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", hard_vocab_limit=False, minloglevel=2,
            normalization_rule_tsv="rules.tsv",
        )  # fmt: skip
        os.chdir(before)
    folder.mkdir(exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def pieces_of(pieces, prompt):
    """sentencepiece's ids, after special tokens are cut out as transformers does."""
    ids = []
    for part in re.split(rb"(</s>|<pad>|<unk>)", prompt):
        ids += [(b"<pad>", b"</s>", b"<unk>").index(part)] if part in (b"</s>", b"<pad>", b"<unk>") else pieces.encode(part)
    return ids


def save_json(folder, to):
    """The same tokenizer as transformers 5 saves it."""
    with tempfile.TemporaryDirectory() as there:
        T5Tokenizer.from_pretrained(folder).save_pretrained(there)
        shutil.copy(os.path.join(there, "tokenizer.json"), to)


def main():
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(20252)
    here = HERE / "1.5-5B-I2V"
    pieces = tokenizer(here / "tokenizer")
    save_json(here / "tokenizer", HERE / "tokenizer.json")
    config = T5Config(vocab_size=pieces.get_piece_size() + 3, d_model=20, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
                      feed_forward_proj="gated-gelu", dropout_rate=0.0)  # fmt: skip
    model = common.randomize(T5EncoderModel(config), rng)
    model.to(torch.bfloat16).save_pretrained(here / "text_encoder")
    model.float()
    g = Golden("text")
    for i, prompt in enumerate([p.encode() for p in PROMPTS] + BYTES):
        ids = pieces_of(pieces, prompt)
        g.tensors[f"prompt.{i}"] = torch.tensor(list(prompt), dtype=torch.uint8)
        for count in (5, 40):
            cut = ids[: count - 1] + [1]
            g.tensors[f"ids.{count}.{i}"] = torch.tensor(cut + [0] * (count - len(cut)), dtype=torch.int32)
    for i, count in ((4, 40), (16, 40), (0, 5)):
        ids = g.tensors[f"ids.{count}.{i}"].long()
        with torch.no_grad():
            g.result(f"text.{count}.{i}", *common.both(model, lambda m: m(ids[None])[0][0]))
    g.write()


if __name__ == "__main__":
    main()
