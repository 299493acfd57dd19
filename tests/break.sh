#!/usr/bin/env bash
# A wrong engine must be found out. Each cfg below breaks one invariant at one line of the engine (see `pagebox_break` in
# src/); the test named behind it must fail under it, and all pass without it.
#
#   tests/break.sh [NAME ...]      from anywhere; builds into target/break
set -uo pipefail
cd "$(dirname "$0")/.."
export RUST_BACKTRACE=0 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/break

breaks=(
    "none              nothing                       nothing"
    "wal_rule          crash_campaign                P5: pages are written before the log is durable up to their LSN"
    "early_ack         crash_campaign                W1: a flush counts as durable before its sync"
    "split_half        crash_campaign                B3: a split's record lacks the new page"
    "page_checksum     crash_campaign                a page whose checksum does not fit is taken as it is"
    "reuse_freed       crash_campaign                A1: a freed page is reused at once"
    "value_sync        crash_campaign                V1: a large value is referred to before it is durable"
    "readers           readers_while_values_are_overwritten_and_space_is_reused V3: space is reused while a registered reader may still read it"
    "bulk_sync         crash_campaign                D4: a bulk load's pages are not synced before the record that refers to them"
    "fresh_again       crash_campaign                P10: a page that was written once is still taken for a fresh one"
    "double_write      crash_campaign                P7: double-write slots are reused before the in-place writes are synced"
    "copy_floor        crash_campaign                P11: pages rely on copies that the log does not go back to any more"
    "sync_gate         a_checkpoint_beside_a_load_whose_sync_fails P9: a sync of the page file succeeds beside one that fails"
    "read_unvalidated  histories_are_linearizable    L4: a lookup's leaf is not validated"
    "child_unvalidated histories_are_linearizable    L4: a parent is not validated once its child is found"
    "hint_unverified   evictions_beside_descents     P1: a hinted frame's page is not looked at again under its version"
    "uncounted         every_kind_of_change_counts   B5: changes are not counted"
    "batch_by_leaf     histories_are_linearizable    a batch latches and changes one leaf after the other"
)

# Without `readers` a callback waits for ever for the frame that it holds itself: its test is left out.
wrong=0
for line in "${breaks[@]}"; do
    read -r name finder what <<< "$line"
    [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
    export RUSTFLAGS="--cfg pagebox_break=\"$name\""
    if [ "$finder" = evictions_beside_descents ]; then
        # A few instructions wide: for a checker that chooses where threads are held up.
        out=$(RUSTFLAGS="--cfg shuttle $RUSTFLAGS" CARGO_TARGET_DIR=$CARGO_TARGET_DIR/shuttle cargo test --release \
            --no-default-features --features btree --test shuttle_tree --no-fail-fast 2>&1)
    else
        out=$(cargo test --release --test crash --test store_bad_input --test large_values --test histories \
            --test failed_syncs --test len --no-fail-fast -- \
            --skip a_callback_keeps_what_it_reads 2>&1)
    fi
    if ! grep -q '^running' <<< "$out"; then
        echo "$out" | tail -n 20
        echo "WRONG: $name does not build"
        wrong=1
        continue
    fi
    failed=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' <<< "$out" | sort -u | paste -sd ' ')
    echo "== $name: $what"
    echo "   fails: ${failed:-nothing}"
    grep -m 1 -A 3 '^VIOLATION\|^thread.*panicked' <<< "$out" | cut -c 1-300 | sed 's/^/   | /'
    if [ "$name" = none ]; then
        [ -z "$failed" ] || { echo "WRONG: the sound engine fails"; wrong=1; }
    else
        [[ " $failed " == *" $finder "* ]] || { echo "WRONG: $name is not found by $finder"; wrong=1; }
    fi
done
exit $wrong
