#!/usr/bin/env python3
"""Makes a folder of reference tensors for test_golden: README.md says what stands in it.

Everything is computed in float64 from weights rounded to float32, and stored as float32. The model,
its gradients and AdamW are those of Transformers and PyTorch (but where Transformers falls back to
float32 inside a float64 model: norms, rotary angles, softmax), LoRA and DoRA are those of PEFT;
MoRA is written out here from the index maps of the method (arXiv 2405.12130, section 4, with the
rounding of r_hat, the ragged groups and the circular padding of the published code).
"""

import argparse
import json
import math
import pathlib

import peft
import torch
import transformers
from safetensors.torch import save_file

STEPS = 10
GENERATED = 24
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def group_of(index, length, groups):
    """Group of an element where `length` elements fill `groups` ragged runs, longer ones first."""
    short, longer = divmod(length, groups)
    if index < longer * (short + 1):
        return index // (short + 1)
    return longer + (index - longer * (short + 1)) // short


class Mora(torch.nn.Module):
    """A linear layer with frozen weights, and delta(x) = D(M C(x)) beside it.

    C and D are kept as dense 0/1 (for the rotation: cosine and sine) matrices, built entry by entry
    from the index maps; that is slow and plain, and shares no code or idea with what it checks."""

    def __init__(self, linear, kind, r):
        super().__init__()
        self.linear = linear
        outs, ins = linear.weight.shape
        side = int(math.sqrt((ins + outs) * r) + 0.5)
        if kind == 6:
            side -= side & 1
        blocks = -(-ins // side)
        padded = blocks * side
        if kind == 6:
            compress = torch.zeros(blocks, side, ins, dtype=torch.float64)
            half = side // 2
            for b in range(blocks):
                for c in range(side):
                    angle = b * 10000.0 ** (-2.0 * (c % half) / side)
                    partner = c + half if c < half else c - half
                    sign = -1.0 if c < half else 1.0
                    compress[b, c, (b * side + c) % ins] += math.cos(angle)
                    compress[b, c, (b * side + partner) % ins] += sign * math.sin(angle)
            spread = torch.zeros(outs, padded, dtype=torch.float64)
            for i in range(outs):
                spread[i, i % padded] = 1.0
        else:
            compress = torch.zeros(1, side, ins, dtype=torch.float64)
            if kind in (1, 4):
                for t in range(padded):
                    compress[0, t % side, t % ins] += 1.0
            else:
                for j in range(ins):
                    compress[0, group_of(j, ins, side), j] += 1.0
            spread = torch.zeros(outs, side, dtype=torch.float64)
            for i in range(outs):
                spread[i, i % side if kind in (1, 3) else group_of(i, outs, side)] = 1.0
        self.register_buffer("compress", compress, persistent=False)
        self.register_buffer("spread", spread, persistent=False)
        self.mora_M = torch.nn.Parameter(torch.zeros(side, side, dtype=torch.float64))

    def forward(self, x):
        blocks = torch.einsum("bcj,...j->...bc", self.compress, x)
        flat = (blocks @ self.mora_M.T).flatten(-2)
        return self.linear(x) + flat @ self.spread.T

    def delta(self):
        """The dense update [out, in]."""
        return self.spread @ torch.einsum("pc,bcj->bpj", self.mora_M, self.compress).flatten(0, 1)


def norm_forward(self, x):
    """RMSNorm in the precision of x; Transformers' own goes through float32."""
    return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))


def rope_forward(self, x, position_ids):
    """Cosine and sine of the rotary angles in float64; Transformers' own are float32."""
    base = self.config.rope_parameters["rope_theta"]
    pairs = torch.arange(0, self.config.head_dim, 2, dtype=torch.float64) / self.config.head_dim
    angles = position_ids[..., None].double() * base**-pairs
    angles = torch.cat((angles, angles), -1)
    return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


def compute_in_float64():
    transformers.models.llama.modeling_llama.LlamaRMSNorm.forward = norm_forward
    transformers.models.llama.modeling_llama.LlamaRotaryEmbedding.forward = rope_forward


def rounded(tensor):
    """The float64 values of a tensor rounded to float32."""
    return tensor.detach().float().double()


def normal(shape, scale, generator):
    return rounded(scale * torch.randn(shape, dtype=torch.float64, generator=generator))


class Maker:
    def __init__(self, args):
        self.args = args
        self.out = pathlib.Path(args.out)
        self.generator = torch.Generator().manual_seed(args.seed)
        self.config = transformers.LlamaConfig(
            hidden_size=args.hidden, intermediate_size=args.intermediate,
            num_hidden_layers=args.layers, num_attention_heads=args.heads,
            num_key_value_heads=args.kv_heads,
            head_dim=args.head_dim or args.hidden // args.heads, vocab_size=args.vocab,
            rms_norm_eps=args.eps, tie_word_embeddings=args.tied,
            max_position_embeddings=max(128, args.seq),
            rope_parameters={"rope_type": "default", "rope_theta": args.theta},
            initializer_range=0.08, bos_token_id=None, eos_token_id=None, pad_token_id=None,
            attn_implementation="sdpa")
        self.weights = self.draw_weights()
        self.ids, self.labels = self.draw_batch()

    def draw_weights(self):
        model = transformers.LlamaForCausalLM(self.config).double()
        for name, parameter in model.named_parameters():
            noise = normal(parameter.shape, 0.08, self.generator)
            parameter.data = rounded(1 + noise if "norm" in name else noise)
        return {name: value.clone() for name, value in model.state_dict().items()}

    def draw_batch(self):
        """Rows scored in turn: behind a prompt, up to padding, here and there, not at all."""
        shape = (self.args.batch, self.args.seq)
        ids = torch.randint(self.args.vocab, shape, generator=self.generator)
        labels = ids.clone()
        for row in range(shape[0]):
            if row % 4 == 0:
                labels[row, : shape[1] // 4] = -100
            elif row % 4 == 1:
                labels[row, shape[1] - shape[1] // 3 :] = -100
            elif row % 4 == 2:
                labels[row, torch.rand(shape[1], generator=self.generator) < 0.3] = -100
            else:
                labels[row] = -100
        return ids, labels

    def model(self):
        model = transformers.LlamaForCausalLM(self.config).double()
        model.load_state_dict(self.weights)
        model.eval()
        return model

    def save(self, name, tensors, note=None):
        tensors = {key: (value.to(torch.int32) if not value.is_floating_point() else value.float())
                   .detach().contiguous().clone() for key, value in tensors.items()}
        metadata = {"note": json.dumps(note)} if note else None
        save_file(tensors, str(self.out / (name + ".safetensors")), metadata=metadata)

    def loss(self, logits):
        """Mean over scored targets; a label belongs to the position before it."""
        flat = logits[:, :-1].reshape(-1, self.args.vocab)
        return torch.nn.functional.cross_entropy(flat, self.labels[:, 1:].reshape(-1),
                                                 ignore_index=-100)

    def train(self, name, model, note):
        """Ten AdamW steps on the batch; returns the tensors of the reference file."""
        trained = {key: value for key, value in model.named_parameters() if value.requires_grad}
        ratio = note.get("ratio", 1)
        groups = [{"params": [value], "lr": note["lr"] * (ratio if "lora_B" in key else 1)}
                  for key, value in trained.items()]
        optimizer = torch.optim.AdamW(groups, lr=note["lr"],
                                      betas=tuple(note.get("betas", (0.9, 0.999))),
                                      eps=note.get("eps", 1e-8), weight_decay=note.get("wd", 0.0))
        losses, tensors = [], {}
        for step in range(STEPS):
            logits = model(input_ids=self.ids).logits
            loss = self.loss(logits)
            optimizer.zero_grad()
            loss.backward()
            losses.append(loss.detach())
            clip = note.get("clip", math.inf)
            if step == 0:
                for key, value in trained.items():
                    tensors["grad." + key] = value.grad.clone()
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), clip)
            if step == 0:
                tensors.update(logits=logits, loss=loss.reshape(1), grad_norm=norm.reshape(1))
            optimizer.step()
        for key, value in trained.items():
            tensors["after." + key] = value
        tensors["losses"] = torch.stack(losses)
        self.save(name, {key.replace(".linear.", "."): value for key, value in tensors.items()},
                  note)

    def base(self):
        (self.out / "model").mkdir(parents=True, exist_ok=True)
        model = self.model().float()
        model.save_pretrained(self.out / "model")
        (self.out / "model" / "generation_config.json").unlink(missing_ok=True)
        self.save("batch", {"input_ids": self.ids, "labels": self.labels})

    def full(self, case):
        note = {"lr": 1e-3, "wd": 0.0, "betas": [0.9, 0.999], "eps": 1e-8}
        if case == "adamw_wd_clip":
            note = {"lr": 3e-3, "wd": 0.1, "betas": [0.9, 0.95], "eps": 1e-8, "clip": 0.5,
                    "wd_on": "all parameters"}
        self.train("fft_" + case, self.model(), note)

    def lora(self, r, alpha, name="lora"):
        """LoRA or a variant of it, from values that leave no gradient zero."""
        config = peft.LoraConfig(r=r, lora_alpha=alpha, lora_dropout=0.0,
                                 target_modules=list(LINEARS), init_lora_weights=False,
                                 use_dora=name == "dora")
        model = peft.get_peft_model(self.model(), config, autocast_adapter_dtype=False).double()
        init = {}
        for key, value in model.named_parameters():
            if not value.requires_grad:
                continue
            if "magnitude" in key:
                value.data = rounded(value * (1 + normal(value.shape, 0.05, self.generator)))
            elif name == "lora_asym" and "lora_A" in key:
                rows = torch.randn(value.shape, dtype=torch.float64, generator=self.generator)
                value.data = rounded(torch.linalg.qr(rows.T)[0].T)
                value.requires_grad = False
            else:
                value.data = normal(value.shape, 0.05, self.generator)
            init["init." + key] = value.detach().clone()
        self.save(name + "_init", init)
        self.train(name, model, {"r": r, "lora_alpha": alpha, "lr": 1e-3,
                                 "ratio": 4 if name == "lora_plus" else 1})
        merged = model.merge_and_unload()
        tensors = {key: value for key, value in merged.named_parameters()}
        tensors["merged_logits"] = merged(input_ids=self.ids).logits
        self.save(name + "_merged", tensors)

    def mora(self, kind, r):
        model = self.model()
        model.requires_grad_(False)
        init = {}
        for name, module in list(model.named_modules()):
            if name.rsplit(".", 1)[-1] not in LINEARS:
                continue
            mora = Mora(module, kind, r)
            mora.mora_M.data = normal(mora.mora_M.shape, 0.05, self.generator)
            parent, child = name.rsplit(".", 1)
            setattr(model.get_submodule(parent), child, mora)
            init["init." + name + ".mora_M"] = mora.mora_M.detach().clone()
            init["delta." + name] = mora.delta().detach()
            init["sv." + name] = torch.linalg.svdvals(mora.delta().detach())
        stem = f"mora_t{kind}_r{r}"
        self.save(stem + "_init", init)
        self.train(stem, model, {"mora_type": kind, "r": r, "lr": 1e-3})

    @torch.no_grad()
    def decode(self):
        model = self.model()
        prompt = torch.randint(self.args.vocab, (1, min(7, self.args.seq)),
                               generator=self.generator)
        tokens = prompt
        for _ in range(GENERATED):
            following = model(input_ids=tokens).logits[:, -1].argmax(-1, keepdim=True)
            tokens = torch.cat([tokens, following], 1)
        logprob = model(input_ids=self.ids).logits[:, :-1].log_softmax(-1)
        logprob = logprob.gather(-1, self.ids[:, 1:, None])[..., 0]
        self.save("decode", {"prompt": prompt, "greedy": tokens, "logprob": logprob})

    def schedules(self):
        traces = {}
        for kind, warmup, total in (("linear", 7, 50), ("linear", 0, 20), ("cosine", 7, 50),
                                    ("cosine", 0, 31), ("constant_with_warmup", 5, 20)):
            optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
            schedule = transformers.get_scheduler(kind, optimizer, warmup, total)
            trace = []
            for _ in range(total):
                trace.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                schedule.step()
            traces[f"{kind}.w{warmup}.t{total}"] = torch.tensor(trace, dtype=torch.float64)
        self.save("schedules", traces)

    def about(self):
        about = dict(sorted(vars(self.args).items()), torch=torch.__version__.split("+")[0],
                     transformers=transformers.__version__, peft=peft.__version__)
        del about["out"]
        (self.out / "about.json").write_text(json.dumps(about) + "\n")


def mora_case(text):
    """Reads "TYPE:R"."""
    kind, r = (int(part) for part in text.split(":"))
    if kind not in (1, 2, 3, 4, 6) or r < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected TYPE:R of a type 1, 2, 3, 4 or 6")
    return kind, r


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True, help="folder to make")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--hidden", type=int, default=24)
    parser.add_argument("--intermediate", type=int, default=44)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=0, help="0: hidden / heads")
    parser.add_argument("--vocab", type=int, default=67)
    parser.add_argument("--tied", action="store_true", help="the head is the embedding")
    parser.add_argument("--theta", type=float, default=10000.0)
    parser.add_argument("--eps", type=float, default=1e-5)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--seq", type=int, default=13)
    parser.add_argument("--lora-r", type=int, default=2, help="0: no lora")
    parser.add_argument("--lora-alpha", type=int, default=8)
    parser.add_argument("--variants", nargs="*", choices=("lora_plus", "lora_asym", "dora"),
                        default=[], help="of lora, with its r")
    parser.add_argument("--mora", type=mora_case, nargs="*", default=[], metavar="TYPE:R")
    parser.add_argument("--fft", nargs="*", choices=("adamw", "adamw_wd_clip"),
                        default=["adamw", "adamw_wd_clip"])
    args = parser.parse_args()

    compute_in_float64()
    maker = Maker(args)
    maker.base()
    for case in args.fft:
        maker.full(case)
    if args.lora_r > 0:
        maker.lora(args.lora_r, args.lora_alpha)
    for kind, r in args.mora:
        maker.mora(kind, r)
    maker.decode()
    for name in args.variants:
        maker.lora(args.lora_r, args.lora_alpha, name)
    maker.schedules()
    maker.about()


if __name__ == "__main__":
    main()
