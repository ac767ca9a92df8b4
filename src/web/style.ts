import { createHash } from 'node:crypto';

export const STYLE = `:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16191d;--soft:#59616b;--line:#d9dde3;--edge:#868f9b;--accent:#1f5fd6;--accent-ink:#fff;--warn-bg:#fff6e0;--warn-ink:#6b4a00;--bad:#b3261e;--bad-bg:#fdeeec;--good:#156b3a;--good-bg:#e8f5ec}
@media (prefers-color-scheme:dark){:root{--bg:#111418;--card:#1a1f25;--ink:#e9edf2;--soft:#a3adb8;--line:#333b45;--edge:#6f7b88;--accent:#7aa7ff;--accent-ink:#0b1220;--warn-bg:#33290f;--warn-ink:#f5d98b;--bad:#ff9d94;--bad-bg:#38201f;--good:#7bd8a2;--good-bg:#16301f}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
.top{display:flex;justify-content:space-between;align-items:center;gap:1rem;flex-wrap:wrap;max-width:34rem;margin:0 auto;padding:1.25rem 1.75rem 0}
.brand{display:flex;align-items:center;gap:.5rem;color:inherit;text-decoration:none;font-weight:650}
.mark{color:var(--accent)}
.who{margin:0;color:var(--soft);font-size:.875rem}
.who a{color:inherit}
main{max-width:34rem;margin:1rem auto 3rem;padding:1.75rem;background:var(--card);border:1px solid var(--line);border-radius:12px}
@media (max-width:36rem){.top{padding:1rem 2rem 0}main{margin:.75rem .75rem 2rem;padding:1.25rem}}
h1{font-size:1.375rem;line-height:1.3;margin:0 0 .75rem;text-wrap:balance}
h2{font-size:1.0625rem;margin:2rem 0 .5rem;padding-top:1.5rem;border-top:1px solid var(--line)}
p{margin:.5rem 0}
a{color:var(--accent)}
.hint,.soft{color:var(--soft)}
label{display:block;font-weight:600;margin:1rem 0 .25rem}
input[type=text],input[type=email],input[type=password],select,textarea{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;background:var(--bg);border:1px solid var(--edge);border-radius:8px}
[aria-invalid=true]{border-color:var(--bad)!important}
input[readonly]{color:var(--soft)}
.field-hint,.field-problem{margin:0 0 .4rem;font-size:.9375rem;color:var(--soft)}
.field-problem{color:var(--bad);font-weight:600}
.problem{margin:1rem 0;padding:.75rem 1rem;border-radius:8px;border-left:4px solid var(--bad);background:var(--bad-bg)}
.problem p{margin:.15rem 0}
.problem a{color:var(--bad)}
.check{display:flex;gap:.6rem;align-items:flex-start;font-weight:400;margin:.75rem 0}
.actions{display:flex;gap:.75rem;flex-wrap:wrap;margin-top:1.5rem}
.actions+p,form+p.soft,section+p{margin-top:1rem}
button,.button{display:inline-block;overflow-wrap:normal;padding:.65rem 1.25rem;font:inherit;font-weight:600;text-decoration:none;color:var(--accent-ink);background:var(--accent);border:1px solid transparent;border-radius:8px;cursor:pointer}
button.quiet,.button.quiet{color:var(--ink);background:transparent;border-color:var(--edge)}
button:hover,.button:hover{filter:brightness(1.08)}
button.quiet:hover,.button.quiet:hover{filter:none;background:var(--bg)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1rem;margin:1.25rem 0 0;font-size:.9375rem}
.facts dt{color:var(--soft)}
.facts dd{margin:0}
code,pre{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{padding:.75rem;background:var(--bg);border:1px solid var(--line);border-radius:8px;white-space:pre-wrap}
ul{padding-left:1.25rem}
.rows{list-style:none;padding:0;margin:.75rem 0 1.25rem}
.rows li{display:flex;justify-content:space-between;align-items:center;gap:1rem;padding:.75rem 0;border-bottom:1px solid var(--line)}
.rows p{margin:.1rem 0;font-size:.875rem}
.rows button{padding:.4rem .9rem}
.rows form{flex:none}
.notice{padding:.75rem 1rem;border-radius:8px;background:var(--warn-bg);color:var(--warn-ink);margin:1rem 0}
.notice.done{background:var(--good-bg);color:var(--good)}
.bad{color:var(--bad)}
.good{color:var(--good)}
table{width:100%;border-collapse:collapse;font-size:.9375rem}
th,td{text-align:left;padding:.45rem .5rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}
`;

/** A key. */
export const MARK_PATH =
  'M14.5 3a6.5 6.5 0 0 0-6.2 8.4L3 16.7V21h4.3v-2.2h2.2v-2.2h2.1l1-1A6.5 6.5 0 1 0 14.5 3Zm2 6a1.6 1.6 0 1 1 0-3.2 1.6 1.6 0 0 1 0 3.2Z';

export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><path d="${MARK_PATH}" fill="#3b78ea"/></svg>`;

/** The addresses change with the content, so that the files can be cached for ever. */
const addressOf = (content: string, ending: string): string =>
  `/assets/valetkey-${createHash('sha256').update(content).digest('hex').slice(0, 12)}.${ending}`;
export const STYLE_PATH = addressOf(STYLE, 'css');
export const ICON_PATH = addressOf(ICON, 'svg');
