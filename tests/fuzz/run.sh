#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer: FUZZ_SECONDS for each target (default 20), all targets or those in
# FUZZ_TARGETS. The corpus is kept in target/fuzz/corpus and findings in target/fuzz/found. The seeds do not
# change.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
command -v "${CXX:-c++}" >/dev/null || { echo "error: `make fuzz` needs a C++ compiler for libFuzzer; install one or set CXX" >&2; exit 1; }

seconds=${FUZZ_SECONDS:-20}
host=$(rustc -vV | sed -n 's/^host: //p')
base=$PWD/target/fuzz
seeds=$PWD/tests/fuzz/seeds
# The coverage counters for libFuzzer. Because of --target, build scripts and macros are built without them.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares" \
  "${CARGO:-cargo}" build --quiet -p d8-fuzz --features libfuzzer --profile fuzz --target "$host" --target-dir "$base"

status=0
for directory in "$seeds"/*/; do
  target=$(basename "$directory")
  [[ " ${FUZZ_TARGETS:-$target} " == *" $target "* ]] || continue
  mkdir -p "$base/corpus/$target" "$base/found"
  log=$base/$target.log
  if D8_FUZZ_TARGET=$target "$base/$host/fuzz/d8-fuzz" "$base/corpus/$target" "$directory" \
    -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="$base/found/$target-" >"$log" 2>&1; then
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-20s %10s runs, nothing found\n' "$target" "$runs"
  else
    printf '%-20s FOUND something: %s\n' "$target" "$log" >&2
    status=1
  fi
done
exit $status
