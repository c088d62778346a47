#!/bin/sh
# check.sh BUILD-FOLDER COMPILER LIBDIR SHARED - installs into an empty folder, then builds and runs a
# program and the examples against it with find_package and with pkg-config; looks at headers (C and C++),
# symbols and soname.
set -eu
build=$1 cc=$2 libdir=$3 shared=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
prefix=$tmp/prefix
fail() {
    echo "install: $1"
    exit 1
}

cmake --install "$build" --prefix "$prefix" >"$tmp/log" 2>&1 || { cat "$tmp/log"; fail 'cmake --install failed'; }

cmake -S "$here/consumer" -B "$tmp/cmake" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" >"$tmp/log" 2>&1 &&
    cmake --build "$tmp/cmake" >>"$tmp/log" 2>&1 || { cat "$tmp/log"; fail 'find_package(qlora) does not work'; }
"$tmp/cmake/consumer" || fail 'the find_package program failed'

# examples/embed learns: the loss on its rows falls below a tenth, and it counts on as it was taught.
cmake -S "$root/examples" -B "$tmp/examples" -DCMAKE_C_COMPILER="$cc" -DCMAKE_PREFIX_PATH="$prefix" >"$tmp/log" 2>&1 &&
    cmake --build "$tmp/examples" >>"$tmp/log" 2>&1 || { cat "$tmp/log"; fail 'examples/ does not build'; }
check_embed() { # PROGRAM ADAPTER
    OMP_WAIT_POLICY=passive "$1" "$root/tests/data/models/tiny-llama" "$2" >"$tmp/log" 2>&1 ||
        { cat "$tmp/log"; fail 'examples/embed failed'; }
    awk '/^loss before/ { before = $3 } /^loss after/ { after = $3 }
         END { exit !(before > 0 && after > 0 && after < before / 10) }' "$tmp/log" &&
        grep -q '^0 1 2 3 -> 4 5 6 7 8 9 10 11 12 13 14 15$' "$tmp/log" &&
        [ -s "$2/adapter_model.safetensors" ] && [ -s "$2/adapter_config.json" ] ||
        { cat "$tmp/log"; fail 'examples/embed did not learn'; }
}
check_embed "$tmp/examples/embed" "$tmp/adapter"

# The .pc file names the configured prefix; the variable says where it is now.
PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --define-variable=prefix="$prefix" --cflags --libs qlora) || fail 'pkg-config does not know qlora'
# shellcheck disable=SC2086 # the flags are words
"$cc" -std=c11 "$here/consumer/main.c" -o "$tmp/pc" $flags || fail 'the pkg-config flags do not build'
LD_LIBRARY_PATH=$prefix/$libdir "$tmp/pc" || fail 'the pkg-config program failed'
# shellcheck disable=SC2086
"$cc" -std=c11 -Wall -Wextra -Werror "$root/examples/embed.c" -o "$tmp/pc-embed" $flags ||
    fail 'examples/embed.c does not build with the pkg-config flags'
(LD_LIBRARY_PATH=$prefix/$libdir && export LD_LIBRARY_PATH && check_embed "$tmp/pc-embed" "$tmp/pc-adapter")
cmp "$tmp/adapter/adapter_model.safetensors" "$tmp/pc-adapter/adapter_model.safetensors" ||
    fail 'two runs of examples/embed gave different adapters'

for header in "$prefix"/include/qlora/*.h; do
    printf '#include "%s"\n' "$header" |
        "$cc" -std=c11 -Wall -Wextra -Werror -fsyntax-only -x c - -I "$prefix/include" ||
        fail "$header does not compile alone"
done

# C++: every header alone, and a program of its own.
cxx=${CXX:-c++}
if command -v "$cxx" >/dev/null 2>&1; then
    for header in "$prefix"/include/qlora/*.h; do
        "$cxx" -std=c++17 -Wall -Wextra -Werror -fsyntax-only -x c++ "$header" -I "$prefix/include" ||
            fail "$header does not compile as C++"
    done
    # shellcheck disable=SC2086
    "$cxx" -std=c++17 -Wall -Wextra -Werror "$here/consumer/main.cpp" -o "$tmp/cpp" $flags ||
        fail 'the C++ program does not build'
    LD_LIBRARY_PATH=$prefix/$libdir "$tmp/cpp" "$root/tests/data/models/tiny-llama" || fail 'the C++ program failed'
else
    echo "skipped: the headers as C++, there is no $cxx"
fi

if [ "$shared" = ON ]; then
    lib=$prefix/$libdir/libqlora.so
    strays=$(nm -D --defined-only "$lib" | awk '$3 !~ /^ql(ora)?_/ && $2 ~ /[TDBR]/ { print $3 }')
    [ -z "$strays" ] || fail "symbols that are neither ql_ nor qlora_: $strays"
    objdump -p "$lib" | grep -q 'SONAME *libqlora\.so\.[0-9]' || fail 'no versioned soname'
    # Internal functions stay inside.
    if nm -D --defined-only "$lib" | grep -Eq ' ql_(host_calloc|model_open|api_)'; then fail 'internal functions are exported'; fi
fi
[ ! -x "$build/qlora" ] || [ -x "$prefix/bin/qlora" ] || fail 'the program is not installed'
