"""Stylesheet of all cards and pages: colours as variables, every rule within `.incarts`.

A notebook has rules of its own for tables and links. `R` stands for a selector that matches only
our cards but weighs as much as an id, so that ours win there and nothing else is restyled.
"""

from __future__ import annotations

import re

_LIGHT = """
--fg:#1b2430;--muted:#586373;--bg:#fff;--panel:#f5f7f9;--line:#dbe1e8;--link:#0a58ca;
--good:#177245;--warn:#8a5a00;--bad:#b42318;--info:#2f5fc4;--calm:#7b8696;
--good-bg:#e7f6ed;--warn-bg:#fdf3dc;--bad-bg:#fdebe9;color-scheme:light
"""
_DARK = """
--fg:#e5eaf1;--muted:#9ca8b8;--bg:#14181f;--panel:#1d232d;--line:#343e4c;--link:#82b4ff;
--good:#4fc98f;--warn:#e8b84a;--bad:#ff8178;--info:#86abff;--calm:#7d8898;
--good-bg:#12301f;--warn-bg:#352a10;--bad-bg:#3b1a18;color-scheme:dark
"""
# Whoever shows us says which theme it is in; failing that, the system does.
_SAYS_LIGHT = (
    'body[data-jp-theme-light="true"]',
    "body.vscode-light",
    'html[theme="light"]',
    'html[data-theme="light"]',
    'body[data-theme="light"]',  # marimo
)
_SAYS_DARK = (
    'body[data-jp-theme-light="false"]',
    "body.vscode-dark",
    "body.vscode-high-contrast:not(.vscode-high-contrast-light)",
    'html[theme="dark"]',
    'html[data-theme="dark"]',
    'body[data-theme="dark"]',
    "html.dark",
    "body.dark",
)

_RULES = """
R{color:var(--fg);background:var(--bg);font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;text-align:left;font-variant-numeric:tabular-nums}
R.ic-card{border:1px solid var(--line);border-radius:10px;padding:14px 18px;margin:6px 2px;
max-width:880px;box-sizing:border-box;overflow-x:auto}
R p,R ul,R dl,R figure{margin:0;padding:0}
R code{font:12px/1.4 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;color:inherit;
background:var(--panel);border:1px solid var(--line);border-radius:4px;padding:1px 5px}
R a,R a:visited{color:var(--link);text-decoration:none;overflow-wrap:anywhere}
R a:hover{text-decoration:underline}
R bdi{overflow-wrap:anywhere}
R .ic-title{font-size:16px;font-weight:650;display:flex;flex-wrap:wrap;gap:4px 10px;
align-items:baseline}
R .ic-title small{font-size:13px;font-weight:400;color:var(--muted)}
R .ic-muted,R small{color:var(--muted);font-size:12.5px}
R .ic-facts{display:flex;flex-wrap:wrap;gap:6px 26px;margin:10px 0 12px}
R .ic-facts div{display:flex;flex-direction:column-reverse}
R .ic-facts dd{margin:0;font-size:20px;font-weight:600;line-height:1.25}
R .ic-facts dt{margin:0;font-weight:400;color:var(--muted);font-size:12px}
R .ic-note{border-left:4px solid var(--calm);background:var(--panel);border-radius:4px;
padding:7px 12px;margin:8px 0;white-space:pre-line}
R .ic-note.ic-good{border-color:var(--good);background:var(--good-bg)}
R .ic-note.ic-warn{border-color:var(--warn);background:var(--warn-bg)}
R .ic-note.ic-bad{border-color:var(--bad);background:var(--bad-bg)}
R .ic-note b{font-weight:650}
R table{border-collapse:collapse;width:100%;margin:10px 0 4px;table-layout:auto;border:0;
font-size:13px;color:inherit;background:none}
R tr:nth-child(n){background:none}
R td,R th{text-align:left;vertical-align:top;padding:5px 12px 5px 0;border:0;white-space:normal;
border-bottom:1px solid var(--line);line-height:1.45;max-width:none;color:inherit;background:none}
R th{font-weight:500;color:var(--muted);font-size:12px;padding-top:2px}
R tbody tr:last-child td{border-bottom:0}
R td.ic-num,R th.ic-num{text-align:right;white-space:nowrap;width:1%}
R td.ic-fit,R th.ic-fit{white-space:nowrap;width:1%}
R .ic-bars{width:26%;min-width:90px}
R .ic-whole{white-space:nowrap}
R code.ic-guess{display:block;width:max-content;max-width:220px;overflow-wrap:anywhere}
R .ic-bar{display:block;height:9px;margin-top:5px;border-radius:3px;background:var(--panel);
min-width:60px;overflow:hidden}
R .ic-bar span{display:block;height:100%;min-width:2px;border-radius:3px;background:var(--tone)}
R .ic-badge{display:inline-block;color:var(--tone);font-weight:600;white-space:nowrap}
R .ic-badge::before{content:"";display:inline-block;width:8px;height:8px;border-radius:50%;
background:var(--tone);margin-right:6px;vertical-align:1px}
R .ic-good{--tone:var(--good)}R .ic-warn{--tone:var(--warn)}R .ic-bad{--tone:var(--bad)}
R .ic-info{--tone:var(--info)}R .ic-calm{--tone:var(--calm)}
R .ic-pill{display:inline-block;border:1px solid var(--line);border-radius:99px;padding:0 8px;
font-size:12px;margin:0 6px 4px 0;background:var(--panel)}
R li{list-style:none;margin:2px 0;padding:0}
R ul.ic-examples{margin-top:2px;font-size:12.5px;color:var(--muted)}
R ul.ic-examples bdi{color:var(--fg)}
R .ic-pattern{color:var(--fg);font-weight:600}
R ul.ic-changes{margin:0 0 3px 12px;overflow-wrap:anywhere}
R ul.ic-changes code{background:none;border:0;padding:0;color:var(--muted);font-size:11.5px}
R ul.ic-changes bdi.ic-old{color:var(--bad)}
R ul.ic-changes bdi.ic-new{color:var(--good);font-weight:600}
R .ic-link{display:flex;flex-wrap:wrap;gap:18px;align-items:flex-start;margin-top:10px}
R .ic-link dl{display:grid;grid-template-columns:auto 1fr;gap:5px 14px;flex:1 1 300px;
font-size:13px}
R .ic-link dt{color:var(--muted);font-weight:400}
R .ic-link dd{margin:0;min-width:0}
R .ic-code{display:block;background:#fff;border-radius:6px;overflow:hidden;line-height:0}
R .ic-code svg{display:block;width:100%;height:100%}
R .ic-link .ic-code{width:168px;height:168px;border:1px solid var(--line)}
@media (max-width:560px){R .ic-bars{display:none}R td,R th{padding-right:8px}
R .ic-whole{white-space:normal}R.ic-card{padding:10px 12px}}
"""
# What only whole pages have: headings, plots, the contact sheet, and how they print.
_PAGE_RULES = """
body.incarts-page{margin:0;background:#fff}
@media (prefers-color-scheme:dark){body.incarts-page{background:#14181f}}
R.ic-doc{max-width:1040px;margin:0 auto;padding:28px 24px 48px;box-sizing:border-box}
R h1{font-size:24px;line-height:1.25;margin:0 0 4px;font-weight:680;color:inherit}
R h2{font-size:16px;margin:30px 0 8px;font-weight:650;color:inherit}
R footer{margin-top:32px;color:var(--muted);font-size:12px}
R .ic-plots{display:grid;gap:16px;align-items:start;
grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr))}
R .ic-plots figure.ic-wide{grid-column:1/-1}
R figure.ic-plot{border:1px solid var(--line);border-radius:10px;padding:12px 14px}
R figure.ic-plot figcaption{font-weight:600;font-size:13.5px;margin-bottom:6px;text-align:left}
R figure.ic-plot svg{display:block;width:100%;height:auto}
R svg text{fill:var(--muted);font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif}
R .ic-grid{stroke:var(--line);stroke-width:1;fill:none}
R .ic-axis{stroke:var(--muted);stroke-width:1;fill:none}
R .ic-area{fill:var(--tone);fill-opacity:.22;stroke:var(--tone);stroke-width:1.5}
R .ic-line{fill:none;stroke:var(--tone);stroke-width:1.5}
R .ic-line.ic-info{stroke-width:2;stroke-dasharray:7 4}
R .ic-fill{fill:var(--tone)}
R .ic-sheet{display:flex;flex-wrap:wrap;gap:5mm 4mm;margin-top:6mm}
R .ic-piece{display:inline-block;white-space:nowrap}
R .ic-cell{width:max(calc(var(--size) + 4mm),44mm,calc(var(--code)*1.86mm + 4mm));
max-width:100%;box-sizing:border-box;padding:2mm;
text-align:center;
border:1px solid var(--line);border-radius:2mm;break-inside:avoid;page-break-inside:avoid;
display:flex;flex-direction:column;align-items:center;gap:1mm;overflow-wrap:anywhere;
font-size:9pt;line-height:1.3}
R .ic-cell .ic-code{width:var(--size);height:var(--size);flex:none}
R .ic-cell figcaption{width:100%;text-align:center}
R .ic-cell b{font-weight:600;font-size:9pt;overflow:hidden;display:-webkit-box;
-webkit-line-clamp:6;-webkit-box-orient:vertical}
R .ic-cell .ic-whole{white-space:normal;font-size:8.5pt}
R .ic-cell small{font-size:8.5pt}
R .ic-search{position:sticky;top:0;z-index:1;background:var(--bg);padding:8px 0;display:flex;
flex-wrap:wrap;gap:4px 12px;align-items:center}
R .ic-search input{font:inherit;color:inherit;background:var(--panel);padding:7px 12px;
border:1px solid var(--line);border-radius:8px;flex:1 1 260px;min-width:0;max-width:460px}
R .ic-rows table{margin-top:0;table-layout:fixed}
R .ic-rows th:first-child{width:96px}
R .ic-rows th:nth-child(2){width:56px}
R .ic-rows th:last-child{width:58%}
R .ic-rows td:nth-child(2){color:var(--muted);white-space:nowrap}
R .ic-rows ul.ic-changes{margin-left:0}
@media screen and (max-width:560px){R figure.ic-wide{overflow-x:auto}
 R figure.ic-wide svg{min-width:900px}}
@media (max-width:560px){R.ic-doc{padding:16px 12px}R.ic-doc td,R.ic-doc th{overflow-wrap:anywhere}
R .ic-rows td:nth-child(2),R .ic-rows th:nth-child(2){display:none}
R .ic-rows th:first-child{width:80px}R .ic-rows th:last-child{width:46%}}
@page{margin:11mm}
@media print{R{--fg:#000;--muted:#444;--bg:#fff;--panel:#f4f4f4;--line:#ccc;--link:#000;
--good:#177245;--warn:#8a5a00;--bad:#b42318;--info:#2f5fc4;--calm:#7b8696;
--good-bg:#fff;--warn-bg:#fff;--bad-bg:#fff;color-scheme:light;print-color-adjust:exact}
R.ic-doc{max-width:none;padding:0}body.incarts-page{background:#fff}
R .ic-plots{grid-template-columns:1fr 1fr}
R .ic-sheet{display:block;font-size:0;margin-top:4mm}
R .ic-cell{display:inline-flex;vertical-align:top;margin:0 3mm 4mm 0}
R.ic-paged>:not(.ic-sheet){display:none}
R.ic-paged .ic-sheet{display:grid;height:255mm;margin:0;gap:3mm;break-after:page;
grid-template-columns:repeat(var(--columns),minmax(0,1fr));
grid-template-rows:repeat(var(--rows),minmax(0,1fr))}
R.ic-paged .ic-sheet:last-child{break-after:auto}
R.ic-paged .ic-cell{display:flex;width:auto;margin:0;overflow:hidden;font-size:var(--font)}
R.ic-paged .ic-cell{justify-content:center}
R.ic-paged .ic-cell b{-webkit-line-clamp:var(--lines)}
R.ic-paged .ic-cell .ic-whole,R.ic-paged .ic-cell small{font-size:calc(var(--font) - .5pt)}
R.ic-paged .ic-cell small{display:block;white-space:nowrap;overflow:hidden;
text-overflow:ellipsis}
R .ic-search{display:none}R figure,R tr,R .ic-note{break-inside:avoid}R h2{break-after:avoid}}
"""
# `:is` weighs as much as its heaviest argument; no element has the id `_`.
_ROOT = ":is(#_,.incarts)"


def _rules(text: str) -> str:
    return re.sub(r"\bR(?=[ .{])", _ROOT, text).replace("\n", "")


def _themes() -> str:
    light, dark = (block.replace("\n", "") for block in (_LIGHT, _DARK))
    says_light = ",".join(f"{where} .incarts" for where in _SAYS_LIGHT)
    says_dark = ",".join(f"{where} .incarts" for where in _SAYS_DARK)
    return (
        # The later rule wins: the system's word first, then whoever shows us.
        f".incarts{{{light}}}@media (prefers-color-scheme:dark){{.incarts{{{dark}}}}}"
        f"{says_light}{{{light}}}{says_dark}{{{dark}}}"
    )


STYLE = _themes() + _rules(_RULES)
PAGE_STYLE = STYLE + _rules(_PAGE_RULES)
