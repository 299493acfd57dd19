#!/usr/bin/env bash
# A wrong engine must be found out. Each cfg below breaks one invariant at one line of the engine (see `pagebox_break` in
# src/); the crash campaign, and the tests named beside it, must fail under it and pass without it.
#
#   tests/break.sh [NAME ...]      from anywhere; builds into target/break
set -uo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/break

breaks=(
    "none           nothing"
    "wal_rule       P5: pages are written before the log is durable up to their LSN"
    "early_ack      W1: a flush counts as durable before its sync"
    "split_half     B3: a split's record lacks the new page"
    "page_checksum  a page whose checksum does not fit is taken as it is"
    "reuse_freed    A1: a freed page is reused at once"
    "bulk_sync      D4: a bulk load's pages are not synced before the record that refers to them"
    "double_write   P7: double-write slots are reused before the in-place writes are synced"
)

wrong=0
for line in "${breaks[@]}"; do
    name=${line%% *}
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    export RUSTFLAGS="--cfg pagebox_break=\"$name\""
    out=$(cargo test --release --test crash --test store_bad_input --no-fail-fast 2>&1)
    if ! grep -q '^running' <<< "$out"; then
        echo "$out" | tail -n 20
        echo "WRONG: $name does not build"
        wrong=1
        continue
    fi
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<< "$out" | sort -u | paste -sd ' ')
    echo "== $line"
    echo "   fails: ${failed:-nothing}"
    grep -m 1 -A 3 '^VIOLATION\|^thread.*panicked' <<< "$out" | cut -c 1-300 | sed 's/^/   | /'
    if [ "$name" = none ]; then
        [ -z "$failed" ] || { echo "WRONG: the sound engine fails"; wrong=1; }
    else
        [[ " $failed " == *" crash_campaign "* ]] || { echo "WRONG: $name is not found by the crash campaign"; wrong=1; }
    fi
done
exit $wrong
