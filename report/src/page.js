'use strict';
(() => {
const NS = 'http://www.w3.org/2000/svg';
const el = (name, props, ...kids) => { const e = document.createElement(name); Object.assign(e, props); e.append(...kids); return e; };
const short = v => { if (!isFinite(v)) return '–'; if (v === 0) return '0'; const m = Math.abs(v); const t = m >= 1e-3 && m < 1e5 ? String(+m.toPrecision(4)) : m.toExponential(2); return (v < 0 ? '−' : '') + t; };
const save = (name, text) => { const a = el('a', { href: URL.createObjectURL(new Blob([text], { type: 'text/csv' })), download: name }); a.click(); setTimeout(() => URL.revokeObjectURL(a.href), 1000); };
const quoted = t => /[",\n]/.test(t) ? '"' + t.replace(/"/g, '""') + '"' : t;

// Curves: values under the pointer or the arrow keys, a legend, log axes, smoothing, zoom.
function curves(fig) {
  const d = JSON.parse(fig.querySelector('script').textContent), svg = fig.querySelector('svg');
  const [L, T, R, B] = d.plot, off = new Set();
  let x = d.x.slice(), y = d.y.slice(), lx = d.lx, ly = d.ly, smooth = 0, touched = false, at = null;
  const groups = [...svg.querySelectorAll('g.s')];
  const of = i => groups.filter(g => +g.dataset.s === i);
  const pos = (v, [a, b], log) => log ? (Math.log(v) - Math.log(a)) / (Math.log(b) - Math.log(a)) : (v - a) / (b - a);
  const X = v => L + pos(v, x, lx) * (R - L), Y = v => Math.max(T - 2, Math.min(B + 2, B - pos(v, y, ly) * (B - T)));
  const inv = p => { const t = (p - L) / (R - L); return lx ? Math.exp(Math.log(x[0]) + t * (Math.log(x[1]) - Math.log(x[0]))) : x[0] + t * (x[1] - x[0]); };
  const own = document.createElementNS(NS, 'g'), over = document.createElementNS(NS, 'g');
  svg.insertBefore(own, svg.querySelector('g')); svg.append(over);
  const mark = (g, name, attrs, text) => { const e = document.createElementNS(NS, name); for (const k in attrs) e.setAttribute(k, attrs[k]); if (text) e.textContent = text; g.append(e); };
  const ticks = ([a, b], log, n) => { const out = [];
    if (log) { for (let p = Math.floor(Math.log10(a)); p <= Math.ceil(Math.log10(b)); p++) for (const m of Math.log10(b / a) > 2 ? [1] : [1, 2, 5]) { const v = m * 10 ** p; if (v >= a * .999999 && v <= b * 1.000001) out.push(v); } return out; }
    const r = (b - a) / n, w = 10 ** Math.floor(Math.log10(r)), s = [1, 2, 2.5, 5, 10].map(k => k * w).find(k => k >= r * .999) || 10 * w;
    for (let i = Math.ceil(a / s - 1e-9); i * s <= b + s * 1e-9; i++) out.push(i * s); return out; };
  const path = (pts) => pts.map((p, i) => (i ? 'L' : 'M') + p[0].toFixed(1) + ' ' + p[1].toFixed(1)).join('');
  const ok = (v, log) => v !== null && isFinite(v) && (!log || v > 0);
  function draw() {
    touched = true;
    svg.querySelectorAll(':scope > g.ax').forEach(g => g.style.display = 'none');
    own.replaceChildren();
    for (const t of ticks(y, ly, 5)) { const p = B - pos(t, y, ly) * (B - T); if (p < T - 1 || p > B + 1) continue; mark(own, 'path', { d: `M${L} ${p}H${R}`, stroke: 'var(--rule)' }); mark(own, 'text', { x: L - 6, y: p + 4, 'text-anchor': 'end', 'font-size': 12, fill: 'var(--faint)' }, short(t)); }
    for (const t of ticks(x, lx, 7)) { const p = X(t); mark(own, 'path', { d: `M${p} ${B}v4`, stroke: 'var(--faint)' }); mark(own, 'text', { x: p, y: B + 18, 'text-anchor': 'middle', 'font-size': 12, fill: 'var(--faint)' }, short(t)); }
    mark(own, 'path', { d: `M${L} ${B}H${R}`, stroke: 'var(--faint)' });
    mark(own, 'text', { x: (L + R) / 2, y: B + 34, 'text-anchor': 'middle', 'font-size': 12, fill: 'var(--text)' }, d.xl);
    mark(own, 'text', { x: 12, y: (T + B) / 2, 'text-anchor': 'middle', 'font-size': 12, fill: 'var(--text)', transform: `rotate(-90 12 ${(T + B) / 2})` }, d.yl);
    d.s.forEach((s, i) => {
      const keep = s.x.map((v, k) => k).filter(k => ok(s.x[k], lx) && ok(s.m[k], ly) && s.x[k] >= x[0] && s.x[k] <= x[1]);
      const gs = of(i), q = sel => gs.map(g => g.querySelector(sel)).find(e => e);
      const line = q('path.l'), area = q('path.a');
      const raw = path(keep.map(k => [X(s.x[k]), Y(s.m[k])]));
      if (line) { line.setAttribute('d', raw || 'M0 0'); line.style.opacity = smooth ? .3 : 1; }
      if (area) { const kb = keep.filter(k => ok(s.b[k], ly) && s.a[k] !== null); const lo = k => Y(ok(s.a[k], ly) ? s.a[k] : y[0]); area.setAttribute('d', kb.length > 1 ? path([...kb.map(k => [X(s.x[k]), Y(s.b[k])]), ...kb.reverse().map(k => [X(s.x[k]), lo(k)])]) + 'Z' : 'M0 0'); }
      gs.forEach(g => g.querySelectorAll('circle,text').forEach(e => e.style.display = 'none'));
      gs.forEach(g => g.querySelectorAll('.sm').forEach(e => e.remove()));
      if (smooth && line) { let m = null; const pts = keep.map(k => { m = m === null ? s.m[k] : smooth * m + (1 - smooth) * s.m[k]; return [X(s.x[k]), Y(m)]; }); mark(gs[0], 'path', { class: 'sm', d: path(pts) || 'M0 0', fill: 'none', stroke: `var(--s${i % 7})`, 'stroke-width': 2.4 }); }
    });
    say(at !== null && at >= x[0] && at <= x[1] ? at : null);
  }
  const tools = el('div', { className: 'tools' }), live = el('div', { className: 'say' });
  live.setAttribute('aria-live', 'polite');
  d.s.forEach((s, i) => { const k = el('i'); k.style.borderColor = `var(--s${i % 7})`; const b = el('button', { type: 'button' }, k, s.l); b.setAttribute('aria-pressed', 'true');
    b.onclick = () => { const hide = !off.has(i); hide ? off.add(i) : off.delete(i); b.setAttribute('aria-pressed', String(!hide)); of(i).forEach(g => g.style.display = hide ? 'none' : ''); say(at); }; tools.append(b); });
  const flip = (word, get, set) => { const c = el('input', { type: 'checkbox', checked: get() }); c.onchange = () => { set(c.checked); draw(); }; tools.append(el('label', {}, c, ' ' + word)); };
  const all = k => d.s.flatMap(s => s[k]).filter(v => v !== null && isFinite(v));
  const least = vs => vs.filter(v => v > 0).reduce((a, b) => Math.min(a, b), Infinity);
  if (isFinite(least(all('m')))) flip('log ' + d.yl, () => ly, v => { ly = v; y = d.y.slice(); if (v && y[0] <= 0) y[0] = least(all('m')) / 1.3; });
  if (isFinite(least(all('x')))) flip('log ' + d.xl, () => lx, v => { lx = v; x = d.x.slice(); if (v && x[0] <= 0) x[0] = least(all('x')); });
  const slide = el('input', { type: 'range', min: 0, max: .95, step: .05, value: 0 }); slide.oninput = () => { smooth = +slide.value; draw(); };
  tools.append(el('label', {}, 'smoothing ', slide));
  const reset = el('button', { type: 'button' }, 'whole range'); reset.onclick = () => { x = d.x.slice(); lx && x[0] <= 0 && (x[0] = least(all('x'))); draw(); }; tools.append(reset);
  svg.before(tools); svg.after(live);
  svg.setAttribute('tabindex', '0'); svg.setAttribute('aria-keyshortcuts', 'ArrowLeft ArrowRight');
  const places = [...new Set(all('x'))].sort((a, b) => a - b);
  function say(v) {
    at = v; over.replaceChildren(); live.textContent = ''; if (v === null) return;
    mark(over, 'path', { d: `M${X(v)} ${T}V${B}`, stroke: 'var(--faint)', 'stroke-dasharray': '3 3' });
    const parts = [];
    d.s.forEach((s, i) => { if (off.has(i)) return; const k = s.x.indexOf(v); if (k < 0 || !ok(s.m[k], ly)) return;
      mark(over, 'circle', { cx: X(v), cy: Y(s.m[k]), r: 3.5, fill: `var(--s${i % 7})` });
      parts.push(`${s.l} ${short(s.m[k])}` + (s.a[k] === null ? '' : ` [${short(s.a[k])}, ${short(s.b[k])}]`)); });
    live.textContent = `${d.xl} ${short(v)}: ${parts.join(' · ')}`;
  }
  const where = e => { const r = svg.getBoundingClientRect(), vb = svg.viewBox.baseVal; return (e.clientX - r.left) / r.width * vb.width; };
  const near = p => { const v = inv(p), shown = places.filter(q => q >= x[0] && q <= x[1] && (!lx || q > 0)); return shown.reduce((a, b) => a === null || Math.abs(X(b) - X(v)) < Math.abs(X(a) - X(v)) ? b : a, null); };
  let from = null;
  svg.addEventListener('pointermove', e => { const p = where(e); if (p < L - 10 || p > R + 10) return; say(near(Math.max(L, Math.min(R, p)))); if (from !== null) mark(over, 'rect', { x: Math.min(from, p), y: T, width: Math.abs(p - from), height: B - T, fill: 'var(--link)', 'fill-opacity': .15 }); });
  svg.addEventListener('pointerdown', e => { if (e.pointerType === 'mouse') from = where(e); });
  window.addEventListener('pointerup', e => { if (from === null) return; const p = where(e), a = Math.max(L, Math.min(from, p)), b = Math.min(R, Math.max(from, p)); from = null; if (b - a > 12) { x = [inv(a), inv(b)]; draw(); } });
  svg.addEventListener('pointerleave', () => { if (from === null) say(null); });
  svg.addEventListener('dblclick', () => reset.click());
  svg.addEventListener('keydown', e => { const k = { ArrowRight: 1, ArrowLeft: -1 }[e.key]; if (!k) return; e.preventDefault(); const i = at === null ? (k > 0 ? 0 : places.length - 1) : Math.max(0, Math.min(places.length - 1, places.indexOf(at) + k)); say(places[i]); });
}
// Tables: sort by a column, filter, CSV.
function rows(table) {
  const body = table.tBodies[0], rows = [...body.rows];
  const value = c => c.dataset.v !== undefined ? c.dataset.v : c.textContent;
  [...table.tHead.rows[0].cells].forEach((th, i) => {
    const b = el('button', { type: 'button' }, th.textContent); th.replaceChildren(b);
    b.onclick = () => { const up = th.getAttribute('aria-sort') !== 'ascending';
      [...table.tHead.rows[0].cells].forEach(o => o.removeAttribute('aria-sort')); th.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = r => { const v = value(r.cells[i]); return v === '' || isNaN(+v) ? v : +v; };
      rows.sort((p, q) => { const a = key(p), c = key(q); if (a === c) return 0; if (a === '') return 1; if (c === '') return -1; return ((typeof a === typeof c ? a < c : typeof a === 'number') ? -1 : 1) * (up ? 1 : -1); });
      body.append(...rows); }; });
  const find = el('input', { type: 'search', placeholder: 'filter: words, such as warm lr=0.1' }); find.setAttribute('aria-label', 'Filter rows');
  const count = el('span', { className: 'faint' });
  const texts = new Map(rows.map(r => [r, r.textContent.toLowerCase() + ' ' + [...r.cells].map((c, i) => table.tHead.rows[0].cells[i].textContent.toLowerCase() + '=' + c.textContent.toLowerCase()).join(' ')]));
  find.oninput = () => { const words = find.value.toLowerCase().split(/\s+/).filter(Boolean); let n = 0; rows.forEach(r => { const hit = words.every(w => texts.get(r).includes(w)); r.hidden = !hit; n += hit; }); count.textContent = words.length ? `${n} of ${rows.length} rows` : ''; };
  const csv = el('button', { type: 'button' }, 'CSV');
  csv.onclick = () => save(table.dataset.csv, [table.tHead.rows[0], ...rows.filter(r => !r.hidden)].map(r => [...r.cells].map(c => quoted(c.dataset.c || c.textContent)).join(',')).join('\n') + '\n');
  (table.closest('.scroll') || table).before(el('div', { className: 'tools' }, find, csv, count));
}

// Copy buttons, and stages that open when they are led to.
function copy(code) { const b = el('button', { type: 'button', className: 'copy' }, 'copy');
  b.setAttribute('aria-label', 'Copy ' + code.textContent);
  b.onclick = async () => { try { await navigator.clipboard.writeText(code.textContent); b.textContent = 'copied'; } catch { const r = document.createRange(); r.selectNodeContents(code); const s = getSelection(); s.removeAllRanges(); s.addRange(r); b.textContent = 'selected'; } setTimeout(() => b.textContent = 'copy', 1500); }; code.after(' ', b); }
const enhance = root => { root.querySelectorAll('figure.curves').forEach(curves); root.querySelectorAll('table[data-csv]').forEach(rows); root.querySelectorAll('code[data-copy]').forEach(copy); };

/* watch */
enhance(document);
const open = () => { const e = location.hash && document.getElementById(location.hash.slice(1)); if (e && e.tagName === 'DETAILS') { e.open = true; e.scrollIntoView(); } };
addEventListener('hashchange', open); open();
})();
