#!/bin/sh
# The figure, from real runs to its pixels, and its errors. Needs MR_PROGRAM and MR_SOURCE_DIR.
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
matrix:
  - {method.name: fft, run.seed: [1, 2]}
  - {method.name: mora, method.r: 8, train.lr: [3e-3, 1e-2], run.seed: [1, 2]}
END
"$MR_PROGRAM" run study.yaml >/dev/null 2>run.err || { cat run.err; exit 1; }

plot() {
    "$python" "$MR_SOURCE_DIR/analysis/plot_uuid.py" "$@"
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

plot results --out figure.png --mora "$MR_PROGRAM"
"$python" - <<'END'
import matplotlib.image

picture = matplotlib.image.imread("figure.png")
assert picture.shape[0] > 600 and picture.shape[1] > 1200, picture.shape
white = (picture[..., :3] > 0.99).all(axis=2).mean()
assert 0.5 < white < 0.99, white
for colour in [(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)]:
    near = abs(picture[..., :3] * 255 - colour).max(axis=2) < 2
    assert near.sum() > 500, (colour, near.sum())
END

expect_error "cannot start './no-such-program'" results --out x.png --mora ./no-such-program
expect_error "cannot read the folder 'nowhere'" nowhere --out x.png --mora "$MR_PROGRAM"
expect_error "--out: no folder 'nowhere'" results --out nowhere/x.png --mora "$MR_PROGRAM"
expect_error "--setting: expected 1..1, found 2" results --out x.png --mora "$MR_PROGRAM" --setting 2

"$MR_PROGRAM" run study.yaml --set task.pairs=16 --set run.output=results/other >/dev/null 2>&1
expect_error "the runs are of 2 settings" results --out x.png --mora "$MR_PROGRAM"
plot results --out second.png --mora "$MR_PROGRAM" --setting 2
[ -s second.png ] || fail "no second figure"
[ ! -e x.png ] || fail "a figure in spite of an error"
echo "passed"
