"""How a page looks. It is inside the page, so that the page is one file."""

HEAD = """<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>
:root {
  color-scheme: light dark; --ink: light-dark(#1b1f24, #e6e6e6); --page: light-dark(#fff, #15171a);
  --line: light-dark(#d5d9de, #3a3f45); --soft: light-dark(#57606a, #a3abb3); --blue: light-dark(#0550ae, #79c0ff);
  --good: light-dark(#116329, #56d364); --bad: light-dark(#a40e26, #ff7b72); --unsure: light-dark(#7d4e00, #e3b341);
}
* { box-sizing: border-box; }
body { color: var(--ink); background: var(--page); font: 1rem/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 54rem; margin: 0 auto; padding: 1rem 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.1rem; font-weight: 600; margin: 0; color: var(--soft); }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1rem 0 0; }
ul { margin: .3rem 0 0; padding-left: 1.2rem; }

.verdict {
  --tone: var(--good); border-left: .4rem solid var(--tone); border-radius: .2rem; padding: .8rem 1rem;
  background: color-mix(in srgb, var(--tone) 9%, transparent);
}
.verdict.bad { --tone: var(--bad); }
.verdict p { margin: .4rem 0 0; }
.verdict .word { font-size: 1.7rem; line-height: 1.2; font-weight: 700; color: var(--tone); margin: .1rem 0 .2rem; }

table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; white-space: nowrap; }
td:last-child { width: 99%; padding-right: 0; }
td:not(:last-child) { white-space: nowrap; }

.mark {
  --tone: var(--good); color: var(--tone); border: 1px solid; border-radius: 1rem; padding: 0 .6rem;
  font-size: .85rem; white-space: nowrap;
}
.mark.bad { --tone: var(--bad); }
.mark.skipped { --tone: var(--unsure); }

.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .9rem 1.2rem; margin: 0; }
.facts div { border-top: 1px solid var(--line); padding-top: .3rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; }
dt, .note, figcaption, .axis { color: var(--soft); font-size: .85rem; }

figure { margin: 0; }
figcaption { margin-top: .3rem; }
.axis { display: flex; justify-content: space-between; margin: 0; }
svg { display: block; width: 100%; height: 10rem; overflow: visible; border: solid var(--line); border-width: 1px 0; }
polyline, path { fill: none; stroke: var(--blue); stroke-width: 2; vector-effect: non-scaling-stroke; }
.dots { stroke-width: 6; stroke-linecap: round; }
.allowed { stroke: var(--bad); stroke-dasharray: 5 5; stroke-width: 1; }

.wide { overflow-x: auto; }
.heat { width: auto; min-width: 100%; }
.heat :is(th, td) {
  border: 0; padding: .25rem .4rem; text-align: center; font-variant-numeric: tabular-nums; width: auto;
}
.heat th { color: var(--soft); font-weight: 400; font-size: .85rem; }
.heat td { background: color-mix(in srgb, var(--tone) var(--share), transparent); border: 1px solid var(--page); }
.heat .more { --tone: light-dark(#54aeff, #1f6feb); }
.heat .less { --tone: light-dark(#ffb77c, #9a5b13); }
.heat .none { background: var(--line); }

summary { cursor: pointer; color: var(--soft); font-size: .9rem; padding: .3rem 0; }
.text { margin: 0; line-height: 1.75; }
.text span {
  background: light-dark(hsl(var(--hue) 75% 86%), hsl(var(--hue) 45% 27%)); white-space: pre-wrap; padding: .1rem 0;
}
.legend span { padding: .1rem .5rem; margin-left: .25rem; border-radius: .2rem; }
pre {
  white-space: pre-wrap; border-left: 3px solid var(--line); margin: 0; padding-left: .8rem;
  font: inherit; font-style: italic;
}

@media (max-width: 34rem) {
  table:not(.heat) tr {
    display: grid; grid-template-columns: 1fr auto; padding: .3rem 0; border-bottom: 1px solid var(--line);
  }
  table:not(.heat) :is(th, td) { border: 0; padding: 0 .5rem 0 0; white-space: normal; }
  table:not(.heat) td:last-child { grid-column: 1 / -1; width: auto; }
  .heat :is(th, td) { padding: .2rem .25rem; }
}
</style>"""
