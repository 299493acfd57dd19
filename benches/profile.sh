#!/usr/bin/env bash
# Where the time of a get, an insert and a commit goes: a flame graph of each (perf samples of the processor's clock) and what
# callgrind counts of it.
#
#   benches/profile.sh [DIRECTORY]     writes get.svg, get.txt, insert.svg, ... there (default: docs/profile)
#
# Needs perf, valgrind and `cargo install inferno`. Quiet machines give better pictures; the counts do not mind.
set -euo pipefail
out=$(mkdir -p "${1:-$(dirname "$0")/../docs/profile}" && cd "${1:-$(dirname "$0")/../docs/profile}" && pwd)
cd "$(dirname "$0")/.."
cargo build --release --quiet --example profile
profile=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/examples/profile
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Only what is below the measured loop, whose frame becomes the picture's root.
below() { sed -nE 's/^.*(profile::measured_[a-z]+)/\1/p'; }

for operation in ${OPERATIONS:-get insert commit}; do
    operations=2000000
    [ "$operation" = commit ] && operations=20000
    perf record --quiet --call-graph dwarf,16384 -F 499 -o "$work/perf" \
        "$profile" "$operation" --records 300000 --operations "$operations" > "$work/time"
    perf script -i "$work/perf" 2> /dev/null | inferno-collapse-perf 2> /dev/null | below > "$work/folded"
    inferno-flamegraph --title "$operation: $(cat "$work/time")" --width 1400 "$work/folded" > "$out/$operation.svg" 2> /dev/null

    operations=50000
    [ "$operation" = commit ] && operations=500
    valgrind --quiet --tool=callgrind --callgrind-out-file="$work/callgrind" --toggle-collect='profile::measured_*' \
        "$profile" "$operation" --records 100000 --operations "$operations" > /dev/null 2>&1
    {
        total=$(sed -nE 's/^(totals|summary): ([0-9]+).*/\2/p' "$work/callgrind" | head -n 1)
        echo "$operation: $((total / operations)) instructions each"
        # A function's lines from all files it is inlined from, together.
        callgrind_annotate --auto=no "$work/callgrind" 2> /dev/null | awk -v n="$operations" '
            match($0, /^ *[0-9,]+ \([^)]*\) +[^:]*:/) {
                count = $1; gsub(",", "", count)
                name = substr($0, RLENGTH + 1); sub(/ \[.*\]$/, "", name)
                if (name !~ /^PROGRAM|x\)$/) of[name] += count
            }
            END { for (name in of) printf "%8.0f  %s\n", of[name] / n, name }' | sort -rn | awk 'NR <= 16'
    } > "$out/$operation.txt"
    echo "ok: $operation"
done
