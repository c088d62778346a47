#!/bin/sh
# module.sh QLORA GOOD BROKEN - selftest on a backend module: a right one passes, a wrong one is found.
. "$(dirname "$0")/lib.sh"
good=$2 broken=$3

run selftest --device "$good" --family elem
expect_rc 0
run selftest --device "$broken" --family elem
expect_rc 4
expect_out fill
run selftest --device ./no-such-module.so
refused 6 no-such-module
run selftest --device "$good:7"
refused 6 "index 7"
finish
