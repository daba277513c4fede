/** How the dashboard looks: one constructed style sheet, in the colours of `<durable-runs>`. */

export const sheet = new CSSStyleSheet();
sheet.replaceSync(`
:host { display: block; color-scheme: light dark; container-type: inline-size; font: 0.875rem/1.45 system-ui, sans-serif;
  --page: light-dark(#f4f6f8, #12171d); --card: light-dark(#ffffff, #1a2129); --ink: light-dark(#1b2530, #e6ebf0);
  --line: light-dark(#dfe4ea, #333c47); --edge: light-dark(#8b96a3, #64717e); --soft: light-dark(#566270, #9fadbb);
  --accent: light-dark(#1d5fd0, #79aaff); --on: light-dark(#ffffff, #0c1a30); --cell: light-dark(#e6eaef, #2c3640);
  --good: light-dark(#14713d, #5fd28f); --bad: light-dark(#b3261e, #ff9a8f); --warn: light-dark(#8a5300, #f0b95c);
  --tint: color-mix(in srgb, var(--accent) 8%, var(--card)); --mono: ui-monospace, "Cascadia Code", Menlo, Consolas, monospace;
  color: var(--ink); background: var(--page) }
:host([full]) { min-height: 100dvh }
*, ::before, ::after { box-sizing: border-box }
[hidden] { display: none !important }
h2, h3, h4, p, dl, dd, ol, ul, pre { margin: 0; padding: 0 }
h2 { font-size: 1.25rem; line-height: 1.3; letter-spacing: -0.01em }
h3 { font-size: 0.9375rem }
h4 { font-size: 0.8125rem; font-weight: 600; color: var(--soft); margin-block: 0.75rem 0.25rem }
h4:first-of-type { margin-top: 0 }
.sr { position: absolute; clip-path: inset(50%); white-space: nowrap }
.soft { color: var(--soft) }
.bad { color: var(--bad) }
.mono { font-family: var(--mono); font-size: 0.8125rem }
.whole { overflow-wrap: anywhere }
.nowrap { white-space: nowrap }
button + button:not(.quiet) { margin-inline-start: 0.5rem }
:is(.actions, .buttons) button { margin: 0 !important }
.cut { overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px }

a, .link { color: var(--accent); text-decoration: none }
a:hover, .link:hover { text-decoration: underline }
.link, .quiet, .fold { border: 0 !important; background: none !important; padding: 0; min-height: 0 !important; text-align: start }
button, input, select, textarea { font: inherit; color: inherit; border-radius: 0.4rem; border: 1px solid var(--edge) }
button { cursor: pointer; padding: 0 0.75rem; min-height: 2rem; background: var(--card) }
button:hover:enabled { border-color: var(--accent); color: var(--accent) }
button:disabled { opacity: 0.5; cursor: default }
.quiet { color: var(--accent) }
.fold { color: inherit; overflow-wrap: anywhere }
.fold::before { content: "▸"; content: "▸" / ""; display: inline-block; width: 1em; color: var(--soft) }
.fold[aria-expanded=true]::before { content: "▾"; content: "▾" / "" }
.main { color: var(--on); background: var(--accent); border-color: transparent; font-weight: 600 }
.main:hover:enabled { color: var(--on); filter: brightness(1.08) }
.danger { color: var(--bad); border-color: var(--bad) }
input, select { min-height: 2rem; padding: 0 0.5rem; background: var(--card); max-width: 100% }
dialog input:not([type=file]) { width: 100% }
textarea { width: 100%; padding: 0.5rem; background: var(--page); font-family: var(--mono); font-size: 0.8125rem; resize: vertical }
::placeholder { color: var(--soft); opacity: 1 }

.app { display: flex; flex-direction: column; max-width: 100rem; margin: 0 auto; padding: 0 1.25rem 1.25rem; gap: 0.9rem }
:host([full]) .app:has(.runs) { height: 100dvh; padding-bottom: 0.75rem }
nav { display: flex; gap: 0.25rem; align-items: stretch; border-bottom: 1px solid var(--line); margin-inline: -1.25rem; padding-inline: 1.25rem;
  background: var(--card); min-height: 3rem }
.tab { display: flex; align-items: center; padding: 0 0.75rem !important; color: var(--soft); border-bottom: 2px solid transparent !important;
  border-radius: 0; margin-bottom: -1px; font-weight: 500 }
.tab:hover { color: var(--ink); text-decoration: none }
.tab[aria-current] { color: var(--ink); border-bottom-color: var(--accent) !important }
.tab:focus-visible { outline-offset: -4px }
.store { margin-inline-start: auto; align-self: center; font-size: 0.8125rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.down { padding: 0.5rem 0.75rem; border-radius: 0.4rem; color: var(--warn); background: color-mix(in srgb, var(--warn) 10%, var(--card));
  border: 1px solid color-mix(in srgb, var(--warn) 40%, transparent); overflow-wrap: anywhere }
.note { position: fixed; inset-block-end: 1rem; inset-inline: 1rem; margin-inline: auto; width: fit-content; max-width: calc(100% - 2rem);
  padding: 0.5rem 0.9rem; border-radius: 0.5rem; color: var(--page); background: var(--ink); overflow-wrap: anywhere; opacity: 0;
  pointer-events: none; transition: opacity 0.2s; z-index: 2 }
.note[data-on] { opacity: 1 }
.view { display: flex; flex-direction: column; gap: 0.9rem; min-width: 0 }
.runs { flex: 1; min-height: 0; gap: 0.5rem }
.empty { padding: 3rem 1rem; text-align: center; color: var(--soft); display: grid; gap: 0.5rem; justify-items: center; overflow-wrap: anywhere }
.empty b, .empty h2 { color: var(--ink) }
.empty pre { text-align: start; padding: 0.5rem 0.9rem; border-radius: 0.4rem; background: var(--cell); color: var(--ink); font: 0.8125rem var(--mono); max-width: 100%; white-space: pre-wrap }

.filters { display: flex; flex-wrap: wrap; gap: 0.6rem; align-items: end }
label > span:first-child { display: block; font-size: 0.75rem; color: var(--soft); margin-bottom: 0.1rem }
.by-q { flex: 1 1 16rem; max-width: 30rem }
.by-q input { width: 100% }
.filters select { width: 11rem }
.by-tag { width: 11rem }
.by-tag input { width: 100% }
.filters .quiet { align-self: end; min-height: 2rem !important }
.new { margin-inline-start: auto }
.count { font-size: 0.8125rem; min-height: 1.2rem }
.foot { text-align: center }

.grid { position: relative; overflow: auto; overscroll-behavior: contain; border: 1px solid var(--line); border-radius: 0.5rem; background: var(--card);
  min-height: 6rem; max-height: 75dvh; font-variant-numeric: tabular-nums; contain: content }
:host([full]) .grid { max-height: none }
.grid .row { display: grid; gap: 0.9rem; align-items: center; padding: 0 0.9rem; border-bottom: 1px solid var(--line);
  grid-template-columns: 10.5rem minmax(8rem, 1.2fr) minmax(8rem, 2fr) minmax(0, 1fr) 5.2rem 8.6rem 5.6rem }
.grid .row > * { min-width: 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.head { position: sticky; inset-block-start: 0; z-index: 1; background: var(--card); color: var(--soft); font-size: 0.75rem }
.head .row { min-height: 2rem }
.body { position: relative; contain: layout style }
.body .row { position: absolute; inset-inline: 0; cursor: pointer; contain: strict }
.body .row:hover { background: var(--tint) }
.body .row[aria-selected=true] { background: var(--tint); box-shadow: inset 3px 0 var(--accent) }
.grid:focus-visible { outline-offset: 1px }
.c-job { font-weight: 500 }
.c-took, .head .c-took { text-align: end }
.body :is(.c-when, .c-took) { color: var(--soft); font-size: 0.8125rem }
.c-id a { color: var(--soft) }
.grid[data-narrow] .head { position: absolute; clip-path: inset(50%); height: 1px; overflow: hidden }
.grid[data-narrow] .row { gap: 0 0.6rem; padding-block: 0.5rem; grid-template: "job status" 1fr "now when" 1fr / minmax(0, 1fr) auto }
.grid[data-narrow] :is(.c-tags, .c-id, .c-took) { display: none }
.grid[data-narrow] .c-job { grid-area: job }
.grid[data-narrow] .c-now { grid-area: now; font-size: 0.8125rem }
.grid[data-narrow] .c-status { grid-area: status; text-align: end; max-width: 46cqi }
.grid[data-narrow] .c-when { grid-area: when; text-align: end }

.status { white-space: nowrap; color: var(--soft); font-size: 0.8125rem; font-weight: 500 }
.status::before { content: ""; display: inline-block; width: 0.5rem; height: 0.5rem; margin-inline-end: 0.45rem; border-radius: 50%; background: currentcolor }
[data-is=executing].status { color: var(--accent) }
[data-is=completed].status, [data-is=kept].status { color: var(--good) }
[data-is=kept].status::before { border-radius: 0; transform: rotate(45deg) scale(0.85) }
:is([data-is=failed], [data-is=timed_out], [data-is=expired], [data-is=invalid_payload], [data-is=unresolved_auth]).status { color: var(--bad) }
:is([data-is=queued], [data-is=waiting_on_connections], [data-is=stale], [data-is=waiting], [data-is=retrying]).status { color: var(--warn) }
:is([data-is=pending], [data-is=queued], [data-is=waiting], [data-is=waiting_on_connections]).status::before { background: none; border: 2px solid }
.tag { display: inline-block; padding: 0 0.4rem; margin-inline-end: 0.25rem; border-radius: 0.3rem; background: var(--cell); font-size: 0.75rem; max-width: 100%;
  overflow: hidden; text-overflow: ellipsis; vertical-align: bottom }
.progress { display: flex; gap: 0.6rem; align-items: center; min-width: 0 }
.progress b { font-weight: 600 }
progress { appearance: none; flex: 0 0 5rem; height: 0.4rem; border: 0; border-radius: 1rem; overflow: hidden; background: var(--cell); color: var(--accent) }
progress::-webkit-progress-bar { background: var(--cell) }
progress::-webkit-progress-value { background: var(--accent); border-radius: 1rem }
progress::-moz-progress-bar { background: var(--accent) }
progress[data-is=completed]::-webkit-progress-value { background: var(--good) }
progress[data-is=completed]::-moz-progress-bar { background: var(--good) }
.going { display: grid; gap: 0.3rem; overflow-wrap: anywhere }
.going progress { flex: 1 1 auto; max-width: 30rem; height: 0.6rem }

.back::before { content: "← "; content: "← " / "" }
.title { display: flex; flex-wrap: wrap; gap: 0.6rem 1rem; align-items: center; justify-content: space-between }
.title h2 { overflow-wrap: anywhere; outline: none }
.title .status { font-size: 0.9375rem; margin-inline-start: 0.5rem }
.actions { display: flex; flex-wrap: wrap; gap: 0.5rem }
.card { min-width: 0; padding: 0.9rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 0.5rem }
.card > h3 { margin-bottom: 0.6rem }
.wait { border-color: color-mix(in srgb, var(--warn) 55%, var(--line)) }
.both { display: grid; gap: 0.9rem; grid-template-columns: minmax(0, 1fr); align-items: start }
.facts { display: grid; gap: 0.3rem }
.facts > div { display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: 0.75rem }
.facts dt { color: var(--soft) }
.facts dd { font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.plain { list-style: none; display: grid; gap: 0.3rem }
.plain li { display: flex; gap: 0.75rem; align-items: baseline; overflow-wrap: anywhere }

.value { position: relative }
.copy { position: absolute; inset-block-start: 0.35rem; inset-inline-end: 0.6rem; font-size: 0.75rem; background: var(--page) !important }
.json { padding: 0.4rem 3.5rem 0.4rem 0.6rem; border-radius: 0.4rem; background: var(--page); font: 0.8125rem/1.5 var(--mono); overflow-wrap: anywhere; max-height: 24rem; overflow: auto }
.inner { padding-inline-start: 1rem; border-inline-start: 1px solid var(--line); margin-inline-start: 0.35rem }
.line, .text { white-space: pre-wrap }
.name { color: var(--accent) }
.text { color: var(--good) }
.atom { color: var(--warn) }
.kind { color: var(--soft); font-style: italic }
.json .quiet { font-family: system-ui, sans-serif; margin-inline-start: 0.4rem }
.failure p { overflow-wrap: anywhere; white-space: pre-wrap }
pre { font: 0.75rem/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere }
details pre { max-height: 24rem; overflow: auto; margin-top: 0.4rem; padding: 0.5rem 0.6rem; border-radius: 0.4rem; background: var(--page) }
summary { cursor: pointer; color: var(--accent); margin-top: 0.3rem }

table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: start; font-weight: inherit; padding: 0.4rem 0.6rem; border-bottom: 1px solid var(--line); vertical-align: baseline }
tbody tr:last-child > * { border-bottom: 0 }
thead { color: var(--soft); font-size: 0.75rem }
:is(th, td):first-child { padding-inline-start: 0 }
:is(th, td):last-child { padding-inline-end: 0 }
th[scope=row] { overflow-wrap: anywhere }
.stack th[scope=row] { font-weight: 500 }
.end { text-align: end }
.steps td { white-space: nowrap }
.steps .more td { white-space: normal; padding: 0.4rem 0 0.9rem 1rem }
.steps tr[data-on] > * { border-bottom: 0 }
.more .facts { margin-bottom: 0.4rem }

.lines { list-style: none; max-height: 22rem; overflow: auto; border: 1px solid var(--line); border-radius: 0.4rem }
.lines li { display: flex; gap: 0.75rem; align-items: baseline; padding: 0.2rem 0.6rem; border-inline-start: 3px solid transparent }
.lines li:nth-child(even) { background: color-mix(in srgb, var(--page) 60%, transparent) }
.lines time, .level { color: var(--soft); font-size: 0.8125rem; font-variant-numeric: tabular-nums }
.level { min-width: 4.2em }
.said { min-width: 0; overflow-wrap: anywhere; white-space: pre-wrap }
[data-level=warning] .level { color: var(--warn) }
[data-level=error] :is(.level, .said) { color: var(--bad) }
[data-kind=good] { border-color: var(--good) !important }
[data-kind=warn] { border-color: var(--warn) !important }
[data-kind=bad] { border-color: var(--bad) !important }
.tools { display: flex; gap: 0.75rem; align-items: center; margin-bottom: 0.4rem; font-size: 0.8125rem }
.tools label > span { display: inline; margin-inline-end: 0.4rem }

dialog { width: min(36rem, calc(100vw - 2rem)); padding: 1.25rem; color: var(--ink); background: var(--card); border: 1px solid var(--line); border-radius: 0.75rem }
dialog::backdrop { background: rgb(0 0 0 / 45%) }
dialog form { display: grid; gap: 0.75rem }
.sign-in { display: grid; gap: 0.75rem; width: min(28rem, 100%); margin: 12vh auto 0; padding: 1.25rem }
.sign-in input { width: 100% }
.sign-in code { white-space: nowrap }
dialog p { overflow-wrap: anywhere }
.buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; justify-content: flex-end }
.wrong:empty { display: none }

.picture { --label: clamp(7rem, 22cqi, 16rem); display: grid; gap: 0.5rem }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; font-size: 0.75rem; color: var(--soft) }
.legend i { position: static; display: inline-block; width: 1.1rem; height: 0.7rem; margin-inline-end: 0.35rem; vertical-align: -0.05rem; border-radius: 0.15rem }
.scroll { max-height: 32rem; overflow: hidden auto }
.chart { position: relative; font-size: 0.8125rem }
.axis, .lane, .behind { display: grid; grid-template-columns: var(--label) minmax(0, 1fr); gap: 0.6rem; align-items: center }
.axis { position: sticky; inset-block-start: 0; z-index: 1; background: var(--card); height: 1.4rem; color: var(--soft); font-size: 0.75rem; font-variant-numeric: tabular-nums }
.axis span + .track span, .axis .track span { position: absolute; white-space: nowrap; padding-inline-start: 0.25rem; border-inline-start: 1px solid var(--line) }
.axis .track span[data-end] { transform: translateX(-100%); border: 0; padding-inline: 0 0.25rem }
.lane { height: 1.5rem; border-radius: 0.25rem; position: relative }
.lane:hover, .lane:focus { background: var(--tint) }
.lane:focus-visible { outline-offset: -2px }
.label { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding-inline-start: 0.25rem }
.track { position: relative; height: 100% }
.behind { position: absolute; inset-block: 1.4rem 0; inset-inline: 0; align-items: stretch; pointer-events: none }
.track i { position: absolute; inset-block: 0 }
.tick { width: 1px; background: var(--line) }
.lane .span { inset-block: 0.3rem; min-width: 2px; border-radius: 0.15rem }
.bar { inset-block: 0.42rem !important; min-width: 3px; border-radius: 0.15rem; background: var(--accent) }
.bar[data-is=completed] { background: color-mix(in srgb, var(--accent) 72%, var(--card)) }
.bar[data-kept] { background: var(--good) }
.bar[data-is=failed] { background: var(--bad) }
.bar[data-is=retrying] { background: var(--warn) }
.bar[data-is=waiting], .bar[data-is=waited] { inset-block: 0.68rem !important; background: var(--edge) }
.bar[data-open] { border-start-end-radius: 0; border-end-end-radius: 0 }
.tries { position: absolute; inset-block-start: 0.1rem; padding-inline: 0.3rem; color: var(--warn); font-size: 0.75rem }
.tries[data-end] { transform: translateX(-100%) }
i[data-is=executing] { background: var(--accent) }
i[data-is=pending] { background: var(--cell); border: 1px solid var(--edge) }
.track i[data-is=waiting]:not(.bar), .legend i[data-is=waiting] { background: color-mix(in srgb, var(--edge) 35%, var(--card)) }
i[data-is=gap], .hole { background: repeating-linear-gradient(-45deg, var(--warn) 0 2px, transparent 2px 6px) }
.hole { opacity: 0.35 }
.kept { color: var(--good) }
.hint { font-size: 0.8125rem; min-height: 1.3em; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }

@container (width > 60rem) { .both { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr) } .both > .card { height: 100% } }
@container (width < 62rem) { .grid:not([data-narrow]) .row { grid-template-columns: 9rem minmax(6rem, 1fr) minmax(6rem, 1.4fr) 5.2rem 7.6rem 5rem } .grid .c-tags { display: none } }
@container (width < 40rem) {
  .app { padding-inline: 0.75rem }
  nav { margin-inline: -0.75rem; padding-inline: 0.4rem; gap: 0 }
  .tab { padding: 0 0.55rem !important }
  .store, .far { display: none }
  .filters { display: grid; grid-template-columns: 1fr 1fr 1fr }
  .filters > * { width: auto !important; min-width: 0 }
  .filters :is(select, input) { width: 100% }
  .filters :is(.by-q, .new) { grid-column: 1 / -1; max-width: none }
  .actions { width: 100% }
  .facts > div { grid-template-columns: 6.5rem minmax(0, 1fr) }
  .card { padding: 0.75rem }
  .steps td:not(.end) { white-space: normal }
  .axis .track span:nth-child(even) { visibility: hidden }
  .steps :is(th, td) { padding-inline: 0.25rem }
  .steps th:first-child { width: 50%; padding-inline-start: 0 }
  .stack thead { position: absolute; clip-path: inset(50%) }
  .stack :is(tr, th, td) { display: block; border: 0; padding: 0.1rem 0; text-align: start }
  .stack tr { padding-block: 0.6rem; border-bottom: 1px solid var(--line) }
  .stack tr:last-child { border: 0 }
  .stack td[data-label]::before { content: attr(data-label) ": "; color: var(--soft) }
  .stack td .progress { display: inline-flex }
  .stack .end { padding-top: 0.4rem }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; scroll-behavior: auto !important } }
@media (forced-colors: active) { .bar, .span, .status::before, progress { forced-color-adjust: none } }
`);
