#!/usr/bin/env python3
"""Random templates: the interpreter against jinja2, byte for byte.

Usage: jinja_random.py PROGRAM [COUNT [SEED]]. PROGRAM is test_jinja_oracles, which compares the file
that is written here. Both may refuse a template; one of them alone may not.
"""
import copy
import json
import os
import random
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden"))
try:
    import jinja2  # noqa: F401
    from jinja_env import environment, render
except ImportError as e:
    print(f"skipped: {e}")
    sys.exit(77)
from jinja_probes import VARIABLES

NAMES = ["n", "neg", "zero", "x", "t", "f", "none", "s", "sp", "u", "q", "e", "ml", "l", "ls", "el", "d", "ed", "users",
         "messages", "missing", "a", "b", "ns"]
TEXTS = ["a", "", " b ", "Hello\\n", "é漢", "<|im_end|>", "x,y,,z", "10", "2.50", "'", "A b-c"]
FILTERS = ["upper", "lower", "title", "capitalize", "trim", "length", "string", "list", "first", "last", "join('-')", "join",
           "default('z')", "default('z', true)", "d(1)", "int", "float", "abs", "round", "round(1)", "sort", "reverse|list", "unique|list",
           "tojson", "tojson(indent=2)", "e", "replace('l', 'L')", "replace('', '.')", "indent(2)", "indent(1, true)", "map('upper')|list",
           "map(attribute='name')|list", "map('string')|join('|')", "select|list", "reject('string')|list", "select('number')|list",
           "selectattr('age', 'gt', 5)|list", "rejectattr('admin')|list|length", "sum", "min", "max", "dictsort", "items|list", "batch(2)|list",
           "slice(2)|list", "groupby('age')|list", "truncate(6)", "wordcount", "center(7)", "safe", "count", "sort(reverse=true)"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable", "boolean", "true",
         "false", "odd", "even", "divisibleby(2)", "eq(1)", "in([1, 'a', none])", "lower", "upper", "sameas(none)", "gt(0)", "callable"]
METHODS = ["upper()", "lower()", "strip()", "lstrip()", "rstrip('\\n')", "split()", "split(',')", "split('l', 1)", "rsplit(' ', 1)", "title()",
           "startswith('H')", "endswith(('d', 'x'))", "replace('o', '0', 1)", "find('o')", "count('l')", "splitlines()", "capitalize()",
           "items()|list", "get('a')", "get('nope', 3)", "keys()|list", "values()|list", "join(['p', 'q'])", "isdigit()", "zfill(5)",
           "partition('o')", "removeprefix('He')", "index(1)", "format(1)"]


class Maker:
    def __init__(self, rng):
        self.r = rng

    def pick(self, options):
        return self.r.choice(options)

    def literal(self):
        k = self.r.randrange(8)
        if k == 0:
            return str(self.r.randrange(-3, 12))
        if k == 1:
            return self.pick(["1.5", "0.1", "2.0", "1e3", "3.25"])
        if k == 2:
            return "'" + self.pick(TEXTS).replace("'", "\\'") + "'"
        if k == 3:
            return self.pick(["true", "false", "none"])
        if k == 4:
            return "[" + ", ".join(self.expr(2) for _ in range(self.r.randrange(3))) + "]"
        if k == 5:
            return "{" + ", ".join(f"'{c}': {self.expr(2)}" for c in "ab"[: self.r.randrange(3)]) + "}"
        return self.pick(NAMES)

    def expr(self, depth):
        if depth <= 0:
            return self.literal()
        sub = lambda: self.expr(depth - 1 - self.r.randrange(2))
        k = self.r.randrange(16)
        if k < 3:
            return self.literal()
        if k == 3:
            return f"{sub()} {self.pick(['+', '-', '*', '/', '//', '%'])} {sub()}"
        if k == 4:
            return f"{sub()} ~ {sub()}"
        if k == 5:
            return f"{sub()} {self.pick(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {sub()}"
        if k == 6:
            return f"{sub()} {self.pick(['and', 'or'])} {sub()}"
        if k == 7:
            return f"(not {sub()})"
        if k == 8:
            return f"({sub()} if {sub()} else {sub()})" if self.r.random() < 0.8 else f"({sub()} if {sub()})"
        if k in (9, 10, 11):
            return f"{self.value()}|{self.pick(FILTERS)}"
        if k == 12:
            return f"{self.value()} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if k == 13:
            return f"{self.value()}.{self.pick(METHODS)}"
        if k == 14:
            if self.r.random() < 0.5:  # jinja2 folds slices of constants, by other rules
                return f"{self.pick([n for n in NAMES if n != 'none'])}[{self.pick(['1:', ':2', '::-1', '-2:', '1:3', '::2'])}]"
            return f"{self.value()}[{self.pick(['0', '-1', repr('a'), repr('name'), '9'])}]"
        return f"{self.value()}.{self.pick(['a', 'b', 'name', 'age', 'role', 'content', '0'])}"

    def value(self):
        return self.pick(NAMES) if self.r.random() < 0.7 else f"({self.expr(2)})"

    def tag(self, inside):
        return "{%" + self.pick(["", "", "-", "+"]) + " " + inside + " " + self.pick(["", "", "-"]) + "%}"

    def text(self):
        return self.pick(["", " ", "\n", "  \n  ", "x", "\n\n y ", "{# c #}\n", "a\n  "])

    def body(self, depth, loop=False):
        return "".join(self.statement(depth, loop) + self.text() for _ in range(self.r.randrange(1, 4)))

    def statement(self, depth, loop):
        k = self.r.randrange(14 if depth > 0 else 5)
        if k < 4:
            return "{{" + self.pick(["", "-"]) + " " + self.expr(3) + " " + self.pick(["", "-"]) + "}}"
        if k == 4:
            return self.tag(f"set {self.pick(['a', 'b'])} = {self.expr(3)}")
        if k in (5, 6):
            middle = self.tag("else") + self.body(depth - 1, loop) if self.r.random() < 0.5 else ""
            if self.r.random() < 0.3:
                middle = self.tag(f"elif {self.expr(2)}") + self.body(depth - 1, loop) + middle
            return self.tag(f"if {self.expr(2)}") + self.body(depth - 1, loop) + middle + self.tag("endif")
        if k in (7, 8):
            seq = self.pick(["l", "ls", "users", "range(3)", "messages", "d", "s", "el", "missing", "d.items()", self.expr(2)])
            cond = f" if {self.expr(1)}" if self.r.random() < 0.2 else ""
            shown = self.pick(["{{ loop.index }}", "{{ i }}", "{{ loop.last }}", "{{ loop.previtem }}", "{{ loop.cycle('p', 'q') }}", ""])
            jump = self.tag(f"if {self.expr(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif") if self.r.random() < 0.2 else ""
            other = self.tag("else") + "none" if self.r.random() < 0.2 else ""
            return self.tag(f"for i in {seq}{cond}") + shown + jump + self.body(depth - 1, True) + other + self.tag("endfor")
        if k == 9:
            return self.tag("set a") + self.body(depth - 1) + self.tag("endset") + "{{ a }}"
        if k == 10:
            return (self.tag(f"macro m(a, b={self.expr(1)})") + self.body(depth - 1) + self.tag("endmacro")
                    + "{{ m(" + self.expr(1) + self.pick(["", ", 2", ", b=3"]) + ") }}")
        if k == 11:
            return self.tag(f"filter {self.pick(['upper', 'trim', 'replace(1, 2)', 'title'])}") + self.body(depth - 1) + self.tag("endfilter")
        if k == 12:
            return self.tag("set ns = namespace(v=0)") + self.tag("for i in l") + self.tag(f"set ns.v = {self.expr(2)}") + self.tag("endfor") + "{{ ns.v }}"
        return self.tag("with a = " + self.expr(1)) + self.body(depth - 1) + self.tag("endwith")


def comparable(out):
    """Neither addresses nor Markup, which only Python shows; no numbers beyond 64 bits."""
    return not any(w in out for w in (" at 0x", "Markup(", "<built-in", "<bound", "<Undefined", "LoopContext"))


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 3000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    warnings.simplefilter("ignore")  # Python dislikes constants such as 1[2]
    env, maker, refused = environment(), Maker(random.Random(seed)), 0
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as f:
        f.write(json.dumps({"conversations": {"v": VARIABLES}}) + "\n")
        for _ in range(count):
            text = maker.body(2)
            if maker.r.random() < 0.2:  # whole: its marks in the oracle would stop filters around it
                text += "{% generation %}" + maker.body(1) + "{% endgeneration %}" + maker.text()
            row = render(env, text, copy.deepcopy(VARIABLES))
            if not comparable(row.get("o", "")) or "OverflowError" in row.get("e", ""):
                continue
            refused += "e" in row
            f.write(json.dumps({"t": text, **row}) + "\n")
        f.flush()
        print(f"seed {seed}: {count} templates, {refused} refused by jinja2", flush=True)
        sys.exit(subprocess.run([program, f.name]).returncode)


if __name__ == "__main__":
    main()
