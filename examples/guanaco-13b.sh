#!/bin/sh
# guanaco-13b.sh - Guanaco 13B as the QLoRA paper trained it: plan it or train it (see guanaco.sh).
set -eu
# shellcheck source=examples/guanaco.sh
. "$(dirname "$0")/guanaco.sh"
guanaco llama-13b 0.05 2e-4 "$@"
