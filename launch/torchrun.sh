#!/usr/bin/env bash
# Search or train on several ranks with torchrun:   launch/torchrun.sh search|train NAME [options of ddarts]
#
# Run the same command again to continue after a stop. Variables: RANKS (ranks on this machine; left out: its GPUs, or 1),
# OUT (folder of all runs; logs). Several machines, the same command on each: NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT.
# Leaves with 0 when the run is done, with 75 when it was stopped by SIGTERM or SIGUSR1 and wants to be started again.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
[[ $# -ge 2 ]] || usage

begin_or_continue "$1" "$2"
shift 2
RANKS="${RANKS:-$(nvidia-smi -L 2>/dev/null | grep -c . || true)}"
LAUNCHER=(torchrun --nproc_per_node "$((RANKS > 0 ? RANKS : 1))")
if [[ "${NNODES:-1}" -gt 1 ]]; then
    LAUNCHER+=(--nnodes "$NNODES" --node_rank "${NODE_RANK:?the number of this machine, from 0}")
    LAUNCHER+=(--master_addr "${MASTER_ADDR:?the host of machine 0}" --master_port "${MASTER_PORT:-29500}")
else
    LAUNCHER+=(--standalone) # finds a free port
fi
supervise "${LAUNCHER[@]}" --module ddarts "${WORDS[@]}" "$@"
finish
