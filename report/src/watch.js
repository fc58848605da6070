// A page that is watched: parts that are new take the place of the old ones; the others stay as their reader left them.
function watch() {
  const parts = doc => [doc.querySelector('header'), ...doc.querySelectorAll('main > section')];
  const texts = parts(document).map(p => p.outerHTML), note = el('p', { className: 'faint' });
  note.setAttribute('role', 'status'); document.querySelector('footer').prepend(note);
  let etag = '';
  const ask = async () => {
    try {
      const answer = await fetch(location.pathname, { headers: etag ? { 'If-None-Match': etag } : {}, cache: 'no-store' });
      if (answer.ok) {
        etag = answer.headers.get('ETag') || '';
        const fresh = parts(new DOMParser().parseFromString(await answer.text(), 'text/html')), old = parts(document);
        if (fresh.length !== old.length) return location.reload();
        fresh.forEach((part, i) => { const text = part.outerHTML; if (text === texts[i]) return; texts[i] = text;
          const opened = [...old[i].querySelectorAll('details[open][id]')].map(d => d.id), at = scrollY;
          const taken = document.importNode(part, true); old[i].replaceWith(taken);
          opened.forEach(id => { const d = document.getElementById(id); if (d) d.open = true; });
          enhance(taken); scrollTo(0, at); });
        note.textContent = '';
      } else if (answer.status !== 304) note.textContent = await answer.text();
    } catch { note.textContent = 'repro report --watch has ended; this is what it showed last.'; }
    setTimeout(ask, 2000);
  };
  ask();
}
watch();
