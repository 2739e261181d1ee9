// Makes the pages quicker to use. Everything works without it; nothing here comes from elsewhere.
const $ = (css, root = document) => root.querySelector(css);
const all = (css, root = document) => [...root.querySelectorAll(css)];
const policy = self.trustedTypes?.createPolicy('agentsight', { createHTML: html => html });
const parse = html => new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html'); // our server's pages only
const say = words => { const place = $('#say'); if (place) place.textContent = words; };
const typing = () => /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName);

// -- going elsewhere without losing one's place: <a data-swap>, <form data-swap>
let asking;
async function swap(url, remember = true) {
  asking?.abort();
  asking = new AbortController();
  const main = $('#main');
  main.setAttribute('aria-busy', 'true');
  try {
    const answer = await fetch(url, { headers: { 'X-Swap': 'main' }, signal: asking.signal });
    if (!answer.ok || answer.redirected && new URL(answer.url).pathname === '/login') throw new Error(answer.status);
    const page = parse(await answer.text()), focused = document.activeElement, at = focused?.selectionStart;
    main.replaceChildren(...$('#main', page).childNodes);
    document.title = page.title;
    if (remember) history.pushState(null, '', answer.url);
    const again = focused?.id && document.getElementById(focused.id);
    if (again) { again.focus(); if (at != null && again.type === 'search') again.setSelectionRange(at, at); }
    start(main);
    say($('.chips', main)?.innerText ?? document.title);
  } catch (error) {
    if (error.name !== 'AbortError') location.assign(url);
  } finally { main.removeAttribute('aria-busy'); }
}
function address(form) {
  const url = new URL(form.getAttribute('action') || location.pathname, location);
  for (const [name, value] of new FormData(form)) if (value) url.searchParams.append(name, value);
  return url;
}
addEventListener('click', event => {
  const link = event.target.closest('a[data-swap][href]');
  if (link && !event.metaKey && !event.ctrlKey && !event.shiftKey && event.button === 0) { event.preventDefault(); swap(link.href); }
  if (event.target.closest('[data-copy]')) navigator.clipboard?.writeText(location.href).then(() => say('✓'));
  if (event.target.closest('[data-print]')) print();
  for (const menu of all('details.menu[open]')) if (!menu.contains(event.target)) menu.open = false;
});
addEventListener('submit', event => {
  if (event.target.matches('form[data-swap]')) { event.preventDefault(); swap(address(event.target)); }
});
let later;
addEventListener('input', event => {
  const form = event.target.closest('form[data-auto]');
  if (!form || event.target.closest('.pop')) return;
  clearTimeout(later);
  later = setTimeout(() => swap(address(form)), event.target.type === 'search' ? 240 : 0);
});
addEventListener('popstate', () => swap(location.href, false));

// -- keys
const rows = () => all('[data-rows] tbody tr');
function step(by) {
  const list = rows(), at = list.findIndex(row => row.classList.contains('at'));
  const next = list[Math.max(0, Math.min(list.length - 1, at + by))];
  list[at]?.classList.remove('at');
  next?.classList.add('at');
  next && $('.open', next).focus();
}
addEventListener('keydown', event => {
  if (event.key === 'Escape') for (const menu of all('details.menu[open]')) { menu.open = false; $('summary', menu).focus(); }
  if (typing() || event.metaKey || event.ctrlKey || event.altKey) return;
  if (event.key === '/') { event.preventDefault(); ($('#q') ?? $('#find'))?.focus(); }
  else if (event.key === 'j') step(1);
  else if (event.key === 'k') step(-1);
  else all('[data-key]').find(each => each.dataset.key === event.key && !each.ariaDisabled)?.click();
});

// -- whenever a page or a part of it is new
function start(root) {
  for (const each of all('[data-copy], [data-keys]', root)) each.hidden = false;
  $('form[data-at-once]', root)?.requestSubmit();
}
start(document);
