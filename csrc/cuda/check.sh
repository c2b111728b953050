#!/usr/bin/env bash
# Compiles the CUDA sources for each target given (default: 75 120, the oldest and the newest) without a warning, and
# throws the results away. Takes nvcc from the PATH or, where there is none, from PyPI into a folder of its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
targets=("${@:-75 120}")
read -ra targets <<<"${targets[*]}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

nvcc=$(command -v nvcc || true)
include=()
if [ -z "$nvcc" ]; then
  python3 -m venv "$work/venv"
  if ! "$work/venv/bin/pip" install -q --disable-pip-version-check nvidia-cuda-nvcc==13.0.* nvidia-nvvm==13.0.* \
    nvidia-cuda-crt==13.0.* nvidia-cuda-runtime==13.0.* nvidia-cuda-cccl==13.0.*; then
    echo "the CUDA sources were not compiled: there is no nvcc on the PATH, and pip could not fetch one (its reason is" \
      "above); install CUDA 12.8 or later, or have pip reach an index with nvidia-cuda-nvcc" >&2
    exit 1
  fi
  home=$("$work/venv/bin/python" -c 'import nvidia, pathlib; print(pathlib.Path(list(nvidia.__path__)[0]) / "cu13")')
  nvcc=$home/bin/nvcc
  include=(-I "$home/include" -I "$home/include/cccl")
fi
"$nvcc" --version | tail -2

code=()
for target in "${targets[@]}"; do code+=(-gencode "arch=compute_$target,code=sm_$target"); done
flags=(-O3 -std=c++17 -fmad=false -cudart static -Xcompiler -fPIC,-fvisibility=hidden,-Wall,-Wextra,-Werror
  -Werror all-warnings -DGSB_BUILD_ID='"check"' -DGSB_CUDA_TARGETS='"check"' -I. "${include[@]}" "${code[@]}")
begin=$SECONDS
printf '%s\0' cuda/*.cu | xargs -0 -P "$(nproc)" -I{} bash -c '
  source=$1; shift
  "$@" -c "$source" -o "$(mktemp -u "'"$work"'/XXXXXX").o"' _ {} "$nvcc" "${flags[@]}"
echo "compiled without a warning for ${targets[*]} in $((SECONDS - begin)) s"
