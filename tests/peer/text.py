"""vdm's prompts against the libraries that CogVideoX's pipelines use: token ids against sentencepiece on a vocabulary
trained here (with nmt_nfkc, the table of T5's), on prompts of every script and on bytes that are none; the embedding
against transformers' T5EncoderModel in float64, random models drawn again at every run."""

import io
import json
import re
import subprocess

import sentencepiece
import torch
from transformers import T5Config, T5EncoderModel, T5Tokenizer
from transformers.utils import logging

from common import Cases, DriverError, both, distance, load_file, options, randomize, run, save, scheduler, transformer, vae, vdm

ALPHABETS = [
    "abcdefghijklmnopqrstuvwxyz ",
    "ABCDEFGHIJ .,;:!?'\"()-_/0123456789 \t\n\r",
    "ÄÖÜäöüßéèêñçøåæœ  ",
    "ﬁﬂﬀ①②Ⅷ㎏㌔½ªº™ＡＢＣ１２３　ｶﾞｷﾟ",  # what NFKC takes apart or together
    "\u0301\u0308\u200b\u200d\u00ad\ufeff\u2028\u3000\x01\x7f\x85\ufffd▁<>{}",
    "привет мир ελληνικά עברית العربية हिन्दी ไทย 日本語 한국어 한국어 中文 😀🏽👩‍👩‍👧",
]
SENTENCES = """a red square moves to the right
the picture is mirrored and every cell takes the colour of its neighbour
all shapes fall to the ground until they lie on another one
a drawing of a stick figure with two arms and two legs, walking
the disc is white, everything else becomes black
day and night, life and death: cells that are born and cells that die
turn the image by ninety degrees, twice
the maze is solved: a path from the entrance to the exit
ein Bild wird gespiegelt, jede Zelle nimmt die Farbe ihrer Nachbarin an
el cuadrado rojo se mueve hacia la derecha
日本語の文も少し あります
привет, мир"""


def train(folder, vocabulary, **more):
    """A small vocabulary as T5's: pieces 0, 1, 2 are <pad>, </s>, <unk>."""
    folder.mkdir(parents=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES.splitlines() * 3), model_writer=model, vocab_size=vocabulary, model_type="unigram",
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>", hard_vocab_limit=False, minloglevel=2,
        normalization_rule_name="nmt_nfkc", character_coverage=0.98, **more,
    )  # fmt: skip
    (folder / "spiece.model").write_bytes(model.getvalue())
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "spiece.model"))


SPECIAL = re.compile(rb"(</s>|<pad>|<unk>|<extra_id_[1-9]?\d>)")


def pieces_of(pieces, prompt):
    """sentencepiece's ids of what is between the special tokens, as transformers' T5Tokenizer cuts them out."""
    ids = []
    for part in SPECIAL.split(prompt if isinstance(prompt, bytes) else prompt.encode()):
        if not SPECIAL.fullmatch(part):
            ids += pieces.encode(part)
        elif part.startswith(b"<extra"):
            ids.append(pieces.get_piece_size() + 99 - int(part[10:-1]))
        else:
            ids.append(pieces.piece_to_id(part.decode()))
    return ids


def expected(pieces, prompt, count):
    """As the pipelines' tokenizer call: truncated to count - 1, </s>, padded."""
    ids = pieces_of(pieces, prompt)[: count - 1] + [pieces.eos_id()]
    return ids + [pieces.pad_id()] * (count - len(ids))


def random_prompt(c):
    parts = []
    for _ in range(c.integer(0, 12)):
        kind = c.integer(0, 3)
        if kind == 0:
            words = c.choice(SENTENCES.splitlines()).split(" ")
            parts.append(c.choice([" ", "  ", "\u3000"]).join(words[: c.integer(1, len(words))]))
        else:
            alphabet = c.choice(ALPHABETS)
            parts.append("".join(c.choice(alphabet) for _ in range(c.integer(1, 9))))
        parts.append(c.choice(["", " ", "   ", "\n"]))
        if c.integer(0, 5) == 0:
            parts.append(c.choice(["</s>", "<pad>", "<unk>", f"<extra_id_{c.integer(0, 99)}>", "<extra_id_100>", "</s", "<"]))
    return "".join(parts)


def ties(c):
    """Random scores of one letter repeated: sums that are equal as floats are not in double."""
    folder = c.folder / "ties"
    pieces = train(folder, 200)
    for number in range(20):
        prompts = ["".join(c.choice("aeions") * c.integer(1, 9) for _ in range(c.integer(1, 6))) for _ in range(100)]
        given = {f"prompt.{i}": torch.tensor(list(p.encode()), dtype=torch.uint8) for i, p in enumerate(prompts)}
        ours = run("tokenize", folder, given, count=80)["ids"].tolist()
        wrong = [p for p, a in zip(prompts, ours) if a != expected(pieces, p, 80)]
        c.check(f"repeated letters {number}", not wrong, f"{wrong[:3] or ''}")


def saved(c, cases):
    """The same tokenizer as transformers saves it, against the library itself: words without combining marks."""
    folder, to = c.folder / "slow", c.folder / "saved"
    train(folder, 130)
    theirs = T5Tokenizer.from_pretrained(folder)
    theirs.save_pretrained(to)
    c.check("saved: no spiece.model", not (to / "spiece.model").exists())
    prompts = ["", " ", "a </s>", "</s>a<pad> <unk> b", "x<extra_id_0>y<extra_id_99>z <extra_id_100>"]
    for _ in range(10 * cases):
        words = [w for _ in range(c.integer(1, 3)) for w in c.choice(SENTENCES.splitlines()).split(" ")]
        words = [c.choice([w, w, w, w.upper(), c.choice(["</s>", "<extra_id_7>", "x" + w])]) for w in words]
        prompts.append(c.choice([" ", "  "]).join(words))
    given = {f"prompt.{i}": torch.tensor(list(p.encode()), dtype=torch.uint8) for i, p in enumerate(prompts)}
    for count in (226, 9):
        ours = run("tokenize", to, given, count=count)["ids"].tolist()
        ids = [theirs(p, padding="max_length", truncation=True, max_length=count).input_ids for p in prompts]
        wrong = [p for p, a, e in zip(prompts, ours, ids) if a != e]
        c.check(f"saved: {count} ids", not wrong, f"{len(prompts) - len(wrong)} of {len(prompts)} prompts {wrong[:3] or ''}")


def legacy(c):
    """"legacy" of tokenizer_config.json: transformers 4 began the text after a special token without a space if it was
    false; T5Tokenizer of transformers 5 ignores it, and so does vdm."""
    prompts = ["a red", "a</s>b", "a </s> b", "a<extra_id_0>red square", "<extra_id_1> the", "</s>the", "red<pad>the"]
    given = {f"prompt.{i}": torch.tensor(list(p.encode()), dtype=torch.uint8) for i, p in enumerate(prompts)}
    for value in (None, True, False):
        folder = c.folder / f"legacy-{value}"
        train(folder, 200)
        config = {"tokenizer_class": "T5Tokenizer"} | ({} if value is None else {"legacy": value})
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        theirs = T5Tokenizer.from_pretrained(folder)
        ids = [theirs(p, padding="max_length", truncation=True, max_length=20).input_ids for p in prompts]
        ours = run("tokenize", folder, given, count=20)["ids"].tolist()
        c.check(f"tokens, legacy {value}", ours == ids, f"{[p for p, a, e in zip(prompts, ours, ids) if a != e] or ''}")


def tokens(c, cases):
    for number in range(4):
        folder = c.folder / f"tokenizer-{number}"
        pieces = train(folder, 60 + 70 * number) if number < 3 else train(folder, 330, byte_fallback=True)
        prompts = ["", " ", "▁", "  ▁ ", "a", " a ", "a b", "\u200b", "\u3000", "x" * 400] + [
            random_prompt(c) for _ in range(cases)
        ]
        raw = [bytes(c.integer(1, 255) for _ in range(c.integer(1, 20))) for _ in range(cases)]
        all_bytes = [p.replace("\0", "").encode() for p in prompts] + raw
        for count in (226, 9):
            given = {f"prompt.{i}": torch.tensor(list(b), dtype=torch.uint8) for i, b in enumerate(all_bytes)}
            ours = run("tokenize", folder, given, count=count)["ids"].tolist()
            theirs = [expected(pieces, b, count) for b in all_bytes]
            wrong = [b for b, a, e in zip(all_bytes, ours, theirs) if a != e]
            c.check(f"tokens, {pieces.get_piece_size()} pieces, {count} ids", not wrong,
                    f"{len(all_bytes) - len(wrong)} of {len(all_bytes)} prompts {wrong[:3] or ''}")  # fmt: skip


def draw_encoder(c):
    config = T5Config(
        vocab_size=c.integer(40, 300), d_model=8 * c.integer(1, 12), d_kv=c.choice([4, 8, 16, 33, 64]), d_ff=c.integer(5, 150),
        num_layers=c.integer(1, 4), num_heads=c.integer(1, 5), feed_forward_proj="gated-gelu",
        relative_attention_num_buckets=c.choice([32, 32, 8, 16]), relative_attention_max_distance=c.choice([128, 128, 20, 64]),
        dropout_rate=0.0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    model = randomize(T5EncoderModel(config), c.rng)
    for name, p in model.named_parameters():  # randomize knows PyTorch's norms alone; scores aren't scaled
        if name.endswith("layer_norm.weight"):
            p.data.copy_(1 + 0.3 * c.randn(*p.shape))
        if name.endswith("SelfAttention.q.weight"):
            p.data.mul_(config.d_kv**-0.5)
    return model


def encoders(c, cases):
    for number in range(cases):
        model, dtype = draw_encoder(c), c.choice([torch.float32, torch.float16, torch.bfloat16])
        folder = c.folder / f"t5-{number}"
        model.to(dtype).save_pretrained(folder, max_shard_size=c.choice(["10GB", "40KB"]))
        model.float()
        L, g, draws = c.choice([1, 2, 9, 40, 226]), model.config, []
        for _ in range(3 if L >= 9 else 15):  # together: with a few ids one draw is luck
            ids = torch.randint(0, g.vocab_size, (L,), generator=c.rng)
            ids[L // 2 + 1 :] = 0
            with torch.no_grad():
                f32, f64 = both(model, lambda m: m(ids[None])[0][0])
            draws.append((run("text", folder, {"ids": ids.to(torch.int32)})["text"], f32, f64))
        what = f"text encoder {g.num_layers} layers {g.num_heads}x{g.d_kv} of {g.d_model}, {L} ids, {dtype}"
        c.within(what, *(torch.cat(x) for x in zip(*draws)))


def goldens(c):
    """`vdm golden --what text`: the modules' outputs, under their names."""
    folder, encoder = c.folder / "model", draw_encoder(c)
    width = encoder.config.d_model
    save(folder, transformer("1.5-5B-I2V", c.rng, text_embed_dim=width), vae(c.rng), scheduler())
    encoder.save_pretrained(folder / "text_encoder")
    pieces = train(folder / "tokenizer", 60)
    out = c.folder / "golden.safetensors"
    encoder.resize_token_embeddings(max(encoder.config.vocab_size, pieces.get_piece_size()))
    encoder.save_pretrained(folder / "text_encoder")
    subprocess.run([vdm(), "golden", folder, "--what", "text", "--prompt", SENTENCES.splitlines()[0], "-o", out], check=True)
    ours, theirs = load_file(out), {}

    def store(name):
        return lambda module, _, y: theirs.update({name: (y[0] if isinstance(y, tuple) else y)[0]})

    for name, module in encoder.named_modules():
        if name in ours or name == "shared":
            module.register_forward_hook(store(name))
    ids = ours.pop("ids").long()
    c.check("golden: ids", ids.tolist() == expected(pieces, SENTENCES.splitlines()[0], len(ids)))
    with torch.no_grad():
        encoder(ids[None])
    theirs.setdefault("encoder.embed_tokens", theirs.pop("shared", None))  # one module of two names
    worst = max(distance(ours[name], theirs[name]) for name in ours) if ours.keys() == theirs.keys() else float("inf")
    c.check(f"golden: {len(ours)} tensors", worst < 1e-5, f"worst {worst:.1e} {ours.keys() ^ theirs.keys() or ''}")


def rejections(c):
    for what, change in (("relu", dict(feed_forward_proj="relu")), ("no T5", dict(model_type="bert"))):
        folder = c.folder / f"rejected-{what}"
        model = draw_encoder(c)
        model.save_pretrained(folder)
        config = folder / "config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
        try:
            run("text", folder, {"ids": torch.ones(3, dtype=torch.int32)})
            c.check(f"rejects {what}", False)
        except DriverError as e:
            c.check(f"rejects {what}", next(iter(change)) in str(e), str(e)[-60:])


def main():
    logging.disable_progress_bar()
    o = options(cases=12)
    with Cases("text", o.seed) as c:
        tokens(c, 40 * o.cases // 12)
        ties(c)
        legacy(c)
        saved(c, o.cases)
        encoders(c, o.cases)
        goldens(c)
        rejections(c)


if __name__ == "__main__":
    main()
