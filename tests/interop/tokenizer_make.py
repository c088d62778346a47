"""tokenizer_make.py - small tokenizers of every kind, trained on a text with the package `tokenizers`.

make(folder, text, small) writes one folder for each; small = as they are recorded in tests/data/tokenizers.
"""
import io
import json
import os
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

BERT = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ROBERTA = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")
# what the recorded character map rewrites; the other one is SentencePiece's nmt_nfkc
RULES = [("\uff21", "A"), ("\uff22", "B"), ("\uff23", "C"), ("\ufb01", "fi"), ("\u00a0", " "), ("\u3000", " "), ("\t", " "), ("\n", " "),
         ("\r", " "), ("\u200b", " "), ("\ufeff", ""), ("\u0001", ""), ("\u007f", ""), ("e\u0301", "\u00e9"), ("a\u0301", "\u00e1"), ("a\u0323", "\u1ea1"),
         ("\u304b\u3099", "\u304c"), ("\uff76\uff9e", "\u30ac"), ("\uff76", "\u30ab"), ("\u2026", "..."), ("\u00bd", "1\u20442"), ("\u2460", "1"),
         ("\u212b", "\u00c5"), ("\U0001d400", "A"), ("\ufdfa", "\u0635\u0644\u0649"), ("\u1112\u1161\u11ab", "\ud55c"), ("\u0301", ""), ("\u0130", "I")]


def fields(data):
    """(number, bytes) of the length-delimited fields of a protocol buffer."""
    def varint(i):
        n = shift = 0
        while True:
            n |= (data[i] & 127) << shift
            shift += 7
            i += 1
            if data[i - 1] < 128: return n, i
    i = 0
    while i < len(data):
        key, i = varint(i)
        if key & 7 == 0: _, i = varint(i)
        elif key & 7 == 1: i += 8
        elif key & 7 == 5: i += 4
        else:
            n, i = varint(i)
            yield key >> 3, data[i:i + n]
            i += n


def charsmap(lines, rules):
    """The precompiled_charsmap of a SentencePiece model: nmt_nfkc, or these rules."""
    model, more = io.BytesIO(), {}
    tsv = tempfile.NamedTemporaryFile("w", suffix=".tsv")
    if rules:
        for a, b in rules: tsv.write("\t".join(" ".join("%X" % ord(c) for c in s) for s in (a, b)) + "\n")
        tsv.flush()
        more = {"normalization_rule_tsv": tsv.name}
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines[:300]), model_writer=model, vocab_size=150,
                                             hard_vocab_limit=False, minloglevel=2, **more)
    spec = dict(fields(model.getvalue()))[3]
    return dict(fields(spec))[2]


def save(folder, name, tokenizer, config=None):
    where = os.path.join(folder, name)
    os.makedirs(where, exist_ok=True)
    tokenizer.save(os.path.join(where, "tokenizer.json"), pretty=False)
    with open(os.path.join(where, "tokenizer_config.json"), "w") as f: json.dump(config or {}, f)
    return where


def wordpiece(lines, size, **normalizer):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer = normalizers.BertNormalizer(**normalizer)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=size, special_tokens=BERT, show_progress=False))
    t.decoder = decoders.WordPiece()
    return t


def bert_template(t):
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(s, t.token_to_id(s)) for s in ("[CLS]", "[SEP]")])


def unigram(lines, size, specials, unk, normalizer, pretok, **more):
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer = normalizer, pretok
    t.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=size, special_tokens=specials, unk_token=unk,
                                                         show_progress=False, **more))
    t.decoder = decoders.Metaspace()
    return t


def with_bytes(t):
    """The same pieces and the 256 byte pieces, byte_fallback on."""
    d = json.loads(t.to_str())
    d["model"]["vocab"] += [["<0x%02X>" % i, -20.0] for i in range(256)]
    d["model"]["byte_fallback"] = True
    return Tokenizer.from_str(json.dumps(d))


def byte_level(lines, size, specials, prefix=False):
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    t.train_from_iterator(lines, trainers.BpeTrainer(
        vocab_size=size, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.decoder = decoders.ByteLevel()
    return t


def make_bert(folder, lines, size):
    t = wordpiece(lines, size, lowercase=True)
    bert_template(t)
    save(folder, "bert", t, {"tokenizer_class": "BertTokenizer"})
    t = wordpiece(lines, size, lowercase=False, strip_accents=None, handle_chinese_chars=False)
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    t.decoder = decoders.WordPiece(cleanup=False)
    where = save(folder, "bert-cased", t)
    # a folder without tokenizer.json
    files = os.path.join(folder, "bert-files")
    os.makedirs(files, exist_ok=True)
    vocab = json.load(open(os.path.join(where, "tokenizer.json")))["model"]["vocab"]
    with open(os.path.join(files, "vocab.txt"), "w") as f:
        for piece in sorted(vocab, key=vocab.get): f.write(piece + "\n")
    with open(os.path.join(files, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": False, "strip_accents": True}, f)


def make_unigram(folder, lines, size, small):
    mapped = charsmap(lines, RULES if small else None)
    metaspace = pre_tokenizers.Metaspace()
    t = unigram(lines, size, ["<pad>", "</s>", "<unk>", "<extra_id_0>"], "<unk>", normalizers.Precompiled(mapped),
                pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), metaspace]))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>",
                                                     special_tokens=[("</s>", 1)])
    save(folder, "t5", t, {"tokenizer_class": "T5TokenizerFast", "eos_token": "</s>"})
    t = unigram(lines, size, ["[PAD]", "[CLS]", "[SEP]", "[UNK]"], "[UNK]", normalizers.Sequence([
        normalizers.Strip(), normalizers.Precompiled(mapped), normalizers.Replace(Regex(" {2,}"), " ")]), metaspace)
    t.add_special_tokens([AddedToken("[MASK]", special=True)])
    bert_template(t)
    save(folder, "deberta", t, {"tokenizer_class": "DebertaV2Tokenizer"})
    t = unigram(lines, size, ["<s>", "</s>", "<unk>"], "<unk>", normalizers.Sequence([
        normalizers.Nmt(), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
        normalizers.Replace("''", '"'), normalizers.NFC()]),
        pre_tokenizers.Metaspace(prepend_scheme="first", split=not small))
    t = with_bytes(t)
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()])
    save(folder, "unigram-bytes", t)


def make_byte_level(folder, lines, size):
    t = byte_level(lines, size, ROBERTA)
    t.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    save(folder, "roberta", t, {"tokenizer_class": "RobertaTokenizer"})
    t = byte_level(lines, size, ["<|endoftext|>", "<s>", "<pad>", "</s>", "<unk>", "<mask>"], prefix=True)
    for name, config in (
            ("gpt2-files", {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": True}),
            ("bart-files", {"tokenizer_class": "BartTokenizer"}),
            ("opt-files", {"tokenizer_class": "GPT2Tokenizer", "add_bos_token": True, "bos_token": "</s>",
                           "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>"})):
        where = os.path.join(folder, name)
        os.makedirs(where, exist_ok=True)
        t.model.save(where)
        with open(os.path.join(where, "tokenizer_config.json"), "w") as f: json.dump(config, f)


def make_others(folder, lines, size):
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    special = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)]
    t.train_from_iterator([w for line in lines for w in line.replace(" ", " \u2581").split(" ")], trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, show_progress=False))
    d = json.loads(t.to_str())
    d["added_tokens"] = d["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(d))
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                                   decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1",
                                                     special_tokens=[("<s>", 1)])
    save(folder, "sentencepiece-bpe", t)
    t = byte_level(lines, size, ["<|endoftext|>"])
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(GPT4), "isolated"), pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.Split("-", "merged_with_previous"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.normalizer = normalizers.NFC()
    t.add_tokens([AddedToken("Thou", single_word=True, normalized=True), AddedToken("  ", normalized=False)])
    save(folder, "split", t)


def make(folder, text, small):
    lines = [line for line in open(text, encoding="utf-8").read().splitlines() if line]
    size = 700 if small else 3000
    make_bert(folder, lines, size)
    make_unigram(folder, lines, size, small)
    make_byte_level(folder, lines, size)
    make_others(folder, lines, size)
    return sorted(n for n in os.listdir(folder) if os.path.isdir(os.path.join(folder, n)))
