"""tokenizer_ids.py PROGRAM [--record FOLDER] - tokenizers of every kind, trained here, on 1,000 hostile lines.

PROGRAM is test_tokenizer_oracles: it compares ids, type ids, truncation and decoding with what the packages gave.
--record writes the small tokenizers and their oracles, as they stand in tests/data/tokenizers.
"""
import importlib.util
import json
import os
import subprocess
import sys
import tempfile

if importlib.util.find_spec("sentencepiece") is None:
    print("skipped: this Python has no package sentencepiece, which makes the character map")
    sys.exit(77)

import tokenizer_lines
import tokenizer_make
import tokenizer_oracle

TEXT = os.path.join(os.environ["QL_TEST_SHARED"], "fixtures", "text", "shakespeare.txt")
RECORDED_LINES, RECORDED_BYTES = 240, 90


def build(folder, small):
    if not os.path.exists(TEXT):
        print("skipped: there is no fixtures/text/shakespeare.txt in the shared folder")
        sys.exit(77)
    words = open(TEXT, encoding="utf-8").read().split()
    lines = tokenizer_lines.hostile_lines(1000, words)
    if small:
        lines = [line for line in lines if len(line.encode()) <= RECORDED_BYTES or set(line) == {"a"}]
        lines = lines[::len(lines) // RECORDED_LINES][:RECORDED_LINES]
    names = tokenizer_make.make(folder, TEXT, small)
    with open(os.path.join(folder, "lines.json"), "w", encoding="utf-8") as f:
        json.dump(lines, f, ensure_ascii=False, indent=0)
    for name in names: tokenizer_oracle.write(folder, name, lines)


def main():
    if "--record" in sys.argv:
        build(sys.argv[sys.argv.index("--record") + 1], True)
        return
    with tempfile.TemporaryDirectory(prefix="qlora-tokenizers-") as folder:
        build(folder, False)
        sys.exit(subprocess.run([os.path.abspath(sys.argv[1]), folder]).returncode)


main()
