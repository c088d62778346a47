"""Small templates, each of which asks one question about the language."""

VARIABLES = {
    "n": 7, "neg": -7, "zero": 0, "x": 2.5, "big": 1e16, "tiny": 1.5e-7, "t": True, "f": False, "none": None,
    "s": "Hello, World", "sp": "  a b\t\n", "u": "Grüße – 漢字 🎉", "q": "it's \"q\" <&>", "e": "", "ml": "one\ntwo\n\nthree\n",
    "l": [3, 1, 2], "ls": ["b", "A", "c", "a"], "el": [], "d": {"b": 1, "a": [1, {"z": None}], "C": "x"}, "ed": {},
    "users": [{"name": "ann", "age": 31, "tags": ["x", "y"]}, {"name": "Bob", "age": 4}, {"name": "cid", "age": 31, "admin": True}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}],
}

EXPRESSIONS = r"""
1 + 2 * 3 - 4 / 2
7 // 2, -7 // 2, 7 // -2, 7 % 3, -7 % 3, 7 % -3
7.5 // 2, -7.5 // 2, 7.5 % 2, -7.5 % 2
2 ** 10, 2 ** -1, (-2) ** 3, -2 ** 2, 2 ** 3 ** 2, 2.0 ** 0.5
1 / 3, 2 / 2, 10 / 4, 1e3, 1.0, 100.0, 1e15, 1e16, 123456789012345680.0, 0.1 + 0.2, 1e-4, 1e-5, 3.0e-10
big, tiny, x, -x, +n, neg, big * 10, 5 - 5.0
1_000, 0x1F, 0b101, 0o17, 1e2, 1.5E3
true, false, none, True, False, None
t + 1, t + t, t * 3, not t, not 0, not e, not l, not el
"a" "b" 'c'
"a\nb\t\\ \x41 \u00e9 \q '", 'it\'s "x"'
s ~ n ~ x ~ none ~ t ~ l ~ missing ~ "."
s + "!", "ab" * 3, 3 * "ab", [1] * 3, [1] + [2], (1,) + (2, 3)
l, ls, d, el, ed, (1,), (1, 2), (), [1, "a", none, true, 1.0], {"k": "it's", 1: 2, none: "\n"}
u, [u], ["\x00\x7f\u00a0\u2028\ud7ff"], q, [q], ["'"], ['"'], ['\'"']
1 < 2 < 3, 1 < 3 < 2, 1 == 1.0 == true, "a" < "b", "a" == 1, [1, 2] < [1, 3], l == [3, 1, 2], (1,) == [1]
1 != 2, n >= 7, n <= 6, n > 6 and n < 8, t or missing, e or "x", e and "x", 0 or el or none
1 in l, 9 in l, 1 not in l, "World" in s, "" in s, "b" in d, "z" in d, 1 in missing, "a" in ls
x if t else n, x if f else n, x if f, (x if f) is undefined
n if f else x if f else s
n is defined, missing is defined, missing is undefined, none is none, n is none, missing is none
n is number, x is number, t is number, s is number, n is integer, t is integer, x is float, t is boolean, n is boolean
s is string, n is string, d is mapping, l is mapping, l is sequence, s is sequence, d is sequence, n is sequence, missing is sequence
l is iterable, n is iterable, s is iterable, missing is iterable, d.items() is sequence, range is callable, n is callable
n is odd, n is even, n is divisibleby 7, n is divisibleby(3), t is true, t is false, 1 is true, f is false
n is eq 7, n is equalto(7), n is ne 7, n is lt 8, n is gt 8, n is le 7, n is ge 8, n is in l, 3 is in(l), n is not in l
s is lower, "abc" is lower, "ABC" is upper, "A1" is upper, "1" is upper, n is sameas n, l is sameas l, [] is sameas []
"upper" is filter, "nope" is filter, "odd" is test, "nope" is test, n is not odd, n is not defined
missing, missing ~ "x", [missing], missing == missing, missing == none, missing|length, missing|list, missing|join(","), missing|default("d"), missing|d
d.b, d["b"], d.a[1].z, d.a[1]["z"], d.nope, d["nope"], d.nope is defined, d.C, d.items is defined, d["items"] is defined
l[0], l[-1], l[9], l["x"], l[1.0], l.0, s[0], s[-1], s[99], u[3], u[-1], u[8:10], (1, 2)[1]
l[1:], l[:1], l[:-1], l[::-1], l[::2], l[-2:], l[5:], l[2:1], s[:5], s[7:], s[::-1], s[1:9:3], u[::-1], s[-3:-1], ls[3:0:-1], ls[10::-2]
s.upper(), s.lower(), s.title(), s.capitalize(), s.swapcase(), u.upper(), "ß".upper(), "éa".capitalize(), "they're bill's".title()
s["upper"](), s.nope, s.nope is defined, n.nope, none.nope, messages[0].role, messages[-1]["content"]
sp.strip() ~ "|", sp.lstrip() ~ "|", sp.rstrip() ~ "|", "xxaxx".strip("x"), "xyaxy".lstrip("yx"), "abcb".rstrip("bc"), "\u00a0a\u3000".strip()
s.split(","), s.split(), sp.split(), "a,b,,c".split(","), "a,b,,c".split(",", 1), "a,b,,c".rsplit(",", 1), "a  b c".rsplit(none, 1), "a  b c".split(none, 1), "".split(), "".split(","), "abc".split("x")
"a\nb\r\nc\n".splitlines(), "a\nb\n".splitlines(true), "".splitlines(), "a=b=c".partition("="), "a=b=c".rpartition("="), "abc".partition("="), "abc".rpartition("=")
s.startswith("Hell"), s.startswith(("x", "H")), s.endswith("ld"), s.endswith(""), s.find("o"), s.find("zz"), s.rfind("o"), s.find("o", 5), u.find("漢"), s.count("o"), s.count("l"), "aaa".count("aa")
s.replace("l", "L"), s.replace("l", "L", 2), "abc".replace("", "-"), s.replace("zz", ""), "a".join(["1", "2"]), ", ".join(ls), "".join("abc"), "-".join(d)
"prefix-x".removeprefix("prefix-"), "x.py".removesuffix(".py"), "7".zfill(3), "-7".zfill(4), "a".ljust(3) ~ "|", "a".rjust(3, "*"), "abc".isalpha(), "12".isdigit(), "a1".isalnum(), " \t".isspace(), "".isalpha(), "Ab".islower(), "AB".isupper()
"%s-%d-%.2f-%5s|%-5s|%05d" % ("a", 3, 1.005, "r", "l", 42), "%s" % n, "%s %%" % s, "%r" % "a", "%(k)s" % {"k": 1}, "%x" % 255
"{} {}".format(1, "a"), "{0}{1}{0}".format("a", "b"), "{x}{{}}".format(x=n), "%s and %s"|format("a", n)
d.get("b"), d.get("nope"), d.get("nope", "z"), d.keys()|list, d.values()|list, d.items()|list, d.keys(), d.items(), d|list, d|length, d.copy() == d
l.count(3), l.index(1), (1, 2, 1).count(1), l.copy(), ls.index("c")
range(3), range(3)|list, range(1, 4)|list, range(5, 0, -2)|list, range(0)|list, range(1, 9, 3), range(3)[1], range(3)|length, 1 in range(3)
dict(a=1, b="x"), dict({"z": 1}, y=2), dict([("a", 1)]), namespace(a=1).a, cycler("a", "b").next(), cycler("a", "b").current
"  x "|trim ~ "|", "xxaxx"|trim("x"), n|string + "!", s|upper, s|lower, "hello wORLD-foo (bar)"|title, "hELLO"|capitalize, none|string, l|string
l|length, s|count, u|length, d|length, el|length, ""|length, range(4)|length
s|replace("o", "0"), s|replace("o", "0", 1), s|replace("l", n), l|replace("1", "x"), 55|replace(5, 6)
ls|join, ls|join("-"), l|join(", "), users|join("; ", attribute="name"), d|join(","), "abc"|join("."), [1, none, 2.5, "x"]|join("|")
l|first, l|last, s|first, s|last, el|first, el|first is undefined, d|first, d|last, ls|list, "abc"|list, d|list
l|sort, ls|sort, ls|sort(case_sensitive=true), l|sort(reverse=true), ls|sort(true), users|sort(attribute="age")|map(attribute="name")|list, users|sort(attribute="name", reverse=true)|map(attribute="name")|join(",")
ls|unique|list, [1, 1.0, true, 2, "a", "A"]|unique|list, ls|unique(case_sensitive=true)|list, users|unique(attribute="age")|map(attribute="name")|list
l|reverse|list, s|reverse, ls|reverse|join, d|reverse|list, l|min, l|max, ls|min, ls|max, el|min is undefined, users|max(attribute="age"), [1, 2.5]|max, l|sum, users|sum(attribute="age"), l|sum(start=10), el|sum
users|map(attribute="name")|list, users|map(attribute="tags.0")|list, users|map(attribute="tags", default="none")|list, ls|map("upper")|join, l|map("string")|list, ls|map("replace", "a", "z")|list, el|map("upper")|list, [["a", 1]]|map(attribute=1)|list
l|select("odd")|list, l|reject("odd")|list, [0, 1, "", "a", none]|select|list, [0, 1, none]|reject|list, l|select("gt", 1)|list, l|select(">", 2)|list, ls|select("in", ["a", "b"])|list
users|selectattr("admin")|map(attribute="name")|list, users|selectattr("admin", "defined")|list|length, users|rejectattr("admin")|list|length, users|selectattr("age", "equalto", 31)|map(attribute="name")|list, users|rejectattr("age", "eq", 31)|list, users|selectattr("age", "ge", 5)|list|length
d|dictsort, {"B": 1, "a": 2}|dictsort, {"B": 1, "a": 2}|dictsort(true), {"b": 1, "a": 2}|dictsort(by="value"), {"b": 1, "a": 2}|dictsort(reverse=true), d|items|list, missing|items|list
users|groupby("age")|list|length, users|groupby("age")|map(attribute="grouper")|list, (users|groupby("age"))[0].list|length, (users|groupby("age"))[1][0]
l|batch(2)|list, l|batch(2, "x")|list, [1,2,3,4,5]|slice(2)|list, [1,2,3,4,5]|slice(3, "-")|list
missing|default(1), e|default("x"), e|default("x", true), 0|default(5, boolean=true), none|default("d"), none|d("d", true), f|default(1), d.nope|default("q")
n|abs, neg|abs, (-2.5)|abs, x|round, 2.675|round(2), 2.5|round, 3.5|round, 42|round, 42.1234|round(2, "ceil"), 42.1234|round(2, "floor"), 1234|round(-2), (-0.5)|round, 0.125|round(2)
"12"|int, "12.7"|int, "x"|int, "x"|int(5), 3.99|int, (-3.99)|int, "0x1A"|int(0, 16), "ff"|int(base=16), none|int, "  7 "|int, "1_000"|int, t|int, "1e3"|int
"1.5"|float, "x"|float, "x"|float(2.5), 3|float, none|float, "1e3"|float, " 2 "|float, "inf"|float, "nan"|float|string
q|urlencode, u|urlencode, "a b/c?d=é"|urlencode
ml|indent, ml|indent(2), ml|indent(2, true), ml|indent(2, first=true, blank=true), ml|indent("> "), "a"|indent(3, true), ""|indent(2, true)
"one two three four"|truncate(9), "one two three four"|truncate(9, true), "one two three four"|truncate(9, true, "..", 0), "short"|truncate(10), "one two three four"|truncate(7, false, "")
"a"|center(6) ~ "|", "ab"|center(5) ~ "|", "abc"|center(4) ~ "|", "a b  c-d"|wordcount
d|tojson, l|tojson, s|tojson, q|tojson, u|tojson, u|tojson(ensure_ascii=true), none|tojson, t|tojson, x|tojson, big|tojson, [1, "a", none, true, [], {}]|tojson, (1, 2)|tojson, "\x00\x1f\x7f\u2028/"|tojson, {1: 2, none: 3, true: 4, 1.5: 5}|tojson
d|tojson(indent=2), [[], {}, [1]]|tojson(indent=1), el|tojson(indent=4), d|tojson(indent="--"), d|tojson(separators=(",", ":")), d|tojson(sort_keys=true), d|tojson(indent=0), {"z": {"y": 1, "x": 2}}|tojson(true, 4)
strftime_now("%d %b %Y"), strftime_now("%Y-%m-%d %H:%M:%S %A %j %B %y %a %m"), strftime_now("")
users[0].name, users[0]["tags"][1], users[5], users[5] is defined, users|first|attr("name") is undefined, (users|first).name, users[-1].admin
loop is defined, messages|length, messages[1:]|map(attribute="content")|list, messages[::-1][0].content, messages|selectattr("role", "equalto", "user")|list|length
1 if 2 > 1 else 0, "yes" if "a" in ["a"] and not f else "no", (1, 2) if t else 3
not 1 == 2, not (1 == 2), not n in l, n not in l, not not t, 1 + 2 == 3 and "a" ~ "b" == "ab", 2 * 3 ~ "x", -1|abs, (-1)|abs, -n|string, "a" ~ 1 + 2
[1, 2, 3,], {"a": 1,}, (1, 2,), [[1, [2, [3]]]], {"a": {"b": {"c": 1}}}.a.b.c, [{"x": 1}][0].x, {}|length
{"a": 1}["a"], {"a": 1}.a, {"items": 5}["items"], {"items": 5}.items is callable, {"keys": 1}["keys"], [1,2][true], {true: "y"}[1], {1: "i"}[1.0]
"abc"|list|last, "a-b_c"|replace("-", "_")|upper|lower|title, ls|map("lower")|unique|sort|join("")
"é" == "é", "Z" < "a", "a" < "é", "" < "a", "10" < "9", [] == [], {} == {}, {"a": 1, "b": 2} == {"b": 2, "a": 1}, none == false, 0 == false, "" == false
x|string|length, 1.10|string, 1e22|string, 1.0e-7|string, 123456.789|string, 0.1|string, 5e-324|string, 1.7976931348623157e308|string, 100000000000000000000.0|string
"""

ERRORS = r"""
1 / 0
1 // 0
1 % 0
s + 1
1 + s
none + 1
missing + 1
missing.x
missing[0]
d.nope.x
d["nope"]["x"]
missing()
n()
s.nope()
l.append(1)
d.update({})
d.pop("b")
l|nofilter
l is notest
1 < "a"
none < 1
d < d
1 in 5
5 in "abc"
none|length
5|list
n|join
{[]: 1}
{"a": 1}[[]].x
range(200000)
range(1, 2, 0)
raise_exception("no " ~ s)
"a".split("")
"abc".index("z")
ls|map|list
missing|int
missing|float
ls|sort(attribute=1, nope=2)
l|first(1)
ls|batch
users|sort(attribute="tags")
-s
n|items|list
"%d" % "a"
"%s %s" % 1
"%s" % (1, 2)
"{} {}".format(1)
range|tojson
missing|tojson
users|map("upper", attribute="x")|list
[3, "a"]|sort
x[0].y
n[0].y
l|tojson(nope=1)
d|dictsort(by="size")
none.x.y
users[9].name
""|round
"a"|abs
"abc"[::0]
namespace(_a=1)
messages|map(attribute="role")|length
messages|selectattr("role")|length
"""

STATEMENTS = [
    # conditions
    "{% if t %}a{% elif f %}b{% else %}c{% endif %}",
    "{% if f %}a{% elif n == 7 %}b{% else %}c{% endif %}",
    "{% if f %}a{% elif f %}b{% else %}c{% endif %}|{% if missing %}x{% endif %}",
    "{% if l and not el and s in ['Hello, World'] %}y{% endif %}",
    "{% if (n > 3) %}{% if x %}in{% endif %}{% endif %}",
    # loops
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {{ i }};{% endfor %}",
    "{% for i in el %}x{% else %}empty{% endfor %}{% for i in l %}y{% else %}no{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{% for k in d %}{{ k }}{% endfor %}",
    "{% for i in l %}{{ loop.previtem }}<{{ i }}<{{ loop.nextitem }} {{ loop.cycle('o', 'e') }}{{ loop.changed(i > 1) }};{% endfor %}",
    "{% for i in l if i > 1 %}{{ loop.index }}/{{ loop.length }}:{{ i }} {% endfor %}",
    "{% for i in l %}{% for j in range(i) %}{{ i }}{{ j }}{{ loop.last }} {% endfor %}{{ loop.index }}|{% endfor %}",
    "{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}",
    "{% for u in users %}{% for t in u.tags %}{{ u.name }}{{ t }}{% else %}none{% endfor %}{% endfor %}",
    "{% for (a, b) in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for a, b in {'x': 1}|items %}{{ a }}{{ b }}{% endfor %}",
    "{% for c in 'añb' %}[{{ c }}]{% endfor %}{% for m in missing %}x{% endfor %}",
    "{% for i in [1, [2, [3]]] recursive %}{% if i is iterable %}({{ loop(i) }}){% else %}{{ i }}@{{ loop.depth }}{{ loop.depth0 }}{% endif %}{% endfor %}",
    "{% for i in 1, 2, 3 %}{{ i }}{% endfor %}",
    "{% set x = 1 %}{% for i in l %}{{ x }}{% set x = i %}{{ x }},{% endfor %}{{ x }}",
    "{% set ns = namespace(c=0) %}{% for i in l %}{% set ns.c = ns.c + i %}{% endfor %}{{ ns.c }}{{ ns.nope }}",
    "{% set ns = namespace() %}{% set ns.a = [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}",
    "{% for i in l %}{% set y = i %}{% endfor %}{{ y }}|{{ i }}|{{ loop }}",
    "{% for i in l %}{{ loop }}{% endfor %}",
    "{% for i in l %}{% continue %}{% else %}none{% endfor %}{% for i in l %}{% if i < 3 %}{% break %}{% endif %}{% else %}none{% endfor %}",
    "{% for i in l %}{% break %}{% else %}none{% endfor %}{% set ns = namespace() %}{% set ns.a = [ns] %}{{ ns }}{{ '10' % l }}",
    "{% for m in messages %}{% if loop.first %}{{ m.role }}{% elif not loop.last %}x{% else %}{{ m['content'] }}{% endif %}{% endfor %}",
    "{% for i in l|sort|reverse %}{{ i }}{% endfor %}",
    "{% set g = l|map('string') %}{% for i in g %}{{ i }}{% endfor %}{% for i in g %}{{ i }}{% endfor %}|{{ 'y' if g else 'n' }}",
    "{{ q|escape }}{{ q|e }}{{ '<b>'|forceescape }}{{ s|safe }}",
    # assignments
    "{% set a = 1 %}{% set b, c = 2, 3 %}{{ a }}{{ b }}{{ c }}{% set a = a + 1 %}{{ a }}",
    "{% set t2 %}in {{ n }}{% endset %}[{{ t2 }}]{% set t3 | upper | replace('A', 'b') %}aa{{ s }}{% endset %}{{ t3 }}",
    "{% if t %}{% set z = 5 %}{% endif %}{{ z }}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set a = 9 %}{{ a }}{% endwith %}{{ a }}",
    "{% set messages = messages[1:] %}{{ messages|length }}",
    "{% set x = 1, 2 %}{{ x }}",
    # macros
    "{% macro m(a, b='d', c=none) %}<{{ a }}{{ b }}{{ c }}>{% endmacro %}{{ m(1) }}{{ m(1, 2) }}{{ m(c=3, a=1) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3, x=4) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro f(k) %}{% if k > 0 %}{{ k }}{{ f(k - 1) }}{% endif %}{% endmacro %}{{ f(4) }}",
    "{% macro m() %}{{ n }}{{ y }}{% endmacro %}{% set y = 2 %}{{ m() }}{% for y in [5] %}{{ m() }}{% endfor %}",
    "{% macro m(a) %}({{ caller(a) }}){% endmacro %}{% call(v) m(3) %}v={{ v }}{% endcall %}",
    "{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}{{ s }}{% endcall %}",
    "{% macro m(a, b=a) %}{{ b }}{% endmacro %}{{ m(4) }}",
    "{% macro m() -%} x {%- endmacro %}{{ m() ~ m()|upper }}{{ m()|length }}",
    "{% macro outer() %}{% macro inner(x) %}{{ x }}!{% endmacro %}{{ inner(1) }}{% endmacro %}{{ outer() }}",
    "{{ m is defined }}{% macro m() %}{% endmacro %}{{ m is defined }}{{ m is callable }}",
    # blocks
    "{% filter upper %}a{{ s }}{% endfilter %}{% filter replace('a', 'b') | title %}banana{% endfilter %}",
    "{% raw %}{{ x }}{% if %}{% endraw %}|{%- raw -%}  {# c #}  {%- endraw -%}  |",
    "a{# c #}b{#- c -#} c {# {{ x }} #}\nd{# x #}\n\ne",
    "{% generation %}{{ s }}{% endgeneration %}x{% for i in l %}{% generation %}{{ i }}{% endgeneration %},{% endfor %}",
    "{% set g %}a{% generation %}Grüße{% endgeneration %}b{% endset %}{{ g }}{{ g|upper }}",
    # white space
    "a\n  {% if t %}\n  b\n  {% endif %}\n  c\n",
    "a\n  {%- if t -%}\n  b\n  {%- endif %}\n  c\n\n",
    "a\n  {%+ if t %}\n  b{% endif +%}\n  c",
    "  {{ n }}  \n  {{- n -}}  \n x {{ n }}\n",
    "x {% if t %} y {% endif %} z\n{% set a = 1 %}\n\n  {% set b = 2 %}  \nw",
    "{% for i in l %}\n{{ i }}\n{% endfor %}\n",
    "{%- for i in l %}\n    {{- i }}\n{%- endfor -%}\n  end",
    "a \u00a0{%- if t %}b{% endif -%}\u2003 c",
    "a\r\nb\r{% if t %}\r\n c{% endif %}\r\n",
    "\n\n{% if t %}\n\nx\n{% endif %}\n\n",
    "   {# c #}   \n  x{# c #}\n  {#+ c #}\n {#- c +#}\ny",
    "{{ '\n' }}|{{ \"a\\\nb\" }}|{{ 'tab\tx' }}",
    "{% if t -%}   a   {%- else -%} b {%- endif %} {{- ' c' }}",
    "{%set a=1%}{%if a==1%}{{a}}{%endif%}",
    "{{ {'a': {'b': 1}} }}{{ {'a': {}}|length }}{{ '}}' }}{{ \"%}\" }}",
    "{{ 1 }}{{}}",
    "{{ 1 + }}", "{% if %}{% endif %}", "{% if t %}", "{% endif %}", "{% for x l %}{% endfor %}", "{% nope %}", "{{ 'a }}", "{% include 'x' %}",
    "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{% set 1 = 2 %}", "{# open", "{% raw %}a", "{{ x | }}", "{{ x is }}", "{{ f(a=1, 2) }}", "{{ . }}", "{% macro m(a=1, b) %}{% endmacro %}",
    "{% break %}", "{% set s.x = 1 %}", "{% set ns = namespace() %}{% set ns._x = 1 %}", "{% for a, b in [1] %}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}", "{% for i in 5 %}{% endfor %}",
    "{% call m() %}{% endcall %}", "{% set a, b = 1 %}", "{{ n is odd is even }}", "{{ x ! y }}", "{% else %}", "text {% if t %}a{% endfor %}",
]

PROBES = (
    ["{{ %s }}" % e for e in EXPRESSIONS.strip().split("\n")]
    + ["{{ %s }}" % e for e in ERRORS.strip().split("\n")]
    + STATEMENTS
)
