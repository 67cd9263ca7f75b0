#!/usr/bin/env python3
"""check_export.py PROGRAM: loads what `mora export` writes into Transformers and PEFT, and adapters
that PEFT wrote into mora, and compares logits. Needs torch, transformers and peft; without them it
says so and exits with 77."""

import json
import os
import subprocess
import sys
import tempfile
import warnings

try:
    import torch
    import transformers
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM
except ImportError as missing:
    print("skipped: needs torch, transformers and peft (%s)" % missing)
    sys.exit(77)

BOUND = 1e-5  # relative Euclidean error of logits, float32

RUN = """
run: {name: one, seed: 3, output: out}
task: {name: uuid, pairs: 8}
train: {steps: 4, global_batch: 8, micro_batch: 4, lr: 0.01}
eval: {items: 1}
parallel: {threads: 1}
"""


def mora(*arguments):
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("mora %s: %s" % (" ".join(arguments), done.stderr))
    return done.stdout


def train(base, **keys):
    sets = {"model.path": base, "model.tokenizer": "bytes", **keys}
    arguments = [word for key in sets for word in ("--set", "%s=%s" % (key, sets[key]))]
    mora("run", "run.yaml", "--resume", "never", *arguments)


def export(to, out, *more):
    return mora("export", "out/one.h5", "--to", to, "--out", out, *more)


def load(folder, adapter=None):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return PeftModel.from_pretrained(model, adapter).eval() if adapter else model


def logits(model, ids):
    with torch.no_grad():
        return model(input_ids=ids).logits.double()


def expect_near(what, one, other, bound=BOUND):
    off = float((one - other).norm() / other.norm())
    print("%-58s off by %.2g" % (what, off))
    if not off <= bound:
        sys.exit("%s: off by %g, expected at most %g" % (what, off, bound))


def expect_said(what, model, prompt="a prompt"):
    """What the run itself says of its next tokens, by `mora generate`."""
    said = json.loads(mora("generate", "out/one.h5", "--prompt", prompt, "--json", "--max-new-tokens",
                           "8", "--set", "model.tokenizer=bytes"))["results"][0]
    ids = torch.tensor([said["ids"] + said["tokens"]])
    known = torch.log_softmax(logits(model, ids)[0], -1)
    start = len(said["ids"]) - 1
    for step, (token, logprob) in enumerate(zip(said["tokens"], said["logprobs"])):
        off = abs(float(known[start + step, token]) - logprob)
        if not off <= 1e-4:
            sys.exit("%s: token %d has another log-probability, by %g" % (what, step, off))


def make_base(name, tied=False, dtype=torch.float32):
    torch.manual_seed(1)
    config = LlamaConfig(vocab_size=259, hidden_size=64, intermediate_size=100, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                         tie_word_embeddings=tied, bos_token_id=256, eos_token_id=257,
                         initializer_range=0.1)
    LlamaForCausalLM(config).to(dtype).save_pretrained(name)
    return name


def check_adapters(base, ids, tied):
    cases = [("lora", {}), ("lora", {"method.use_rslora": "true"}), ("lora_plus", {}),
             ("asylora", {}), ("dora", {}), ("relora", {"method.merge_every": 100}),
             ("lora", {"method.target_modules": "[q_proj,down_proj]"}),
             ("lora", {"method.target_modules": "[layers.0.self_attn.q_proj,up_proj]"}),
             ("dora", {"method.modules_to_save": "[norm,embed_tokens,lm_head]"}),
             ("lora", {"method.modules_to_save": "[input_layernorm,embed_tokens]"})]
    for number, (method, keys) in enumerate(cases):
        what = " ".join([base, method, *map(str, keys.values())] if keys else [base, method])
        train(base, **{"method.name": method, "method.r": 4, **keys})
        merged, adapter = "merged-%s%d" % (base, number), "adapter-%s%d" % (base, number)
        export("merged", merged)
        export("peft", adapter)
        one, other = load(merged), load(base, adapter)
        expect_near(what, logits(one, ids), logits(other, ids))
        expect_said(what, other)
        after = other.merge_and_unload()
        expect_near(what + ", merged by PEFT", logits(one, ids), logits(after, ids))


def check_merged(base, ids):
    for method in ("fft", "mora", "remora", "relora"):
        train(base, **{"method.name": method, **({} if method == "fft" else {"method.r": 4}),
                       **({"method.merge_every": 2} if method.startswith("re") else {})})
        export("merged", "merged-%s-%s" % (base, method), "--dtype", "f32")
        model = load("merged-%s-%s" % (base, method))
        print("%s %s" % (base, method), "merged is read")
        expect_said("%s %s" % (base, method), model)


def check_fork(base):
    train(base, **{"method.name": "mora", "method.r": 4})
    export("mora-fork", "fork")
    tensors = load_file("fork/adapter_model.safetensors")
    for name in tensors:
        if ".lora_A." in name and not tensors[name].equal(tensors[name.replace("lora_A", "lora_B")]):
            sys.exit("%s has no twin" % name)
    config = json.load(open("fork/adapter_config.json"))
    if not (config["use_mora"] and config["mora_type"] == 6):
        sys.exit("fork/adapter_config.json: %s" % config)


def check_start(base, ids):
    """An adapter that PEFT made, as it is written after a run at a rate of 0."""
    for name, keys in (("plain", {}), ("rslora", {"use_rslora": True}), ("dora", {"use_dora": True})):
        torch.manual_seed(2)
        model = get_peft_model(load(base), LoraConfig(
            r=4, lora_alpha=12, target_modules="all-linear", init_lora_weights=False, **keys))
        model.save_pretrained("peft-" + name)
        method = "dora" if name == "dora" else "lora"
        train(base, **{"method.name": method, "method.r": 4, "method.lora_alpha": 12,
                       "method.adapter": "peft-" + name, "train.steps": 1, "train.warmup_steps": 1,
                       **({"method.use_rslora": "true"} if name == "rslora" else {})})
        export("peft", "again-" + name)
        export("merged", "merged-" + name)
        theirs = load_file("peft-%s/adapter_model.safetensors" % name)
        ours = load_file("again-%s/adapter_model.safetensors" % name)
        if theirs.keys() != ours.keys() or not all(theirs[k].equal(ours[k]) for k in theirs):
            sys.exit("peft-%s: other tensors" % name)
        expect_near("from PEFT, %s" % name, logits(load("merged-" + name), ids),
                    logits(model.eval(), ids))


def main():
    print("torch %s, transformers %s" % (torch.__version__, transformers.__version__))
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with open("run.yaml", "w") as file:
            file.write(RUN)
        torch.manual_seed(0)
        ids = torch.randint(0, 256, (2, 40))
        for base, tied in (("plain", False), ("tied", True)):
            make_base(base, tied)
            check_adapters(base, ids, tied)
            check_merged(base, ids)
        make_base("narrow", dtype=torch.bfloat16)
        check_merged("narrow", ids)
        check_fork("plain")
        check_start("plain", ids)
        os.chdir("/")
    print("all compared")


if __name__ == "__main__":
    PROGRAM = os.path.abspath(sys.argv[1])
    main()
