# ctest.sh - sourced by tools/test, tools/quickstart, tools/lint and .ci/run: build a preset, run its tests.
set -o pipefail

# run_logged LOG COMMAND... - runs it; what it says goes to LOG and is shown only on failure.
run_logged() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    if ! "$@" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "failed: $* (log: $log)" >&2
        return 1
    fi
}

# build_preset NAME [TARGET...] - configures and builds.
build_preset() {
    local preset=$1 dir=build/$1
    shift
    echo "building the preset $preset (log: $dir/build.log)" >&2
    run_logged "$dir/configure.log" cmake --preset "$preset" &&
        run_logged "$dir/build.log" cmake --build --preset "$preset" ${1:+--target "$@"}
}

# run_ctest BUILD-FOLDER [CTEST-ARG...] - runs ctest, then lists skipped sub-tests, then prints ctest's
# summary, which also stays in BUILD-FOLDER/ctest-summary.txt. Returns ctest's status.
run_ctest() {
    local dir=$1 rc=0 summary=$1/ctest-summary.txt
    shift
    rm -f "$summary"
    # Several tests share the cores: a waiting OpenMP thread must not spin.
    OMP_WAIT_POLICY=passive ctest --test-dir "$dir" --output-on-failure -j "$(nproc)" "$@" |
        awk -v summary="$summary" '/^[0-9]+% tests passed/ { held = 1 }
            held { print > summary; next } { print; fflush() }' || rc=$?
    list_skipped "$dir"
    cat "$summary" 2>/dev/null || true
    return $rc
}

# list_skipped BUILD-FOLDER - what was skipped in the last run, by program: CMocka's sub-tests, and what
# scripts say in a line "skipped: ...".
list_skipped() {
    awk '/^[0-9]+\/[0-9]+ Testing: / { name = $3; next }
        /^\[  SKIPPED \] / && !/listed below:$/ { sub(/^\[  SKIPPED \] /, ""); add($0) }
        /^skipped: / { sub(/^skipped: /, ""); add($0) }
        function add(what) {
            if (seen[name, what]++) return
            if (!n++) print "skipped tests:"
            print "  " name ": " what
        }' "$1/Testing/Temporary/LastTest.log" 2>/dev/null || true
}
