# shellcheck shell=bash
# What the launch scripts share: the folder of a run, whether it begins or goes on, and how it ended. To be sourced.
#
# A return code says little: torchrun turns every one into 1, deepspeed may return 0 after a kill. So a run that is
# finished leaves DONE in its folder, and one that stopped on request, after saving, leaves REQUEUE.

REQUEUE_CODE=75
OUT="${OUT:-logs}"

usage() {
    # Everything between the first line and the first one that is no comment.
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
    exit 2
}

# run_folder COMMAND NAME
run_folder() {
    case "$1" in
        search) printf '%s/search/%s\n' "$OUT" "$2" ;;
        train) printf '%s/eval/%s\n' "$OUT" "$2" ;;
        *) echo "$0: $1: choose search or train" >&2; return 2 ;;
    esac
}

# begin_or_continue COMMAND NAME: fills the array WORDS with the command and its first options.
begin_or_continue() {
    FOLDER="$(run_folder "$1" "$2")" || exit 2
    WORDS=("$1" --out "$OUT" --save "$2")
    if [[ -e "$FOLDER/DONE" ]]; then
        echo "$0: $FOLDER is finished" >&2
        exit 0
    fi
    rm -f -- "$FOLDER/REQUEUE" # of an earlier stop: what fails now must not look like it
    if compgen -G "$FOLDER/checkpoints/step_*" >/dev/null; then
        WORDS+=(--resume)
    fi
}

# supervise PROGRAM [ARGUMENTS…]: run it, hand TERM and USR1 on as TERM (to its whole process group where GROUP is 1),
# and wait for its end (or the group's); its return code is in CODE.
supervise() {
    local child target
    if [[ "${GROUP:-0}" == 1 ]]; then
        setsid "$@" &
        child=$!
        target="-$child"
    else
        "$@" &
        child=$!
        target="$child"
    fi
    trap 'kill -TERM -- "$target" 2>/dev/null || true' TERM USR1 INT
    while true; do
        wait "$child" && CODE=0 || CODE=$?
        kill -0 "$child" 2>/dev/null || break
    done
    if [[ "$target" == -* ]]; then
        end_group "$target"
    fi
    trap - TERM USR1 INT
}

# end_group -LEADER: what a launcher leaves alone when it goes, ranks that save for example, has 30 s to end.
end_group() {
    kill -TERM -- "$1" 2>/dev/null || return 0
    for _ in {1..60}; do
        sleep 0.5
        kill -0 -- "$1" 2>/dev/null || return 0
    done
    kill -KILL -- "$1" 2>/dev/null || true
}

# finish: leave with 0 where the run is done, 75 where it wants to be started again, and not 0 elsewhere.
finish() {
    if [[ -e "$FOLDER/DONE" ]]; then
        exit 0
    elif [[ -e "$FOLDER/REQUEUE" ]]; then
        echo "$0: stopped and saved; the same command continues" >&2
        exit "$REQUEUE_CODE"
    fi
    echo "$0: not finished; the ranks' messages are in $FOLDER/log*.txt; the same command continues" >&2
    exit "$((CODE == 0 ? 1 : CODE))"
}
