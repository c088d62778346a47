#!/bin/sh
# check.sh BUILD-FOLDER COMPILER LIBDIR SHARED - installs into an empty folder, then builds and runs a
# program against it with find_package and with pkg-config; looks at headers, symbols and soname.
set -eu
build=$1 cc=$2 libdir=$3 shared=$4
here=$(cd "$(dirname "$0")" && pwd)
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

# The .pc file names the configured prefix; the variable says where it is now.
PKG_CONFIG_PATH=$prefix/$libdir/pkgconfig
export PKG_CONFIG_PATH
flags=$(pkg-config --define-variable=prefix="$prefix" --cflags --libs qlora) || fail 'pkg-config does not know qlora'
# shellcheck disable=SC2086 # the flags are words
"$cc" -std=c11 "$here/consumer/main.c" -o "$tmp/pc" $flags || fail 'the pkg-config flags do not build'
LD_LIBRARY_PATH=$prefix/$libdir "$tmp/pc" || fail 'the pkg-config program failed'

for header in "$prefix"/include/qlora/*.h; do
    "$cc" -std=c11 -Wall -Wextra -Werror -fsyntax-only -x c "$header" -I "$prefix/include" ||
        fail "$header does not compile alone"
done

if [ "$shared" = ON ]; then
    lib=$prefix/$libdir/libqlora.so
    strays=$(nm -D --defined-only "$lib" | awk '$3 !~ /^ql_/ && $2 ~ /[TDBR]/ { print $3 }')
    [ -z "$strays" ] || fail "symbols that are not ql_: $strays"
    objdump -p "$lib" | grep -q 'SONAME *libqlora\.so\.[0-9]' || fail 'no versioned soname'
    # Internal functions stay inside.
    if nm -D --defined-only "$lib" | grep -q ' ql_host_calloc$'; then fail 'internal functions are exported'; fi
fi
[ ! -x "$build/qlora" ] || [ -x "$prefix/bin/qlora" ] || fail 'the program is not installed'
