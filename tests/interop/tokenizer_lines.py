"""tokenizer_lines.py - lines that tokenizers get wrong: all planes, marks, white space, look-alikes, long words.

Characters are of Unicode 14 or will never be assigned: what came later depends on the version of everybody's tables.
"""
import random
import unicodedata

SPECIALS = ["[MASK]", "[CLS]", "[SEP]", "[UNK]", "[PAD]", "<mask>", "<s>", "</s>", "<unk>", "<pad>", "<extra_id_0>",
            "<|endoftext|>", "[mask]", "[Mask]", "</S>", "< mask >", "<mask", "mask>", "##ing", "##", "#", "\u2581",
            "\u2581the", "\u0120the", "\u010a", "<0x41>", "<0x0A>", "<0xZZ>", "\u2581\u2581", "[ MASK ]", "[[MASK]]"]
SPACES = [" ", "  ", "\t", "\n", "\r\n", "\r", "\u00a0", "\u1680", "\u2000", "\u2003", "\u200a", "\u2028", "\u2029",
          "\u202f", "\u205f", "\u3000", "\u0085", "\x0b", "\x0c", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff",
          "\u180e", "\x1c", "\x1f"]
EMOJI = ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f1e9\U0001f1ea\U0001f1eb", "\U0001f44d\U0001f3fd", "\u2764\ufe0f",
         "#\ufe0f\u20e3", "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e007f", "\U0001f600", "\u00a9\ufe0f", "1\u20e3"]
WORDS = ["can't", "do not", "I'm", "we've", "they're", "n't", "'s", "Na\u00efve", "r\u00e9sum\u00e9", "\u0130stanbul", "stra\u00dfe",
         "\u01c5ungla", "\ufb01ne", "\uff21\uff22\uff23", "\u2460\u00bd\u00b2", "\uac00\uac01", "\u1112\u1161\u11ab", "\u304b\u3099", "\uff76\uff9e",
         "\u0915\u094d\u0937\u093f", "\u0e19\u0e49\u0e33", "\u0627\u0644\u0633\u0644\u0627\u0645", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd", "\u4e2d\u6587\u5b57", "\u3400\U00020000",
         "\uf900\ufa70", "\u2126\u212b", "a\u0301\u0323", "a\u0323\u0301", "\u1e69", "s\u0323\u0307", "\u0344", "\u0958", "\u2adc",
         "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2", "3.14", "1,000", "2023-11-22", "foo_bar", "a.b.c", "x=y+z;", "$5", "`~^|<>",
         "\u2014\u2026\u00ab\u00bb", "\u201cq\u201d", "\u3002\uff01", "\u0964", "\u166d", "\U000111c9", "\ufdfa", "\u3300", "\u32ff", "\u1abf",
         "\u0301alone", "e\u0301\u0302\u0303", "\U0001d400\U0001d7d8", "\U00011938", "\u0f71\u0f74", "\u0345\u0301"]
NEVER = [0xFFFE, 0xFFFF, 0xFDD0, 0x1FFFE, 0x10FFFF, 0xE000, 0xF8FF, 0xF0000, 0x10FFFD, 0xE0001, 0xE01EF, 0xFFFD]


def by_category():
    out = {}
    for c in range(1, 0x110000):
        s = chr(c)
        category = unicodedata.category(s)
        if category not in ("Cn", "Cs"): out.setdefault(category, []).append(s)
    return out


def hostile_lines(n, words, seed=4):
    """n lines; `words` of the text the vocabularies were trained on."""
    r = random.Random(seed)
    categories = by_category()
    marks = categories["Mn"] + categories["Mc"] + categories["Me"]

    def any_char():
        if r.random() < 0.05: return chr(r.choice(NEVER))
        return r.choice(categories[r.choice(sorted(categories))])

    def long_word():
        base = r.choice(["a", "ab", "the", "\u4e2d", "\u00e9", "x\u0301", "9", "!", "\U0001f600", "\u2581", r.choice(words)])
        return (base * 400)[:r.choice([50, 99, 100, 101, 102, 150, 300])]

    def upper(): return r.choice(words).upper()
    def glued(): return r.choice(words) + r.choice(SPECIALS) + r.choice(words)
    def marked(): return "".join(c + "".join(r.choices(marks, k=r.randint(0, 3))) for c in r.choice(words))
    def noise(): return "".join(any_char() for _ in range(r.randint(1, 12)))
    def plane(): return "".join(chr(c) for c in r.choices(range(0x10000, 0x10FFFF), k=4)
                                if unicodedata.category(chr(c)) != "Cn")
    def control(): return "".join(chr(c) for c in r.choices([*range(1, 32), *range(127, 160)], k=3))

    parts = [lambda: r.choice(words)] * 6 + [
        lambda: r.choice(WORDS), lambda: r.choice(WORDS), lambda: r.choice(SPECIALS), lambda: r.choice(EMOJI), upper, glued,
        marked, noise, noise, plane, control]
    out = ["", " ", "  ", "\n", "\u00a0", "\u3000\u3000", "\u200b", "\u0301", "\ufeff", "a", " a", "a ", "\u2581", "\u2581a", "[MASK]", " <mask> ",
           "</s>", "'", "''", "\r\n", "\r\n\r\n", "e\u0301", "\u00e9", "\u0130", "\ufdfa"]
    out += [w for w in WORDS] + SPECIALS
    while len(out) < n:
        if r.random() < 0.08:
            out.append(long_word())
            continue
        line = ""
        for _ in range(r.randint(1, 9)):
            line += r.choice(parts)()
            line += " " if r.random() < 0.7 else r.choice(SPACES) if r.random() < 0.7 else ""
        out.append(line if r.random() < 0.5 else line.strip(" "))
    return out[:n]
