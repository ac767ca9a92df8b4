import { createHash } from 'node:crypto';

export const STYLE = `:root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#16191d;--soft:#59616b;--line:#d9dde3;--accent:#1f5fd6;--accent-ink:#fff;--warn-bg:#fff6e0;--warn-ink:#6b4a00;--bad:#b3261e;--good:#156b3a}
@media (prefers-color-scheme:dark){:root{--bg:#111418;--card:#1a1f25;--ink:#e9edf2;--soft:#a3adb8;--line:#333b45;--accent:#7aa7ff;--accent-ink:#0b1220;--warn-bg:#33290f;--warn-ink:#f5d98b;--bad:#ff8a80;--good:#7bd8a2}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
.top{display:flex;justify-content:space-between;align-items:center;gap:1rem;flex-wrap:wrap;max-width:34rem;margin:0 auto;padding:1.25rem 1.25rem 0}
.brand{display:flex;align-items:center;gap:.5rem;color:inherit;text-decoration:none;font-weight:650}
.mark{color:var(--accent)}
.who{margin:0;color:var(--soft);font-size:.875rem}
main{max-width:34rem;margin:1rem auto 3rem;padding:1.75rem;background:var(--card);border:1px solid var(--line);border-radius:12px}
@media (max-width:36rem){main{margin:1rem .75rem 2rem;padding:1.25rem}}
h1{font-size:1.375rem;line-height:1.3;margin:0 0 .75rem}
h2{font-size:1rem;margin:1.5rem 0 .5rem}
p{margin:.5rem 0}
a{color:var(--accent)}
.hint,.soft{color:var(--soft)}
label{display:block;font-weight:600;margin:1rem 0 .25rem}
input[type=text],input[type=email],input[type=password],select,textarea{width:100%;padding:.6rem .7rem;font:inherit;color:inherit;background:var(--bg);border:1px solid var(--line);border-radius:8px}
.check{display:flex;gap:.6rem;align-items:flex-start;font-weight:400;margin:.75rem 0}
.actions{display:flex;gap:.75rem;flex-wrap:wrap;margin-top:1.5rem}
button,.button{display:inline-block;padding:.65rem 1.25rem;font:inherit;font-weight:600;text-decoration:none;color:var(--accent-ink);background:var(--accent);border:1px solid transparent;border-radius:8px;cursor:pointer}
button.quiet,.button.quiet{color:var(--ink);background:transparent;border-color:var(--line)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}
.facts{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1rem;margin:1.25rem 0 0;font-size:.9375rem}
.facts dt{color:var(--soft)}
.facts dd{margin:0}
code,pre{font:.875em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{padding:.75rem;background:var(--bg);border:1px solid var(--line);border-radius:8px;white-space:pre-wrap}
ul{padding-left:1.25rem}
.notice{padding:.75rem 1rem;border-radius:8px;background:var(--warn-bg);color:var(--warn-ink);margin:1rem 0}
.bad{color:var(--bad)}
.good{color:var(--good)}
table{width:100%;border-collapse:collapse;font-size:.9375rem}
th,td{text-align:left;padding:.45rem .5rem .45rem 0;border-bottom:1px solid var(--line);vertical-align:top}
`;

/** The address changes with the content, so that the file can be cached for ever. */
export const STYLE_PATH = `/assets/valetkey-${createHash('sha256').update(STYLE).digest('hex').slice(0, 12)}.css`;
