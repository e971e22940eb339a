#!/usr/bin/env bash
# The whole job on real digits: search an architecture, derive it, draw it, train it, evaluate it. A few minutes on two cores.
# A folder as argument holds the runs (default: logs); a demo that was there before is replaced.
set -euo pipefail

out="${1:-logs}"
search="$out/search/demo"
train="$out/eval/demo"
genotype="$out/demo/genotype.json"

step() { printf '\n== %s\n' "$*"; }
run() { printf '$ ddarts %s\n' "$*"; ddarts "$@"; }

rm -rf "$search" "$train" "$out/demo"
mkdir -p "$out/demo"

step "Search: every cell finds its own operations, on half of the training images against the other half"
run search --dataset digits --out "$out" --save demo

step "Derive: the operations whose weights passed the threshold are the genotype"
run derive --alphas "$search" --output "$genotype"

step "Show: the cells that were found"
run show --arch "$genotype" --format text
run show --arch "$genotype" --format svg --output "$out/demo/cells.svg"
run show --arch "$genotype" --format png --output "$out/demo/cells.png"

step "Train: the derived network, from scratch, on all 1,437 training images"
run train --dataset digits --arch "$genotype" --out "$out" --save demo

step "Evaluate: on the 360 test images, which the search has never seen"
run evaluate --dataset digits --model_path "$train/last.safetensors"

printf '\nDrawings: %s and cells.png beside it; runs: %s and %s (tensorboard --logdir %s)\n' \
    "$out/demo/cells.svg" "$search" "$train" "$out"
