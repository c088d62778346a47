"""oracle.py - one recorded model folder: config, weights, a QLoRA start, and what transformers and PEFT make of them.

The base of the QLoRA case is an ordinary fp32 model whose quantized layers hold the decoded NF4 weight (block 64,
double quantisation): bitsandbytes encodes, the decoding is written out here, because its kernels for CPUs with AVX512
decode rows that are not whole blocks wrongly. Eager attention, one thread.
"""
import json
import os

import bitsandbytes as bnb
import bitsandbytes.functional as bf
import peft
import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification
from transformers.pytorch_utils import Conv1D

VOCAB = 96  # of the models written here
LENGTHS = [24, 17, 21]  # of the rows
DOCUMENTS = [9, 5, 10]  # of the packed row
KIND = {"causal": (AutoModelForCausalLM, "CAUSAL_LM"), "cls": (AutoModelForSequenceClassification, "SEQ_CLS"),
        "seq2seq": (AutoModelForSeq2SeqLM, "SEQ_2_SEQ_LM")}
LINEAR = (torch.nn.Linear, Conv1D)
STEPS, LR, DECAY, CLIP = 3, 1e-3, 0.01, 0.3
torch.set_num_threads(1)


def versions():
    return {m.__name__: m.__version__ for m in (torch, transformers, peft, bnb)}


def generator(seed):
    return torch.Generator().manual_seed(seed)


def attention(folder):
    """Eager, but for Falcon with ALiBi: transformers 5.23's eager path adds the bias twice (in the mask and again)."""
    return "sdpa" if getattr(AutoConfig.from_pretrained(folder), "alibi", False) else "eager"


def load(folder, task, dtype=torch.float32, **more):
    model = KIND[task][0].from_pretrained(folder, dtype=torch.float32, attn_implementation=attention(folder), **more)
    model.config.use_cache = False
    return model.to(dtype).eval()


# --- the model ---

def spread(name, module, parameter):
    """mean and deviation of one random parameter: activations of size one, attention that looks at something."""
    kind = type(module).__name__
    if parameter.dim() == 1 and name.endswith("bias"): return 0, 0.15
    if parameter.dim() == 1: return (0 if kind.startswith("Gemma") else 1), 0.15
    if isinstance(module, torch.nn.Embedding):
        if "relative_attention_bias" in name: return 0, 0.8
        return 0, 0.08 if "Scaled" in kind else 0.2
    rows = parameter.shape[0] if isinstance(module, Conv1D) else parameter.shape[1]
    return 0, rows ** -0.5


def fill(model, seed):
    """Random weights over all parameters, and a final_logits_bias that is not zero where a model has one."""
    g, modules = generator(seed), dict(model.named_modules())
    with torch.no_grad():
        for name, p in model.named_parameters():
            mean, deviation = spread(name, modules[name.rpartition(".")[0]], p)
            p.copy_(torch.randn(p.shape, generator=g) * deviation + mean)
        bias = getattr(model, "final_logits_bias", None)
        if bias is not None: bias.copy_(torch.randn(bias.shape, generator=g) * 0.15)


def old_spelling(config):
    """config.json as transformers 4.46 wrote it: rope_theta and rope_scaling, torch_dtype."""
    config = dict(config)
    config["torch_dtype"] = config.pop("dtype", None) or config.get("torch_dtype") or "float32"
    config["transformers_version"] = "4.46.0"
    if config["model_type"] == "t5":  # one key meant both: tied, and scaled before the head
        config["tie_word_embeddings"] = config.pop("scale_decoder_outputs")
    rope = config.pop("rope_parameters", None)
    if rope is None: return config
    if "full_attention" in rope:  # gemma3: the scaling is of the global layers only
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    rope = dict(rope)
    config["rope_theta"] = rope.pop("rope_theta")
    fraction = rope.pop("partial_rotary_factor", None)
    if fraction is not None: config["partial_rotary_factor"] = fraction
    config["rope_scaling"] = rope if rope["rope_type"] != "default" else None
    if config["model_type"] == "gpt_neox":
        config["rotary_emb_base"] = config.pop("rope_theta")
        config["rotary_pct"] = config.pop("partial_rotary_factor", 0.25)
    return config


def write_model(folder, task, config, seed, dtype, old=True, drop=(), shard=None):
    """config.json and the weights; `drop`: keys that real files of the family lack; `shard`: bytes of a shard."""
    model = KIND[task][0].from_config(config)
    if getattr(config, "scale_decoder_outputs", True) is False:  # T5 1.1: transformers 5 would tie it
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.shared.weight))
    fill(model, seed)
    model.to(dtype).save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    path = os.path.join(folder, "config.json")
    with open(path) as f: written = json.load(f)
    written["dtype"] = str(dtype).replace("torch.", "")
    if old: written = old_spelling(written)
    for key in drop: written.pop(key, None)
    with open(path, "w") as f: json.dump(written, f, indent=1, sort_keys=True)
    generation = os.path.join(folder, "generation_config.json")
    if os.path.exists(generation): os.remove(generation)


# --- the inputs ---

def batch(config, task, seed, lengths, regression):
    """Three rows, padded on the right to the longest; labels as the task has them."""
    g = generator(1000 + seed)
    pad = config.pad_token_id if config.pad_token_id is not None else 0
    cols = max(lengths)
    ids = torch.randint(3, config.vocab_size, (3, cols), generator=g)
    mask = torch.zeros(3, cols, dtype=torch.long)
    for row, n in enumerate(lengths):
        mask[row, :n] = 1
        ids[row, n:] = pad
    out = {"input_ids": ids, "attention_mask": mask}
    if task == "causal":
        labels = ids.masked_fill(mask == 0, -100)
        labels[2, :6] = -100
    elif task == "seq2seq":
        labels = torch.randint(3, config.vocab_size, (3, 15), generator=g)
        labels[1, 10] = config.eos_token_id
        labels[1, 11:] = -100
    elif regression:
        labels = torch.randn(3, generator=g)
    else:
        labels = torch.randint(0, config.num_labels, (3,), generator=g)
    if task == "cls" and getattr(config, "type_vocab_size", 0) > 1:  # pairs: the second sentence has type 1
        types = torch.zeros_like(ids)
        for row, n in enumerate(lengths): types[row, n // 2:n] = 1
        out["token_type_ids"] = types
    out["labels"] = labels
    return out


def forward(model, inputs):
    labels = inputs["labels"]
    if labels.is_floating_point(): labels = labels.to(next(model.parameters()).dtype)
    return model(**{**inputs, "labels": labels})


def packed(model, seed):
    """One row of three documents: the logits of three separate passes, one after another."""
    g = generator(2000 + seed)
    ids = torch.randint(3, model.config.vocab_size, (1, sum(DOCUMENTS)), generator=g)
    positions = torch.cat([torch.arange(n) for n in DOCUMENTS])[None]
    labels = ids.masked_fill(positions == 0, -100)
    with torch.no_grad():
        parts = [model(input_ids=d).logits for d in ids.split(DOCUMENTS, dim=1)]
        logits = torch.cat(parts, dim=1)
        loss = torch.nn.functional.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=-100)
        whole = whole_row(model, ids, positions)
    out = {"packed.input_ids": ids, "packed.labels": labels, "packed.position_ids": positions, "packed.logits": logits,
           "packed.loss": loss.view(1)}
    note = {"packed_doc_lengths": DOCUMENTS}
    if whole is not None: note["packed_vs_separate_max_abs"] = (whole - logits).abs().max().item()
    return out, note


def whole_row(model, ids, positions):
    """transformers' own reading of a packed row; None where the family does not separate documents by positions."""
    if model.config.model_type in ("opt", "falcon"): return None
    return model(input_ids=ids, position_ids=positions).logits


# --- the quantized base ---

def stays_dense(name, model, task):
    if task == "cls": return name.split(".")[0] in ("classifier", "score")
    return model.get_submodule(name) is model.get_output_embeddings()


def quantized_layers(model, task):
    kept = getattr(model, "_keep_in_fp32_modules", None) or []
    return sorted(n for n, m in model.named_modules() if isinstance(m, LINEAR) and not stays_dense(n, model, task)
                  and n.rsplit(".")[-1] not in kept)


def nf4(weight):
    """deq(NF4(weight)) of an [out, in] matrix, in fp32: table[code] * ((map[q] * nested_absmax) + offset)."""
    data, s = bf.quantize_4bit(weight.float().contiguous(), blocksize=64, compress_statistics=True, quant_type="nf4")
    blocks = torch.arange(s.absmax.numel()) // s.state2.blocksize
    absmax = s.state2.code[s.absmax.long()] * s.state2.absmax[blocks] + s.offset
    packed_codes = data.view(-1)
    codes = torch.stack([packed_codes >> 4, packed_codes & 15], 1).view(-1)[:weight.numel()].long()
    scale = absmax[torch.arange(weight.numel()) // s.blocksize]
    return (s.code[codes] * scale).view(weight.shape)


def quantize(model, names):
    with torch.no_grad():
        for name in names:
            m = model.get_submodule(name)
            m.weight.copy_(nf4(m.weight.t()).t() if isinstance(m, Conv1D) else nf4(m.weight))


# --- the QLoRA case ---

def plain_name(name):
    return name.replace(".default", "").replace(".modules_to_save", "")


def start_adapter(model, task, seed, folder, **more):
    """A LoRA over all linear layers, both factors random (a zero B would hide half of the gradients)."""
    lora = get_peft_model(model, LoraConfig(task_type=KIND[task][1], target_modules="all-linear",
                                            **{"r": 8, "lora_alpha": 16, **more}))
    g = generator(3000 + seed)
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if ".lora_A." in name: p.copy_(torch.randn(p.shape, generator=g) * p.shape[1] ** -0.5)
            if ".lora_B." in name: p.copy_(torch.randn(p.shape, generator=g) * 0.1)
    lora.save_pretrained(folder, save_embedding_layers=False)
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f: written = json.load(f)
    written["base_model_name_or_path"] = ".."
    for key in ("target_modules", "modules_to_save"):
        if isinstance(written[key], list): written[key].sort()
    with open(path, "w") as f: json.dump(written, f, indent=1, sort_keys=True)
    readme = os.path.join(folder, "README.md")
    if os.path.exists(readme): os.remove(readme)
    return lora.unload()


def adapted_base(folder, task, adapter, dtype=torch.float32):
    """The model on its decoded base with the adapter trainable."""
    model = load(folder, task)
    names = quantized_layers(model, task)
    quantize(model, names)
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True).to(dtype).eval()
    return model, names


def train(model, inputs):
    """Logits, loss, gradients, then three steps: dict under the oracle's names without the case."""
    trained = {plain_name(n): p for n, p in model.named_parameters() if p.requires_grad}
    groups = [{"params": [p for n, p in trained.items() if not n.endswith("bias")], "weight_decay": DECAY},
              {"params": [p for n, p in trained.items() if n.endswith("bias")], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=LR)
    out, losses, norms = {}, [], []
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        result = forward(model, inputs)
        losses.append(result.loss.item())
        if step == 0: out.update({"logits": result.logits.detach(), "loss": result.loss.detach().view(1)})
        if step == STEPS: break
        result.loss.backward()
        if step == 0: out.update({"grad." + n: p.grad.clone() for n, p in trained.items()})
        norms.append(torch.nn.utils.clip_grad_norm_(trained.values(), CLIP).item())
        optimizer.step()
    out.update({"losses": torch.tensor(losses), "grad_norms": torch.tensor(norms)})
    out.update({"after3." + n: p.detach().clone() for n, p in trained.items()})
    return out


def distances(a, b):
    """How far the fp32 run is from the fp64 run, by group."""
    out = {}
    for key in a:
        group = key.split(".")[0]
        d = (a[key].double() - b[key].double()).abs().max().item()
        if d != d: raise SystemExit("%s is not a number in fp32 or fp64" % key)
        out[group] = max(out.get(group, 0.0), float("%.3g" % d))
    out["grad_max_abs_value"] = max(float("%.3g" % v.abs().max()) for k, v in a.items() if k.startswith("grad."))
    return out


def lora_case(folder, task, adapter, inputs):
    """The case as recorded, and the words about it for oracle.json."""
    model, names = adapted_base(folder, task, adapter)
    targets = sorted(plain_name(n).removeprefix("base_model.model.") for n, m in model.named_modules()
                     if hasattr(m, "lora_A"))
    values = train(model, inputs)
    double, _ = adapted_base(folder, task, adapter, torch.float64)
    return values, {"quantized": names, "lora_targets": targets,
                    "fp32_vs_fp64_max_abs": distances(values, train(double, inputs))}


def stored(tensors):
    return {k: v.detach().float().contiguous() if v.is_floating_point() else v.contiguous() for k, v in tensors.items()}


def write_oracle(folder, task, seed, with_adapter=True, with_packed=True, regression=False,
                 lengths=LENGTHS):
    """oracle.safetensors, oracle.json and adapter/ of a folder that holds a model."""
    model = load(folder, task)
    inputs = batch(model.config, task, seed, lengths, regression)
    tensors, note = dict(inputs), {
        "model_type": model.config.model_type, "task": task, "weights_dtype": AutoConfig.from_pretrained(folder).dtype,
        "seed": seed, "versions": versions()}
    note["weights_dtype"] = str(note["weights_dtype"]).replace("torch.", "")
    with torch.no_grad(): result = forward(model, inputs)
    tensors.update({"plain.logits": result.logits, "plain.loss": result.loss.view(1)})
    if task == "causal" and with_packed:
        more, words = packed(model, seed)
        tensors.update(more)
        note.update(words)
    if with_adapter:
        adapter = os.path.join(folder, "adapter")
        start_adapter(load(folder, task), task, seed, adapter)
        values, note["qlora"] = lora_case(folder, task, adapter, inputs)
        tensors.update({"qlora." + k: v for k, v in values.items() if ".lora_A." not in k or k.startswith("grad.")})
    save_file(stored(tensors), os.path.join(folder, "oracle.safetensors"))
    with open(os.path.join(folder, "oracle.json"), "w") as f: json.dump(note, f, indent=1)
    for d, _, files in os.walk(folder):
        for f in files: os.chmod(os.path.join(d, f), 0o644)  # safetensors makes them private
    return note


def recorded(folder):
    return load_file(os.path.join(folder, "oracle.safetensors"))
