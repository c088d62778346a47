#!/bin/sh
# guanaco-7b.sh - Guanaco 7B as the QLoRA paper trained it: plan it or train it (see guanaco.sh).
set -eu
# shellcheck source=examples/guanaco.sh
. "$(dirname "$0")/guanaco.sh"
guanaco llama-7b 0.1 2e-4 "$@"
