"""tokenizer_sets.py - prints the tables of core/data/uniset.c from the installed package `tokenizers`.

The package carries tables of several Unicode versions; what it does to a character is asked of it, one character
at a time. Run it when the package's tables change: python tokenizer_sets.py > tables.
"""
import unicodedata

from tokenizers import normalizers as N
from tokenizers import pre_tokenizers as P

CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1: out[-1][1] = c
        else: out.append([c, c])
    return out


def print_table(name, codes):
    print("static const ql_code_range %s[] = {" % name)
    items = ["{0x%X, 0x%X}" % tuple(r) for r in ranges(codes)]
    line = "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            print(line)
            line = "   "
        line += " " + item + ","
    print(line + "\n};")


def removed_by(normalizer):
    return [c for c in CODES if normalizer.normalize_str(chr(c)) == ""]


def moves(c, nfd):
    """Whether canonical ordering exchanges the character with one of class 1 or 240."""
    one = nfd(chr(c))
    return nfd(chr(c) + "\u0334") != one + "\u0334" or nfd("\u0345" + chr(c)) != "\u0345" + one


# normalized since Unicode 15, which this Python may not know yet
UNICODE_15 = [*range(0x10EFD, 0x10F00), 0x11F41, 0x11F42, *range(0x1E030, 0x1E06E), 0x1E08F, *range(0x1E4EC, 0x1E4F0)]


def later():
    """What newer Unicode normalizes and the package leaves alone, and the second half of U+11938."""
    nfd, nfkd = N.NFD().normalize_str, N.NFKD().normalize_str
    out = {0x11930, 0x11938, *UNICODE_15}
    for c in CODES:
        s = chr(c)
        if unicodedata.normalize("NFKD", s) != s and nfkd(s) == s: out.add(c)
        if unicodedata.combining(s) and not moves(c, nfd): out.add(c)
    return out


punctuation = P.Punctuation()
print_table("control", removed_by(N.BertNormalizer(True, False, False, False)))
print_table("nonspacing", removed_by(N.BertNormalizer(False, False, True, False)))
print_table("mark", removed_by(N.StripAccents()))
print_table("punctuation", [c for c in CODES if len(punctuation.pre_tokenize_str("a" + chr(c))) > 1])
print_table("later", later())
