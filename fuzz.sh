#!/usr/bin/env bash
# Fuzzes the media engine with libFuzzer, on stable Rust: no nightly, no cargo-fuzz. `cargo fuzz run TARGET` in
# workers/media works as well, where it is installed.
set -euo pipefail
cd "$(dirname "$0")"

usage() {
    cat <<TXT
usage: ./fuzz.sh [TARGET…] [--seconds N | --runs N] [--replay FILE] [--build]
  TARGET…         one of the targets below; without any, all but avif_pixels
  --seconds N     how long each target runs (10)
  --runs N        the same N inputs every time, from the seeds alone: what a check can repeat
  --replay FILE   runs one input of the one TARGET, and nothing else
  --build         builds, and runs nothing
targets: ${targets[*]}
What they hold to: workers/media/fuzz/src/properties. Inputs that grew stay in $work/corpus, findings in $work/findings.
TXT
}

cargo=${CARGO:-cargo}
work=${CARGO_TARGET_DIR:-target}/fuzz
manifest=workers/media/fuzz/Cargo.toml
mapfile -t targets < <(sed -n 's/^name = "\([a-z_]*\)"$/\1/p' "$manifest")
seconds=10
runs=""
replay=""
build_only=""
chosen=()
while [ $# -gt 0 ]; do
    case "$1" in
        --seconds) seconds=${2:?--seconds needs a number}; shift ;;
        --runs) runs=${2:?--runs needs a number}; shift ;;
        --replay) replay=${2:?--replay needs a file}; shift ;;
        --build) build_only=1 ;;
        --help | -h) usage; exit 0 ;;
        -*) usage >&2; exit 2 ;;
        *)
            [[ " ${targets[*]} " == *" $1 "* ]] || { printf 'fuzz.sh: %s is no target; there are: %s\n' "$1" "${targets[*]}" >&2; exit 2; }
            chosen+=("$1")
            ;;
    esac
    shift
done
if [ -n "$replay" ] && [ ${#chosen[@]} -ne 1 ]; then
    echo "fuzz.sh: --replay needs the one target that the input is for" >&2
    exit 2
fi
# A panic within the AV1 decoder ends the process, and there is no mending it here: only who asks for it runs it.
[ ${#chosen[@]} -gt 0 ] || for target in "${targets[@]}"; do [ "$target" = avif_pixels ] || chosen+=("$target"); done

# What `cargo fuzz` asks of rustc, all of it in stable options. With --target, or build scripts would be instrumented too.
host=$(rustc -vV | sed -n 's/^host: //p')
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
"$cargo" build --manifest-path "$manifest" --release --locked --target "$host" --target-dir "$work/build" --quiet
unset RUSTFLAGS
[ -z "$build_only" ] || exit 0
bin=$work/build/$host/release
if [ -n "$replay" ]; then
    exec "$bin/${chosen[0]}" -rss_limit_mb=2048 -timeout=20 "$replay"
fi

seeds=$work/seeds
rm -rf "$seeds"
"$cargo" run --package mediamill-media --example seeds --locked --quiet -- "$seeds"
found=()
for target in "${chosen[@]}"; do
    corpus=$work/corpus/$target
    findings=$work/findings/$target
    much=(-max_total_time="$seconds")
    if [ -n "$runs" ]; then
        # What it has written it would read again every second, and go on from there: another way on a slow machine.
        much=(-runs="$runs" -seed=2 -reload=0)
        corpus=$work/fresh/$target
        rm -rf "$corpus"
    fi
    mkdir -p "$corpus" "$findings"
    folders=("$corpus" "$seeds/$target")
    [ ! -d "workers/media/tests/findings/$target" ] || folders+=("workers/media/tests/findings/$target")
    started=$SECONDS
    if "$bin/$target" "${much[@]}" -max_len=8192 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$findings/" "${folders[@]}" >"$work/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$target.log")
        printf '%-12s %8s inputs in %s s, nothing found\n' "$target" "$runs" "$((SECONDS - started))"
    else
        found+=("$target")
        input=$(sed -n 's/.*Test unit written to //p' "$work/$target.log" | tail -1)
        printf '%-12s FOUND SOMETHING: %s\n' "$target" "${input:-$work/$target.log}"
        sed -n -e '/^finding: /,/^==/{/^==/!p}' -e 's/^==.*ERROR: libFuzzer/libFuzzer/p' "$work/$target.log" | cut -c 1-300
        printf '  again:   ./fuzz.sh %s --replay %s\n' "$target" "${input:-FILE}"
        printf '  smaller: %s -minimize_crash=1 -runs=20000 -exact_artifact_path=smaller %s\n' "$bin/$target" "${input:-FILE}"
        printf '  to keep: workers/media/tests/findings/%s/, which cargo test reads\n' "$target"
    fi
done
if [ ${#found[@]} -gt 0 ]; then
    printf 'fuzz.sh: properties are broken: %s\n' "${found[*]}" >&2
    exit 1
fi
