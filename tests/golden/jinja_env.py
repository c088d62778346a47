"""The Jinja environment that transformers renders chat templates in, with a fixed date.

Used by make_jinja.py and by tests/interop/jinja_random.py.
"""
import datetime
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 1, 1, 0, 4, 5)


class Generation(jinja2.ext.Extension):
    """{% generation %}: as transformers' AssistantTracker; text inside is wrapped in private marks."""

    tags = {"generation"}
    BEGIN, END = "\ue000", "\ue001"

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(lineno)

    def _mark(self, caller):
        return self.BEGIN + caller() + self.END


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, attrs = args[0], dict(*args[1:], **kwargs)
            for name in attrs:
                Namespace.check(name)
            jinja2.utils.Namespace.__init__(self, attrs)

        def __setitem__(self, name, value):
            Namespace.check(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def check(name):
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError(name)

    env.globals["namespace"] = Namespace
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda fmt: NOW.strftime(fmt)
    return env


def render(env, text, variables):
    """{"o": text} with the spans {"g"} that are generated, or {"e": reason}."""
    try:
        out = env.from_string(text).render(**variables)
    except Exception as e:  # jinja2 lets Python's own errors through
        return {"e": f"{type(e).__name__}: {e}"[:120]}
    if Generation.BEGIN not in out:
        return {"o": out}
    plain, spans, start = "", [], None
    for c in out:
        if c == Generation.BEGIN:
            start = len(plain)
        elif c == Generation.END:
            spans.append([start, len(plain)])
        else:
            plain += c
    return {"o": plain, "g": [s for s in spans if s[0] < s[1]]}
