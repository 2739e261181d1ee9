// Makes the pages quicker to use. Everything works without it; nothing here comes from elsewhere.
const $ = (css, root = document) => root.querySelector(css);
const all = (css, root = document) => [...root.querySelectorAll(css)];
const policy = self.trustedTypes?.createPolicy('pages', { createHTML: html => html });
const parse = html => new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html'); // our server's pages only
const say = words => { const place = $('#say'); if (place) place.textContent = words; };
const typing = () => /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName);

// -- going elsewhere without losing one's place: <a data-swap>, <form data-swap>
let asking;
async function load(url, signal) {
  const answer = await fetch(url, { headers: { 'X-Swap': 'main' }, signal });
  if (!answer.ok || answer.redirected && new URL(answer.url).pathname === '/login') throw new Error(answer.status);
  return [parse(await answer.text()), answer.url];
}
async function swap(url, remember = true) {
  asking?.abort();
  asking = new AbortController();
  const main = $('#main');
  main.setAttribute('aria-busy', 'true');
  try {
    const [page, address] = await load(url, asking.signal), focused = document.activeElement, at = focused?.selectionStart;
    main.replaceChildren(...$('#main', page).childNodes);
    document.title = page.title;
    if (remember) history.pushState(null, '', address);
    const again = focused?.id && document.getElementById(focused.id);
    if (again) {
      again.focus();
      if (again.type === 'search') { if (remember) again.value = focused.value; again.setSelectionRange(at, at); } // they typed on meanwhile
    }
    start(main);
    if ($('#gone')) $('#gone').hidden = true;
    say($('.chips', main)?.innerText ?? document.title);
  } catch (error) {
    if (error instanceof TypeError && $('#gone')) $('#gone').hidden = false; // no answer: what is shown stays
    else if (error.name !== 'AbortError') location.assign(url);
  } finally { main.removeAttribute('aria-busy'); }
}
function address(form) {
  const url = new URL(form.getAttribute('action') || location.pathname, location);
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.append(name, value);
  return url;
}
addEventListener('click', event => {
  const link = event.target.closest('a[data-swap][href]'), tab = event.target.closest('[role=tab]');
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) { event.preventDefault(); swap(link.href); }
  if (tab) choose(tab);
  const copied = event.target.closest('[data-copy]')?.dataset.copy; // words, a place that holds them, or the page's address
  if (copied != null) navigator.clipboard?.writeText(copied[0] === '#' ? $(copied).textContent : copied || location.href).then(() => say('✓'));
  if (event.target.closest('[data-print]')) print();
  if (event.target.closest('[data-keys]')) $('#keys').showModal();
  const chart = event.target.closest('.ts-p');
  if (chart) $('a', body(chart.parentNode)[chart.parentNode.at ?? 0])?.click();
  for (const menu of all('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener('submit', event => {
  const form = event.target;
  if (form.method === 'post') { // once is enough, however slow the line; what comes back may be a file
    if (form.dataset.sent) return event.preventDefault();
    form.dataset.sent = '1';
    event.submitter?.setAttribute('aria-busy', 'true');
    setTimeout(() => { delete form.dataset.sent; event.submitter?.removeAttribute('aria-busy'); }, 8000);
  }
  if (event.target.matches('form[data-swap]')) { event.preventDefault(); swap(address(event.target)); }
});
let later, worn;
async function wear(form) { // a form that shows what it would do before it does it: <form data-try>
  const url = new URL(form.dataset.try, location), told = [...new FormData(form)].filter(([name]) => !/^(csrf|password)$/.test(name));
  for (const [name] of told) url.searchParams.delete(name);
  for (const [name, value] of told) url.searchParams.append(name, value);
  const [page] = await load(url).catch(() => []), fresh = page && $('#try', page), sheet = fresh && $('link', fresh);
  if (!sheet) return fresh && $('#try').replaceWith(fresh);
  document.head.append(sheet);
  sheet.onload = () => { $('#try').replaceWith(fresh); worn?.remove(); worn = sheet; };
}
addEventListener('input', event => {
  const trying = event.target.closest('form[data-try]'), form = event.target.closest('form[data-auto]');
  if (trying) { clearTimeout(later); later = setTimeout(wear, 150, trying); }
  if (!form || event.target.closest('.pop')) return;
  clearTimeout(later);
  later = setTimeout(() => swap(address(form)), event.target.type === 'search' ? 240 : 0);
});
addEventListener('popstate', () => swap(location.href, false));

// -- tabs
function choose(tab) {
  for (const each of all('[role=tab]', tab.parentNode)) {
    const on = each === tab;
    each.setAttribute('aria-selected', on);
    each.tabIndex = on ? 0 : -1;
    document.getElementById(each.getAttribute('aria-controls')).hidden = !on;
  }
}

// -- keys
let going = 0;
function step(by) {
  const list = all('[data-rows] tbody tr'), at = list.findIndex(row => row.classList.contains('at'));
  const next = list[Math.max(0, Math.min(list.length - 1, at + by))];
  list[at]?.classList.remove('at');
  next?.classList.add('at');
  next && $('.open', next).focus();
}
addEventListener('keydown', event => {
  const { key, target } = event, chart = target.closest?.('.ts'), cell = target.closest?.('.heat td'), tab = target.closest?.('[role=tab]');
  if (key === 'Escape') { hide(); for (const menu of all('details.menu[open]')) { menu.open = false; $('summary', menu).focus(); } }
  if (chart && /^(Arrow(Left|Right)|Home|End|Enter)$/.test(key)) {
    event.preventDefault();
    const last = body(chart).length - 1, at = chart.at ?? last + 1;
    if (key === 'Enter') return $('a', body(chart)[chart.at])?.click();
    point(chart, Math.max(0, Math.min(last, { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last }[key])), true);
  } else if (cell && key.startsWith('Arrow')) {
    event.preventDefault();
    const across = { ArrowLeft: -1, ArrowRight: 1 }[key] ?? 0, down = { ArrowUp: -1, ArrowDown: 1 }[key] ?? 0;
    const next = cell.closest('table').rows[cell.parentNode.rowIndex + down]?.cells[cell.cellIndex + across];
    if (next?.matches('td[class]')) { cell.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  } else if (cell && key === 'Enter') $('a', cell)?.click();
  else if (tab && /^Arrow(Left|Right)$/.test(key)) {
    const tabs = all('[role=tab]', tab.parentNode), next = tabs[(tabs.indexOf(tab) + 1) % tabs.length];
    next.focus();
    choose(next);
  }
  if (key === 'k' && (event.metaKey || event.ctrlKey) && $('#palette')) {
    event.preventDefault();
    import($('#palette').dataset.js).then(palette => palette.open());
  }
  if (typing() || event.metaKey || event.ctrlKey || event.altKey || $('dialog[open]')) return;
  if (going && Date.now() - going < 1200 && /^[ac]$/.test(key)) return $(`[data-go=${key}]`)?.click();
  going = key === 'g' ? Date.now() : 0;
  if (key === '/') { event.preventDefault(); ($('#q') ?? $('#find'))?.focus(); }
  else if (key === '?') $('#keys')?.showModal();
  else if (key === 'j') step(1);
  else if (key === 'k') step(-1);
  else {
    const found = all('[data-key]').find(each => each.dataset.key === key && !each.ariaDisabled);
    found?.matches('details') ? (found.open = !found.open) && $('input', found)?.focus() : found?.click();
  }
});

// -- what a chart says under the pointer
const tip = $('#tip');
const made = (name, words, css) => { const each = document.createElement(name); each.textContent = words; if (css) each.className = css; return each; };
const hide = () => { tip.hidden = true; for (const cross of all('.cross')) cross.hidden = true; };
function show(x, y, head, lines) {
  tip.replaceChildren(made('b', head), ...lines.map(([name, value, css]) => { const line = made('div', '', css); line.append(made('span', name), made('b', value)); return line; }));
  tip.hidden = false;
  const left = Math.max(6, Math.min(innerWidth - tip.offsetWidth - 6, x - tip.offsetWidth / 2)), top = y - tip.offsetHeight - 12;
  tip.style.transform = `translate(${Math.round(left)}px,${Math.round(top < 4 ? y + 16 : top)}px)`;
}
const table = chart => $('table', chart.nextElementSibling);
const body = chart => [...table(chart).tBodies[0].rows];
function point(chart, at, aloud) {
  const row = body(chart)[at], heads = [...table(chart).tHead.rows[0].cells].slice(1), plot = $('.ts-p', chart).getBoundingClientRect();
  if (!row) return;
  const part = body(chart).length > 1 ? at / (body(chart).length - 1) : 0, cross = $('.cross', chart), title = row.cells[0].innerText;
  const lines = heads.map((head, place) => { const cell = row.cells[place + 1]; return [head.textContent + (cell.dataset.when ? ` (${cell.dataset.when})` : ''), cell.textContent, head.dataset.css]; });
  chart.at = at;
  cross.hidden = false;
  cross.style.left = `${part * 100}%`;
  show(plot.left + part * plot.width, plot.top + 10, title, lines);
  if (aloud) say(`${title}: ${lines.map(line => line[0] + ' ' + line[1]).join(', ')}`);
}
function tell(cell) {
  const grid = cell.closest('table'), box = cell.getBoundingClientRect(), hour = grid.tHead.rows[0].cells[cell.cellIndex].textContent.padStart(2, '0');
  show(box.left + box.width / 2, box.top, `${cell.parentNode.cells[0].textContent} ${hour}:00`, [[grid.dataset.unit, cell.textContent]]);
}
addEventListener('pointermove', event => {
  const over = css => event.target.closest?.(css), chart = over('.ts'), cell = over('.heat td[class]'), other = over('[data-tip]');
  if (chart) {
    const plot = $('.ts-p', chart).getBoundingClientRect(), last = body(chart).length - 1;
    point(chart, Math.max(0, Math.min(last, Math.round((event.clientX - plot.left) / plot.width * last))));
  } else if (cell) tell(cell);
  else if (other) { const [head, value, unit] = other.dataset.tip.split('|'); show(event.clientX, event.clientY, head, value ? [[unit ?? '', value]] : []); }
  else if (!tip.hidden) hide();
}, { passive: true });
addEventListener('focusin', event => { if (event.target.matches?.('.heat td')) { const cell = event.target; tell(cell); say(tip.innerText); } });
addEventListener('focusout', () => tip && hide());
addEventListener('scroll', () => tip && !tip.hidden && hide(), { passive: true });

// -- live: look again when the server says something is new, but never at what somebody reads or uses
const pill = $('[data-live]');
let source, waits;
const busy = part => part.matches(':hover, :focus-within') || part.querySelector('details[open]');
async function refresh() {
  if ($('[data-first-event]')) return swap($('[data-first-event]').dataset.firstEvent, false);
  const parts = all('[data-part]').filter(part => !busy(part));
  if (typing() || !parts.length || new URLSearchParams(location.search).has('before')) return;
  const [page] = await load(location.href).catch(() => []);
  for (const part of page ? parts : []) {
    const fresh = $(`[data-part=${part.dataset.part}]`, page);
    if (fresh && fresh.textContent !== part.textContent && !busy(part)) { part.replaceWith(fresh); start(fresh); }
  }
}
function listen() {
  source?.close();
  clearInterval(waits);
  if (document.hidden || !pill) return;
  source = new EventSource(pill.dataset.live);
  source.onopen = () => { pill.hidden = false; pill.classList.add('on'); };
  source.onerror = () => { pill.classList.remove('on'); if (source.readyState === 2) waits ||= setInterval(refresh, 30000); };
  source.addEventListener('new', refresh);
}
addEventListener('visibilitychange', listen);

// -- whenever a page or a part of it is new
function start(root) {
  for (const each of all('[data-copy], [data-keys], [data-print]', root)) each.hidden = false;
  for (const tabs of all('.tabs', root)) { tabs.classList.add('on'); choose($('[role=tab]', tabs)); }
  for (const grid of all('.heat', root)) for (const [place, cell] of all('td[class]', grid).entries()) cell.tabIndex = place ? -1 : 0;
  $('form[data-at-once]', root)?.requestSubmit();
}
start(document);
listen();
