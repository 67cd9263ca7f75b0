#!/bin/sh
# The figures, from logs to their pixels, and their errors. Needs MR_PROGRAM and MR_SOURCE_DIR.
set -eu

# The system's python, where another one without the libraries stands first in the path.
python=
for candidate in python3 /usr/bin/python3; do
    if [ -z "$python" ] && "$candidate" -c 'import h5py, matplotlib' 2>/dev/null; then
        python=$candidate
    fi
done
if [ -z "$python" ]; then
    echo "skipped: no python with h5py and matplotlib (Debian: python3-h5py, python3-matplotlib)"
    exit 77
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
MPLCONFIGDIR=$folder/matplotlib
export MPLCONFIGDIR

cat >tiny.json <<'END'
{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32,
 "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 259,
 "max_position_embeddings": 128, "hidden_act": "silu"}
END
cat >study.yaml <<'END'
run:    {name: study, output: results/study}
model:  {config: tiny.json, init: random}
task:   {name: uuid, pairs: 8}
train:  {steps: 8, global_batch: 8, lr: 1e-2}
eval:   {at_steps: [4, 8]}
log:    {spectrum_every: 4}
matrix:
  - {method.name: fft, run.seed: [1, 2]}
  - {method.name: mora, method.r: 8, train.lr: [3e-3, 1e-2], run.seed: [1, 2]}
END
"$MR_PROGRAM" run study.yaml >/dev/null 2>run.err || { cat run.err; exit 1; }

PYTHONDONTWRITEBYTECODE=1
export PYTHONDONTWRITEBYTECODE
figure=plot_uuid
plot() {
    "$python" "$MR_SOURCE_DIR/analysis/$figure.py" "$@"
}

fail() {
    echo "failed: $1"
    exit 1
}

# expect_error MESSAGE ARGUMENT...
expect_error() {
    message=$1
    shift
    if plot "$@" 2>error.txt; then fail "no error, expected: $message"; fi
    grep -qF -- "$message" error.txt || { cat error.txt; fail "expected: $message"; }
}

# expect_picture FILE COLOUR...: of a good size, mostly white, with something of each colour
expect_picture() {
    "$python" - "$@" <<'END'
import sys
import matplotlib.colors
import matplotlib.image

picture = matplotlib.image.imread(sys.argv[1])[..., :3]
assert picture.shape[0] > 600 and picture.shape[1] > 1200, picture.shape
white = (picture > 0.99).all(axis=2).mean()
assert 0.5 < white < 0.99, white
for colour in sys.argv[2:]:
    near = abs(picture - matplotlib.colors.to_rgb(colour)).max(axis=2) < 0.01
    assert near.sum() > 500, (colour, near.sum())
END
}

plot results --out figure.png --mora "$MR_PROGRAM"
expect_picture figure.png "#0072B2" "#D55E00"

expect_error "cannot start './no-such-program'" results --out x.png --mora ./no-such-program
expect_error "cannot read the folder 'nowhere'" nowhere --out x.png --mora "$MR_PROGRAM"
expect_error "--out: no folder 'nowhere'" results --out nowhere/x.png --mora "$MR_PROGRAM"
expect_error "--setting: expected 1..1, found 2" results --out x.png --mora "$MR_PROGRAM" --setting 2

"$MR_PROGRAM" run study.yaml --set task.pairs=16 --set run.output=results/other >/dev/null 2>&1
expect_error "the runs are of 2 settings" results --out x.png --mora "$MR_PROGRAM"
plot results --out second.png --mora "$MR_PROGRAM" --setting 2
[ -s second.png ] || fail "no second figure"
[ ! -e x.png ] || fail "a figure in spite of an error"

# Any folder of runs.
figure=plot_runs
plot results/study --out runs.png
expect_picture runs.png "#0072B2" "#D55E00"
expect_error "'nowhere' holds no log of a run that trained" nowhere --out x.png
expect_error "--out: no folder 'nowhere'" results/study --out nowhere/x.png

# Logs of a pretraining study as it should come out: two methods that merge, two that do not.
figure=plot_pretrain
mkdir pretrain
"$python" - <<'END'
import h5py
import numpy as np

STEPS, EVERY = 120, 30


def write_log(method, lr, seed, merges):
    draw = np.random.default_rng(seed)
    steps = np.arange(1, STEPS + 1)
    loss = 3 + 3 * np.exp(-steps / 20) + abs(lr - 0.003) * 50 + 0.02 * draw.standard_normal(STEPS)
    for merge in merges:
        loss += np.where(steps > merge, 0.5 * np.exp((merge - steps) / 4), 0)
    schedule = "jagged_cosine" if merges else "cosine"
    name = f"twin.{method}-lr{lr}-seed{seed}"
    with h5py.File(f"pretrain/{name}.h5", "w", libver=("earliest", "v108")) as log:
        texts = {"format": "mora-run-log", "run": name, "task": "pretrain", "method": method,
                 "data_hash": "0123", "git_commit": "c0ffee", "stop_reason": "completed",
                 "config": f"run: {{name: {name}, seed: {seed}}}\n"
                           "model: {config: tiny.json, init: random}\n"
                           "task: {name: pretrain, data: data}\n"
                           f"method: {{name: {method}, r: 8}}\n"
                           f"train: {{steps: {STEPS}, lr: {lr}, schedule: {schedule}}}\n"}
        for key, value in texts.items():
            log.attrs[key] = np.bytes_(value)
        for key, value in {"format_version": 1, "seed": seed, "r": 8, "parameters": 1000,
                           "trainable_parameters": 100, "steps": STEPS, "seq_len": 64}.items():
            log.attrs[key] = np.int64(value)
        for key, values in {"train/step": steps, "train/loss": loss,
                            "eval/pretrain/step": [STEPS // 2, STEPS],
                            "eval/pretrain/perplexity": np.exp(loss[[STEPS // 2 - 1, STEPS - 1]]),
                            "eval/pretrain/tokens": [4096, 4096], "events/step": merges,
                            "events/kind": np.array(["merge"] * len(merges), "S32")}.items():
            log.create_dataset(key, data=np.asarray(values), maxshape=(None,), chunks=(64,),
                               fletcher32=True)


for method in ["lora", "mora", "relora", "remora"]:
    for lr in [0.001, 0.003, 0.01]:
        for seed in [1, 2]:
            write_log(method, lr, seed, range(EVERY, STEPS + 1, EVERY) if method[0] == "r" else [])
END
plot pretrain --out pretrain.png --mora "$MR_PROGRAM"
expect_picture pretrain.png "#0072B2" "#D55E00" "#009E73" "#CC79A7"
mkdir without
cp pretrain/twin.lora* without
plot without --out without.png --mora "$MR_PROGRAM"
expect_picture without.png "#0072B2"
expect_error "plot_pretrain: error: false table pretrain --paper table3 --json: exit code 1" pretrain --out x.png --mora false
[ ! -e x.png ] || fail "a figure in spite of an error"
figure=plot_spectra
plot results --out spectra.png --mora "$MR_PROGRAM" --setting 1
expect_picture spectra.png "#0072B2" "#009E73"
expect_error "plot_spectra: error: no 'pretrain/twin.lora-lr0.003-seed1.spectra.h5': \
log.spectrum_every of the run asks for spectra" pretrain --out x.png --mora "$MR_PROGRAM"
figure=plot_approximation
cat >approximate.yaml <<'END'
task:   {rows: 16, cols: 16, side: 8, highest: 8}
method: {r: 1, operator: sharing}
train:  {steps: 20, lr: 1e-2}
matrix: {task.name: [flat, gaussian, waves, tiled], method.name: [fft, lora, mora], run.seed: [1, 2]}
END
"$MR_PROGRAM" approximate approximate.yaml --progress none --json >approximate.json
plot approximate.json --out approximate.png
expect_picture approximate.png "#0072B2" "#D55E00" "#009E73"
expect_error "plot_approximation: error: 'run.err' is not what" run.err --out x.png
[ ! -e x.png ] || fail "a figure in spite of an error"
figure=merge_losses
plot pretrain >merges.txt
# A merge that raises the loss by half a nat, gone some steps later.
awk '$1 == "relora" && $2 == 0.003 { lines++; if ($7 - $6 < 0.1 || $8 - $6 > 0.1) bad++ }
     END { exit !(lines > 0 && bad == 0) }' merges.txt || { cat merges.txt; fail "merge_losses"; }
expect_error "no run that merges beside one that does not" without
echo "passed"
