#!/bin/sh
# run.sh CASE.py PROGRAM - runs one case with the Python of QLORA_PYTHON (python3), or says why it cannot.
# QL_PACKAGES: what the case needs.
python=${QLORA_PYTHON:-python3}
here=$(dirname "$0")
command -v "$python" >/dev/null || { echo "skipped: there is no $python"; exit 77; }
for package in ${QL_PACKAGES:-torch transformers peft bitsandbytes safetensors}; do
    "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$package') is None)" || {
        echo "skipped: $python has no package $package (set QLORA_PYTHON to one that has)"
        exit 77
    }
done
export OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1 TRANSFORMERS_VERBOSITY=error PYTHONWARNINGS=ignore
exec "$python" "$here/$1" "$2"
