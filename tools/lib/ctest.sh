# ctest.sh - sourced by tools/test, tools/lint and .ci/run: build a preset, run its tests.
set -o pipefail

# build_preset NAME [TARGET...] - configures when needed and builds; the log is shown only on failure.
build_preset() {
    local preset=$1 log
    shift
    mkdir -p "build/$preset"
    log=build/$preset/build.log
    echo "building the preset $preset (log: $log)" >&2
    if ! { cmake --preset "$preset" && cmake --build --preset "$preset" ${1:+--target "$@"}; } >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "the preset $preset does not build" >&2
        return 1
    fi
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
