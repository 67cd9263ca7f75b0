#!/usr/bin/env bash
# Sets a machine up, builds mora, and runs the laptop twin of the paper's Table 2; or, with `test`,
# runs all the tests. Run again, it does nothing twice: what is installed, built or trained stays.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
  cat <<'USAGE'
usage: ./quickstart.sh          set up, build, train the UUID twin, print its table, draw its figure
       ./quickstart.sh test     set up, build, run all the tests
       ./quickstart.sh setup    set up and build only
USAGE
}

say() { printf '\n== %s\n' "$*"; }

packages_apt=(build-essential cmake ninja-build pkg-config openmpi-bin libopenmpi-dev
  libscalapack-openmpi-dev libopenblas-openmp-dev libhdf5-dev libyaml-dev libjansson-dev
  libssl-dev zlib1g-dev libzstd-dev liblzma-dev libpcre2-dev libutf8proc-dev libsentencepiece-dev
  libcmocka-dev hdf5-tools python3-h5py python3-matplotlib)
packages_dnf="gcc gcc-c++ cmake ninja-build pkgconf openmpi-devel scalapack-openmpi-devel openblas-devel \
hdf5-devel libyaml-devel jansson-devel openssl-devel zlib-devel libzstd-devel xz-devel \
pcre2-devel utf8proc-devel sentencepiece-devel libcmocka-devel python3-h5py python3-matplotlib"
packages_spack="cmake ninja openmpi netlib-scalapack openblas threads=openmp hdf5 libyaml jansson \
openssl zlib zstd xz pcre2 utf8proc sentencepiece cmocka py-h5py py-matplotlib"

# Installs what is missing where apt is the machine's way; elsewhere names it and goes on.
install_missing() {
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    say "no apt on this machine: these are needed (going on, they may be there)"
    printf 'dnf:   %s\nSpack: %s\n' "$packages_dnf" "$packages_spack"
    return
  fi
  local missing=() package
  for package in "${packages_apt[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
      missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  say "installing ${missing[*]}"
  local sudo=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
      echo "quickstart: not root and no sudo; install these and run again: ${missing[*]}" >&2
      exit 1
    }
    sudo=(sudo)
  fi
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
}

build() {
  say "building (preset release)"
  cmake --preset release -Wno-dev --log-level=WARNING
  cmake --build --preset release
}

# A python with h5py and matplotlib: the system's, where another one stands first in the path.
find_python() {
  local candidate
  for candidate in python3 /usr/bin/python3; do
    if "$candidate" -c 'import h5py, matplotlib' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
}

main_job() {
  # The twin's step has four micro-batches: 2 or 4 ranks share them, and give the same bits.
  local mora=build/release/mora ranks=2
  [ "$(nproc)" -lt 4 ] || ranks=4
  local launch=(mpirun -q -np "$ranks" --bind-to none --oversubscribe)
  # Behind mpirun stderr is a pipe: whether a terminal follows it, and how wide, is known here.
  local progress=lines
  if [ -t 2 ]; then
    progress=bar
    COLUMNS=$(stty size <&2 2>/dev/null | cut -d ' ' -f 2) || COLUMNS=80
    export COLUMNS
  fi
  say "a base model that can copy digits ($ranks ranks)"
  "${launch[@]}" "$mora" run experiments/uuid/base.yaml --progress "$progress"
  say "UUID memorisation: full fine-tuning, LoRA, MoRA"
  "${launch[@]}" "$mora" run experiments/uuid/laptop.yaml --progress "$progress"
  say "ours beside the paper's Table 2"
  "$mora" table results/uuid/laptop --paper table2
  local python
  python=$(find_python)
  if [ -n "$python" ]; then
    "$python" analysis/plot_uuid.py results/uuid/laptop --mora "$mora" --out results/uuid/laptop.png
  else
    echo "no python with h5py and matplotlib: the figure is left out"
  fi
  say "logs: results/uuid/laptop/*.h5   figure: results/uuid/laptop.png"
}

# Open MPI refuses root unless told twice.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

case "${1:-run}" in
  run) install_missing; build; main_job ;;
  test) install_missing; build; say "tests"; ctest --preset release ;;
  setup) install_missing; build ;;
  --help) usage ;;
  *) usage >&2; exit 2 ;;
esac
