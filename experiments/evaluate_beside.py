#!/usr/bin/env python3
"""Rates of evaluation beside lm-evaluation-harness and Transformers, on the same items in the same minutes.

    evaluate_beside.py build/release/mora --data DIR --tokenizer tokenizer.json

needs torch, transformers and lm-eval[hf]. DIR has mmlu/{dev,test}/*.csv and math/gsm8k_{train,test}.jsonl;
the model is of random weights in float32. Everything is done --rounds times in turn; the table has medians.

MMLU, 5 shots: `mora eval`, the whole command with its start, beside HFLM.loglikelihood of the same contexts
and options alone; the largest difference of a log-likelihood shows that they are the same. `--no-sharing` runs
on the first --apart items of each subject. GSM8K, five shots drawn anew for each prompt, so that nothing is
shared: `mora generate` beside GenerationMixin.generate, both without their start. Sizes of batches are tried
first, on the first items, and each side gets its fastest.
"""
import argparse
import csv
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.update(TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")
import torch
import transformers
from lm_eval import __version__ as harness_version
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

LETTERS = "ABCD"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mora")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tokenizer", required=True, help="tokenizer.json of 32,000 tokens at most")
    parser.add_argument("--config", default="experiments/models/llama-60m.json")
    parser.add_argument("--subjects", default="medical_genetics,logical_fallacies,high_school_statistics",
                        help="of MMLU: one with short prompts, one with median, one with long ones")
    parser.add_argument("--items", type=int, default=20, help="of each subject")
    parser.add_argument("--apart", type=int, default=3, help="of each subject, with --no-sharing")
    parser.add_argument("--prompts", type=int, default=16, help="of GSM8K")
    parser.add_argument("--new-tokens", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def make_model(o, folder):
    """A folder of random weights that both sides load."""
    torch.manual_seed(1)
    config = transformers.LlamaConfig.from_json_file(o.config)
    transformers.LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
    shutil.copy(o.tokenizer, os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}, file)


# MMLU


def rows_of(o, split, subject):
    with open(os.path.join(o.data, "mmlu", split, f"{subject}_{split}.csv"), newline="") as file:
        return list(csv.reader(file))


def question_of(row):
    options = "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, row[1:5]))
    return row[0].strip() + options + "\nAnswer:"


def contexts_of(o, count):
    """Prompts of the first `count` items of each subject, in the order of `mora eval`."""
    contexts = []
    for subject in sorted(o.subjects.split(",")):
        head = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        shots = "".join(f"{question_of(row)} {row[5]}\n\n" for row in rows_of(o, "dev", subject)[:5])
        contexts += [head + shots + question_of(row) for row in rows_of(o, "test", subject)[:count]]
    return contexts


def mora_scores(o, folder, count, *more, launcher=(), threads=None):
    """Seconds of a whole `mora eval`, the log-likelihoods, and what it says of tokens."""
    with tempfile.TemporaryDirectory() as room:
        sets, out = os.path.join(room, "sets.yaml"), os.path.join(room, "rows")
        with open(sets, "w") as file:
            classes = ", ".join(sorted(o.subjects.split(",")))
            file.write(f"sets: [{{name: mmlu, like: mmlu_lm_eval_5, classes: [{classes}]}}]\n")
        command = [*launcher, o.mora, "eval", folder, "--set", sets, "--data", o.data, "--limit", str(count),
                   "--threads", str(threads or o.threads), "--out", out, *more]
        began = time.time()
        done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        seconds = time.time() - began
        with open(out) as file:
            rows = [json.loads(line) for line in file]
    tokens = re.search(r"mmlu: ran .*", done.stderr)[0]
    return seconds, [row["loglikelihood"] for row in rows if "item" in row], tokens


def peer_scores(lm, contexts):
    """The same of HFLM."""
    requests = [Instance("loglikelihood", {}, (context, " " + letter), i)
                for i, context in enumerate(contexts) for letter in LETTERS]
    began = time.time()
    found = lm.loglikelihood(requests, disable_tqdm=True)
    seconds = time.time() - began
    return seconds, [[value for value, _ in found[i:i + 4]] for i in range(0, len(found), 4)]


# GSM8K


def prompts_of(o):
    def read(name):
        with open(os.path.join(o.data, "math", f"gsm8k_{name}.jsonl")) as file:
            return [json.loads(line) for line in file]
    draw, train = random.Random(1234), read("train")
    return ["".join(f"Question: {shot['question']}\nAnswer: {shot['answer']}\n\n" for shot in draw.sample(train, 5)) +
            f"Question: {item['question']}\nAnswer:" for item in read("test")[:o.prompts]]


def mora_texts(o, folder, prompts, batch, new, launcher=(), threads=None):
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
        for prompt in prompts:
            file.write(json.dumps({"prompt": prompt}) + "\n")
        file.flush()
        done = subprocess.run([*launcher, o.mora, "generate", folder, "--prompts", file.name, "--json", "--batch",
                               str(batch), "--max-new-tokens", str(new), "--threads",
                               str(threads or o.threads)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return found["seconds"], [result["tokens"] for result in found["results"]]


def peer_texts(lm, prompts, batch, new):
    """Those of about a length together, so that little is padding; all as many tokens as asked for."""
    tokenizer, texts = lm.tokenizer, [None] * len(prompts)
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.eos_token
    began = time.time()
    order = sorted(range(len(prompts)), key=lambda i: -len(tokenizer(prompts[i]).input_ids))
    for first in range(0, len(order), batch):
        those = order[first:first + batch]
        given = tokenizer([prompts[i] for i in those], return_tensors="pt", padding=True)
        with torch.inference_mode():
            out = lm.model.generate(input_ids=given.input_ids, attention_mask=given.attention_mask, do_sample=False,
                                    max_new_tokens=new, min_new_tokens=new,
                                    pad_token_id=tokenizer.pad_token_id)
        for i, text in zip(those, out[:, given.input_ids.shape[1]:].tolist()):
            texts[i] = text
    return time.time() - began, texts


def fastest(what, sizes, seconds_of):
    tried = {size: seconds_of(size) for size in sizes}
    best = min(tried, key=tried.get)
    times = ", ".join(f"{size}: {tried[size]:.1f} s" for size in sizes)
    print(f"{what}: batches of {times}; {best} from here on", flush=True)
    return best


def main():
    o = arguments()
    torch.set_num_threads(o.threads)
    transformers.logging.set_verbosity_error()
    ranks = ["mpirun", "-np", str(o.threads), "--bind-to", "none"]
    rates = {}

    def note(name, rate):
        rates.setdefault(name, []).append(rate)

    with tempfile.TemporaryDirectory() as folder:
        make_model(o, folder)
        lm = HFLM(pretrained=folder, device="cpu", dtype="float32", batch_size=1)
        contexts, prompts = contexts_of(o, o.items), prompts_of(o)
        few, half, new = contexts[::len(contexts) // 6], prompts[:o.prompts // 2], o.new_tokens // 4

        def few_scores(size):
            lm.batch_size_per_gpu = size
            return peer_scores(lm, few)[0]

        peer_scores(lm, few[:2])
        lm.batch_size_per_gpu = fastest("HFLM.loglikelihood", (1, 2, 4, 8), few_scores)
        peer_batch = fastest("generate", (2, 4, 8), lambda size: peer_texts(lm, half, size, new)[0])
        mora_batch = fastest("mora generate", (2, 4, 8), lambda size: mora_texts(o, folder, half, size, new)[0])
        for _ in range(o.rounds):
            seconds, ours, tokens = mora_scores(o, folder, o.items)
            note("mora eval", len(contexts) / seconds)
            seconds, theirs = peer_scores(lm, contexts)
            note("HFLM.loglikelihood", len(contexts) / seconds)
            seconds, _, _ = mora_scores(o, folder, o.items, launcher=ranks, threads=1)
            note("mora eval, ranks", len(contexts) / seconds)
            seconds, apart, apart_tokens = mora_scores(o, folder, o.apart, "--no-sharing")
            note("mora eval --no-sharing", len(apart) / seconds)
            seconds, texts = mora_texts(o, folder, prompts, mora_batch, o.new_tokens)
            note("mora generate", sum(map(len, texts)) / seconds)
            seconds, peer = peer_texts(lm, prompts, peer_batch, o.new_tokens)
            note("generate", sum(map(len, peer)) / seconds)
            seconds, _ = mora_texts(o, folder, prompts, mora_batch, o.new_tokens, ranks, 1)
            note("mora generate, ranks", sum(map(len, texts)) / seconds)
            print({name: [round(rate, 2) for rate in list_] for name, list_ in rates.items()}, flush=True)
    worst = max(abs(a - b) for x, y in zip(ours, theirs) for a, b in zip(x, y))
    print(f"largest difference of a log-likelihood: {worst:.2g}; the same tokens: "
          f"{sum(a == b for a, b in zip(texts, peer))} of {len(texts)} texts")
    print(tokens, apart_tokens, sep="\n")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, lm-eval {harness_version}")
    middle = {name: statistics.median(list_) for name, list_ in rates.items()}
    print("\n| | items/s or tokens/s: median, all rounds | ratio |\n|---|---|---|")
    for name, list_ in rates.items():
        base = "mora generate" if "generate" in name else "mora eval"
        print(f"| {name} | {middle[name]:.3g} ({', '.join(f'{rate:.3g}' for rate in list_)}) | "
              f"{middle[base] / middle[name]:.2f} |")


if __name__ == "__main__":
    sys.exit(main())
