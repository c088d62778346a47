/*
 * html_style.c - the style sheet of every page: colours as variables for light and dark, one column
 * that narrows to a phone, the palette of plots (Okabe and Ito's, told apart by colour-blind eyes).
 */
#include "tools/html.h"

/* clang-format off */
/* Several strings, since C promises no more than 4,095 bytes of one. */
const char *const ql_html_style[] = {
    ":root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c1f23;--dim:#5d646d;"
    "--line:#dfe2e6;--grid:#e9ebee;--link:#0a5c9c;"
    "--c1:#0072b2;--c2:#d55e00;--c3:#00865f;--c4:#b0578d;--c5:#c08400;--c6:#3a9fd6;--c7:#6b6b6b;--c8:#7a4b9a;"
    "--good:#e3f4ea;--good-ink:#0b5c33;--warn:#fdf1d4;--warn-ink:#714c00;--bad:#fce4e0;--bad-ink:#93220f;"
    "--on:#cfe8d6;--eos:#a8d8f5;--off:transparent;--sep:#e4e4ec;--cut:#ececec}\n"
    "@media (prefers-color-scheme:dark){:root{--bg:#15181c;--card:#1d2126;--ink:#e4e7ea;--dim:#9aa3ad;"
    "--line:#343a41;--grid:#2a2f35;--link:#7cc0f4;"
    "--c1:#56b4e9;--c2:#f28a4b;--c3:#35c296;--c4:#dd94bf;--c5:#e6b43c;--c6:#9ad4f5;--c7:#a5a9ae;--c8:#b796d6;"
    "--good:#143a27;--good-ink:#9fe3bd;--warn:#40310b;--warn-ink:#f4d489;--bad:#451d16;--bad-ink:#ffb4a5;"
    "--on:#1d4a2f;--eos:#164a68;--off:transparent;--sep:#34344a;--cut:#2c2f33}}\n"
    "*{box-sizing:border-box}\n"
    "body{margin:0;background:var(--bg);color:var(--ink);"
    "font:16px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1080px;margin:0 auto;padding:28px 20px 64px}\n"
    "h1{font-size:1.65rem;line-height:1.25;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}\n"
    "h2{font-size:1.15rem;margin:40px 0 12px}\n"
    "h3{font-size:1rem;margin:20px 0 8px;overflow-wrap:anywhere}\n"
    "p{margin:8px 0;overflow-wrap:anywhere}\n"
    "a{color:var(--link)}\n"
    ".dim,.remark{color:var(--dim)}\n"
    ".notice{padding:10px 14px;border-radius:8px}\n"
    ".notice.good{background:var(--good);color:var(--good-ink)}\n"
    ".notice.warn{background:var(--warn);color:var(--warn-ink)}\n"
    ".notice.bad{background:var(--bad);color:var(--bad-ink)}\n",
    /* tiles */
    ".tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:20px 0}\n"
    ".tiles>div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 14px;min-width:0}\n"
    ".tiles dt{color:var(--dim);font-size:.82rem}\n"
    ".tiles dd{margin:2px 0 0;font-size:1.3rem;font-weight:600;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}\n"
    ".tiles dd.remark{font-size:.82rem;font-weight:400;color:var(--dim)}\n",
    /* tables */
    ".scroll{overflow-x:auto;border:1px solid var(--line);border-radius:10px;background:var(--card);margin:12px 0}\n"
    "table{border-collapse:collapse;width:100%;font-size:.9rem}\n"
    "th,td{padding:7px 12px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line);unicode-bidi:isolate}\n"
    "tbody tr:last-child td{border-bottom:0}\n"
    "th{font-weight:600;color:var(--dim);white-space:nowrap}\n"
    ".n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}\n"
    ".pairs{display:grid;grid-template-columns:minmax(120px,max-content) 1fr;margin:12px 0;font-size:.9rem;"
    "background:var(--card);border:1px solid var(--line);border-radius:10px;padding:6px 14px}\n"
    ".pairs dt{color:var(--dim);padding:3px 18px 3px 0;overflow-wrap:anywhere}\n"
    ".pairs dd{margin:0;padding:3px 0;min-width:0;overflow-wrap:anywhere;unicode-bidi:isolate}\n"
    "details{margin:10px 0}\n"
    "summary{cursor:pointer;color:var(--link);overflow-wrap:anywhere}\n"
    "pre,.tokens,code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,\"DejaVu Sans Mono\",monospace;font-size:.86rem}\n"
    "pre,.tokens{white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;margin:8px 0;padding:10px 14px;"
    "background:var(--card);border:1px solid var(--line);border-radius:10px}\n",
    /* tokens */
    ".tokens{line-height:1.75}\n"
    ".tokens span,.legend span{border-radius:3px;padding:1px 0;box-shadow:inset 0 0 0 1px var(--grid);unicode-bidi:isolate}\n"
    ".legend span{padding:2px 8px;margin-right:4px;display:inline-block;font-size:.82rem}\n"
    ".t-on{background:var(--on)}\n"
    ".t-eos{background:var(--eos);font-weight:600}\n"
    ".t-off{color:var(--dim)}\n"
    ".t-sep{background:var(--sep);color:var(--dim)}\n"
    ".t-cut{background:var(--cut);color:var(--dim);text-decoration:line-through}\n"
    ".t-bad{background:var(--bad);color:var(--bad-ink);font-weight:600}\n",
    /* samples side by side, the bar of memory */
    ".sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:0 16px}\n"
    ".sides>div{min-width:0}\n"
    ".sides p{margin:8px 0 0}\n"
    ".bar{display:flex;height:22px;border-radius:6px;overflow:hidden;background:var(--grid)}\n"
    ".bar i{background:var(--c);min-width:1px}\n"
    ".dot{display:inline-block;width:10px;height:10px;border-radius:50%;background:var(--c);margin-right:8px}\n"
    ".name{white-space:nowrap}\n",
    /* plots */
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:16px;margin:12px 0}\n"
    "figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:12px 12px 8px;min-width:0}\n"
    "figcaption{font-weight:600;font-size:.95rem;margin:0 0 4px 2px}\n"
    "figcaption span{font-weight:400;color:var(--dim)}\n"
    "svg{display:block;width:100%;height:auto}\n"
    "svg text{fill:var(--dim);font-size:13px;font-family:inherit;font-variant-numeric:tabular-nums}\n"
    "svg .g{stroke:var(--grid);stroke-width:1}\n"
    "svg .a{stroke:var(--line);stroke-width:1}\n"
    "svg .l{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\n"
    "svg .f{stroke-width:1.2;opacity:.4}\n"
    "svg .d{fill:var(--c)}\n"
    "svg .x{stroke:var(--c);stroke-width:2;fill:none}\n"
    "svg .h{fill:transparent}\n"
    "svg .h:hover{fill:var(--c);opacity:.5}\n"
    ".keys{display:flex;flex-wrap:wrap;gap:2px 16px;margin:2px 2px 0;padding:0;list-style:none;font-size:.82rem;color:var(--dim)}\n"
    ".keys li{display:flex;align-items:center;gap:6px;min-width:0;overflow-wrap:anywhere}\n"
    ".keys i{flex:none;width:18px;height:0;border-top:3px solid var(--c);border-radius:2px}\n"
    ".keys .f{opacity:.4}\n"
    ".k1{--c:var(--c1)}.k2{--c:var(--c2)}.k3{--c:var(--c3)}.k4{--c:var(--c4)}"
    ".k5{--c:var(--c5)}.k6{--c:var(--c6)}.k7{--c:var(--c7)}.k8{--c:var(--c8)}\n"
    "@media (max-width:520px){body{font-size:15px}main{padding:18px 14px 48px}"
    ".tiles{grid-template-columns:1fr 1fr}.tiles dd{font-size:1.1rem}.pairs{grid-template-columns:1fr}"
    ".pairs dt{padding-bottom:0}.pairs dd{padding-bottom:8px}}\n"
    "@media print{body{background:#fff}main{max-width:none}}\n",
    NULL};
/* clang-format on */
