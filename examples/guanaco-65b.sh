#!/bin/sh
# guanaco-65b.sh - Guanaco 65B as the QLoRA paper trained it: plan it or train it (see guanaco.sh).
set -eu
# shellcheck source=examples/guanaco.sh
. "$(dirname "$0")/guanaco.sh"
guanaco llama-65b 0.05 1e-4 "$@"
