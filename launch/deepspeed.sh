#!/usr/bin/env bash
# Search or train on several ranks with DeepSpeed:   launch/deepspeed.sh search|train NAME [options of ddarts]
#
# Run the same command again to continue after a stop. Variables: RANKS (ranks on this machine; left out: its GPUs, or 1),
# OUT (folder of all runs; logs), HOSTFILE (several machines; DeepSpeed reaches them by ssh), MASTER_PORT.
# DeepSpeed's own settings: --ds_config FILE. Leaves with 0 when the run is done, with 75 when it was stopped by SIGTERM
# or SIGUSR1 and wants to be started again.
set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"
[[ $# -ge 2 ]] || usage

begin_or_continue "$1" "$2"
shift 2
RANKS="${RANKS:-$(nvidia-smi -L 2>/dev/null | grep -c . || true)}"
PORT="${MASTER_PORT:-$(python -c 'from ddarts.runtime.ranks.discovery import free_port; print(free_port())')}"
LAUNCHER=(deepspeed --master_port "$PORT")
if [[ -n "${HOSTFILE:-}" ]]; then
    LAUNCHER+=(--hostfile "$HOSTFILE")
else
    LAUNCHER+=(--num_accelerators "$((RANKS > 0 ? RANKS : 1))")
fi
# The launcher does not hand SIGTERM on: its whole process group gets it.
GROUP=1 supervise "${LAUNCHER[@]}" --module ddarts "${WORDS[@]}" --engine deepspeed "$@"
finish
