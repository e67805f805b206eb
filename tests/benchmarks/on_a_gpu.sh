#!/usr/bin/env bash
# Everything that wants a GPU, one after the other: is it right, how fast is it, what does training reach?
#
#   bash tests/benchmarks/on_a_gpu.sh RESULTS [STEPS_UNET STEPS_SEGNET STEPS_FC_DENSENET]
#
# RESULTS gets tests.txt, bench.md, bench.txt and the folders of the runs. PYTHON names the interpreter
# (it needs torch, torchvision, lightning_fabric, rich, typer and pytest; what else is missing is left out),
# COURSE_DATA the data. DEVICE=cpu tries the script without a GPU; its figures then mean nothing.
set -u
results=$(mkdir -p "${1:?usage: on_a_gpu.sh RESULTS [STEPS STEPS STEPS]}" && cd "$1" && pwd)
steps=("${2:-6000}" "${3:-1000}" "${4:-1500}")
cd "$(dirname "$0")/../.." || exit
python=${PYTHON:-python3} device=${DEVICE:-cuda} began=$SECONDS
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
say() { printf '== %s (%s s)\n' "$1" "$((SECONDS - began))"; }

tests() {
  "$python" -m pytest -o addopts= --strict-markers -p no:cacheprovider -q --continue-on-collection-errors "$@"
}

train() { # recipe, steps
  "$python" -m course.cli reproduce "$1" --out "$results/$1" --steps "$2" --device "$device" \
    --precision bf16-mixed --workers 4 ${WIDTH:+--width "$WIDTH"} >"$results/$1.txt" 2>&1
  grep -A4 -E '^ *metric' "$results/$1.txt" || tail -n 3 "$results/$1.txt"
}

say "right?"
tests -m gpu -n 4 tests/course >"$results/tests.txt" 2>&1
tail -n 25 "$results/tests.txt"

say "fast?"
GPU_BENCH_DEVICE=$device GPU_BENCH_OUT=$results/bench.md \
  tests -m "bench and gpu" -n 0 -s tests/benchmarks/test_gpu_speed.py >"$results/bench.txt" 2>&1
tail -n 25 "$results/bench.txt"

say "what does training reach?"
recipes=(unet-isbi2012 segnet-camvid fc-densenet103-camvid)
for n in 0 1 2; do
  (found=$(train "${recipes[n]}" "${steps[n]}"); printf '%s, %s steps\n%s\n' "${recipes[n]}" "${steps[n]}" "$found") &
done
wait
say "done: $results"
