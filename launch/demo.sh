#!/usr/bin/env bash
# The whole job on real digits: search an architecture, derive it, draw it, train it, evaluate it. Minutes on two cores.
# The argument is a folder for all of it (default: logs/demo); what an earlier demo left there is replaced.
# Fails where the network that was found misses 97 % of the test images.
set -euo pipefail

out="${1:-logs/demo}"
search="$out/search/digits"
train="$out/eval/digits"
genotype="$out/genotype.json"
marker="$out/.made-by-the-demo"

step() { printf '\n== %s\n' "$*"; }
run() { printf '$ ddarts %s\n' "$*"; ddarts "$@"; }

if [[ -e "$out" && ! -e "$marker" ]]; then
    echo "demo: $out is there already and was not made by the demo: give another folder" >&2
    exit 2
fi
rm -rf "$out"
mkdir -p "$out"
touch "$marker"

step "Search: every cell finds its own operations, on half of the training images against the other half"
run search --dataset digits --out "$out" --save digits

step "Derive: the operations whose weights passed the threshold are the genotype"
run derive --alphas "$search" --output "$genotype"

step "Show: the cells that were found"
run show --arch "$genotype" --format text
run show --arch "$genotype" --format svg --output "$out/cells.svg"
run show --arch "$genotype" --format png --output "$out/cells.png"

step "Train: the derived network, from scratch, on all 1,437 training images"
run train --dataset digits --arch "$genotype" --out "$out" --save digits

step "Evaluate: on the 360 test images, which the search has never seen"
printf '$ ddarts evaluate --dataset digits --model_path %s --json\n' "$train/last.safetensors"
ddarts evaluate --dataset digits --model_path "$train/last.safetensors" --json | tee "$out/evaluation.json"
python - "$out/evaluation.json" "$genotype" <<'CHECK'
import json, sys

accuracy = json.load(open(sys.argv[1]))["top1"]
cells = [tuple(map(tuple, cell)) for cell in json.load(open(sys.argv[2]))["cells"]]
if accuracy < 97 or not all(cells) or len(set(cells)) != len(cells):
    sys.exit(f"demo: {accuracy:.2f} % of the test images with {len(set(cells))} different cells; at least 97 % is expected")
print(f"{accuracy:.2f} % of the test images are classified right; all {len(cells)} cells differ")
CHECK

printf 'Drawings: %s, %s; reports: %s, %s; curves: tensorboard --logdir %s\n' \
    "$out/cells.svg" "$out/cells.png" "$search/report.html" "$train/report.html" "$out"
