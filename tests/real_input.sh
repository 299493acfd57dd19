#!/usr/bin/env bash
# Real input through the command line: Debian's word list and every file of the Rust toolchain. The export must equal the
# input sorted by bytes, the last of a key's lines winning; and after SIGKILL in the middle of the import the store must
# hold a prefix of the input that contains every acknowledged line.
#
#   tests/real_input.sh [WORDS]    from anywhere; needs bash, awk, sort, cksum; builds the example in release mode
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
cargo build --release --quiet --example kvstore
kv=$(cd "${CARGO_TARGET_DIR:-target}" && pwd)/release/examples/kvstore
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The last line of each key, in the order of the keys' bytes. No sample has bytes that need an escape in a key.
expected() { awk -F'\t' '{ line[$1] = $0 } END { for (k in line) print line[k] }' "$1" | sort -t "$(printf '\t')" -k1,1; }

whole() { # name, input
    "$kv" --data-dir "$work/$1" import "$2" > "$work/acks" 2> "$work/progress" || { cat "$work/progress"; return 1; }
    tail -n 1 "$work/progress"
    "$kv" --data-dir "$work/$1" export > "$work/out"
    expected "$2" | cmp - "$work/out" || { echo "FAILED: $1: the export is not the sorted input"; return 1; }
    "$kv" --data-dir "$work/$1" check > /dev/null
    echo "ok: $1: $(wc -l < "$2") lines in, $(wc -l < "$work/out") records out"
    rm -rf "${work:?}/$1"
}

killed() { # name, input, lines acknowledged before the kill
    local dir=$work/$1-killed acked recovered
    mkfifo "$work/said"
    "$kv" --data-dir "$dir" --memory 16MiB import "$2" > "$work/said" 2> /dev/null &
    local pid=$!
    # Everything said before the death counts; a line that the death cut off does not.
    acked=0
    while read -r _ n; do
        if [ "$acked" -lt "$3" ] && [ "$n" -ge "$3" ]; then kill -9 "$pid"; fi
        acked=$n
    done < "$work/said"
    wait "$pid" 2> /dev/null || true
    rm "$work/said"
    if [ "$acked" -ge "$(wc -l < "$2")" ]; then
        echo "FAILED: $1: the import was over before it could be killed"
        return 1
    fi
    "$kv" --data-dir "$dir" check > /dev/null
    "$kv" --data-dir "$dir" export > "$work/out"
    # The lines are in the order of their keys only now: which prefix of the input are they?
    recovered=$(awk -F'\t' -v least="$acked" '
        NR == FNR { found[$1] = $0; wrong++; next }
        FNR == 1 && least == 0 && wrong == 0 { print 0; ok = 1; exit }
        { wrong += (($1 in state ? state[$1] : "") == found[$1]) - ($0 == found[$1]); state[$1] = $0 }
        FNR >= least && wrong == 0 { print FNR; ok = 1; exit }
        END { if (!ok) print "none" }' "$work/out" "$2")
    if [ "$recovered" = none ]; then
        echo "FAILED: $1: killed after $acked acknowledged lines, and the store holds no prefix that contains them"
        return 1
    fi
    echo "ok: $1: killed after $acked acknowledged lines, recovered $recovered of $(wc -l < "$2")"
    rm -rf "$dir"
}

sample() { # name, input
    whole "$1" "$2"
    local lines
    lines=$(wc -l < "$2")
    for part in 100 4 2; do killed "$1" "$2" $((lines / part)); done
}

words=${1:-/usr/share/dict/american-english-huge}
if [ -r "$words" ]; then
    awk '{ print $0 "\t" NR }' "$words" > "$work/words.tsv"
    sample words "$work/words.tsv"
else
    echo "skipped: no $words (Debian and Ubuntu: apt-get install wamerican-huge)"
fi

toolchain=$(rustc --print sysroot)
find "$toolchain" -type f -print0 | xargs -0 cksum | awk '{ sum = $1; size = $2; sub(/^[0-9]+ [0-9]+ /, ""); print $0 "\t" size " " sum }' > "$work/files.tsv"
# Every file twice: the second line of a key wins.
cp "$work/files.tsv" "$work/twice.tsv"
awk -F'\t' '{ print $1 "\tagain " $2 }' "$work/files.tsv" >> "$work/twice.tsv"
sample toolchain "$work/twice.tsv"
