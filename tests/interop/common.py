"""common.py - both sides of a comparison: `qlora` as a program, and transformers + bitsandbytes + PEFT in fp32.

Our logits come from `qlora verify --write` on a folder with a partial oracle: nothing is linked, only files pass.
"""
import json
import os
import subprocess
import sys
import tempfile

import bitsandbytes as bnb
import torch
from bitsandbytes.functional import dequantize_blockwise, int8_vectorwise_dequant
from safetensors.torch import load_file, save_file
from transformers import (AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification,
                          LlamaConfig, LlamaForCausalLM)
from transformers.utils import logging

PROGRAM = os.path.abspath(sys.argv[1])
DATA = os.environ["QL_TEST_DATA"]
SHARED = os.environ["QL_TEST_SHARED"]
TINY = os.path.join(DATA, "models", "tiny-llama")
VOCAB = 256  # of both small models
TASKS = {"causal": AutoModelForCausalLM, "cls": AutoModelForSequenceClassification, "seq2seq": AutoModelForSeq2SeqLM}
logging.disable_progress_bar()

_temp = tempfile.TemporaryDirectory(prefix="qlora-interop-")
_failed = []


def path(name):
    return os.path.join(_temp.name, name)


def qlora(*args, status=(0,)):
    """Runs the program; its standard output."""
    r = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True)
    if r.returncode not in status:
        sys.exit("qlora %s: exit %d\n%s" % (" ".join(map(str, args)), r.returncode, r.stderr))
    return r.stdout


def qlora_result(*args):
    """(exit status, standard output, standard error) of a run that may fail."""
    r = subprocess.run([PROGRAM, *map(str, args)], capture_output=True, text=True)
    return r.returncode, r.stdout, r.stderr


def note_failure(what):
    _failed.append(what)


def check(what, value, limit):
    """value must be at most limit; every measured value is printed."""
    ok = value <= limit
    print("%-64s %.3g  (limit %g)%s" % (what, value, limit, "" if ok else "  TOO LARGE"), flush=True)
    if not ok: _failed.append(what)


def check_at_least(what, value, limit):
    """A comparison that could not fail proves nothing: value must reach limit."""
    ok = value >= limit
    print("%-64s %.3g  (at least %g)%s" % (what, value, limit, "" if ok else "  TOO SMALL"), flush=True)
    if not ok: _failed.append(what)


def finish():
    if _failed: sys.exit("failed: " + "; ".join(_failed))


def distance(a, b):
    d = (a.double() - b.double()).abs()
    return d.max().item() if torch.isfinite(d).all() else float("inf")


def some_ids(rows=2, cols=24, seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCAB, (rows, cols), generator=g)


def our_outputs(model, inputs, shape, adapter=None):
    """Logits of a model folder, or of the folder with an adapter, on an oracle's inputs (labels among them)."""
    case = "qlora" if adapter else "plain"
    d = tempfile.mkdtemp(dir=_temp.name)
    for f in os.listdir(model):
        if os.path.isfile(os.path.join(model, f)) and not f.startswith("oracle"):
            os.symlink(os.path.join(os.path.abspath(model), f), os.path.join(d, f))
    if adapter: os.symlink(os.path.abspath(adapter), os.path.join(d, "adapter"))
    save_file({**inputs, case + ".logits": torch.zeros(*shape)}, os.path.join(d, "oracle.safetensors"))
    out = os.path.join(d, "ours.safetensors")
    qlora("verify", d, "--cases", case, "--write", out, status=(0, 4))  # 4: they are not zeros
    return load_file(out)[case + ".logits"]


def our_logits(model, ids, adapter=None, vocab=VOCAB):
    """[rows, cols, vocab] of a decoder on whole rows."""
    return our_outputs(model, {"input_ids": ids, "labels": ids.clone(), "attention_mask": torch.ones_like(ids)},
                       (*ids.shape, vocab), adapter)


def small_model():
    """A random Llama whose rows are whole blocks of 64: on CPUs with AVX512 bitsandbytes decodes others wrongly."""
    out = path("small")
    if os.path.isdir(out): return out
    torch.manual_seed(5)
    model = LlamaForCausalLM(LlamaConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, vocab_size=VOCAB,
                                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                                         initializer_range=0.15, tie_word_embeddings=False))
    model.save_pretrained(out)
    return out


def load(folder, task="causal", **more):
    """A folder in transformers, fp32. bitsandbytes' packed path for CPUs with AVX512-BF16 is left out: it multiplies
    in bf16."""
    alibi = getattr(AutoConfig.from_pretrained(folder), "alibi", False)  # eager Falcon adds the bias twice (5.23)
    loaded = TASKS[task].from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa" if alibi else "eager",
                                         device_map="cpu", **more)
    model = (loaded[0] if isinstance(loaded, tuple) else loaded).eval()  # a tuple: with output_loading_info
    for m in model.modules():
        if isinstance(m, bnb.nn.Linear4bit): m.support_avx512bf16_for_cpu = False
    return loaded


def decoded_4bit(m):
    """Table entry times block scale, blocks counted over the flattened weight (whatever the CPU's kernels do)."""
    s = m.weight.quant_state
    absmax = dequantize_blockwise(s.absmax, s.state2) + s.offset if s.nested else s.absmax
    packed = m.weight.data.view(-1)
    codes = torch.stack([packed >> 4, packed & 15], 1).view(-1)[:s.shape.numel()]
    blocks = torch.arange(codes.numel()) // s.blocksize
    return (s.code[codes.long()] * absmax.float()[blocks]).view(s.shape)


def decoded_8bit(m):
    state = m.weight if m.weight.SCB is not None else m.state
    return int8_vectorwise_dequant(state.CB if state.CB is not None else m.weight.data, state.SCB).float()


def decoded(model):
    """The model with every quantized layer replaced by a dense one: LLM.int8 layers round activations, we do not."""
    for name, m in list(model.named_modules()):
        if not isinstance(m, (bnb.nn.Linear4bit, bnb.nn.Linear8bitLt)): continue
        dense = torch.nn.Linear(m.in_features, m.out_features, bias=m.bias is not None)
        dense.weight.data = decoded_4bit(m) if isinstance(m, bnb.nn.Linear4bit) else decoded_8bit(m)
        if m.bias is not None: dense.bias.data = m.bias.data.float()
        model.set_submodule(name, dense)
    for p in model.parameters(): p.data = p.data.float()  # what is not quantized was left in the file's type
    model.is_quantized = False
    model.config.quantization_config = None
    return model


def their_logits(model, ids):
    with torch.no_grad(): return model(input_ids=ids).logits.float()


def quantize(model, name, *flags):
    out = path(name)
    qlora("quantize", "-m", model, "--output_dir", out, *flags)
    return out


def token_rows(name, ids):
    with open(path(name), "w") as f:
        for row in ids.tolist(): f.write(json.dumps({"input_ids": row}) + "\n")
    return path(name)
