'use strict';
// The chat page. Model text is shown as text while it streams; at the end the server's sanitised HTML takes its place.
// `parse` is the only place where HTML becomes nodes, and the only user of the page's one Trusted Types policy.
(() => {
const $ = id => document.getElementById(id);
const [log, box, message, title] = ['log', 'box', 'message', 'title'].map($);
const policy = window.trustedTypes?.createPolicy('pages', { createHTML: html => html });
const parse = html => [...new DOMParser().parseFromString(policy ? policy.createHTML(html) : html, 'text/html').body.childNodes];
const words = JSON.parse($('words').textContent);
const _ = text => words[text] ?? text; // a text is its own key; English needs no words
const wait = ms => new Promise(done => setTimeout(done, ms));

let me = null;      // {user_id, provider, model}
let thread = null;  // number of the open conversation; null: a new one
let run = null;     // the run being followed: {id, seq, entry, controller}
let oldest = null;  // where earlier messages begin
let opened = 0;     // counts what was opened, so that late answers to earlier questions change nothing
let pending = false; // a message is on its way and has no run yet
let loading = true;  // a conversation is being fetched: what was sent now, it would sweep away

class Refused extends Error {
  constructor(status, body) { super(body.detail || _('Something went wrong.')); this.status = status; this.body = body; }
}

async function ask(path, options = {}) {
  const answer = await fetch(path, { credentials: 'same-origin', ...options });
  if (answer.status === 401 && me) signedOut();
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
  return answer;
}
const api = (path, options) => ask(`/api/${encodeURIComponent(me.user_id)}/chat${path}`, options);
const json = async (path, options) => (await api(path, options)).json();
const sending = (method, body) => ({ method, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

// -- what is seen ---------------------------------------------------------------------------------------------------
function copy(id) { return $(id).content.firstElementChild.cloneNode(true); }
function say(text) { $('status').textContent = text; }
function notice(text) { $('notice').textContent = text || ''; $('notice').hidden = !text; }
const atEnd = () => box.scrollHeight - box.scrollTop - box.clientHeight < 80;
const toEnd = () => { box.scrollTop = box.scrollHeight; };

function entry(role, text) {
  const item = copy('t-message');
  item.classList.add(role);
  item.querySelector('use').setAttribute('href', role === 'user' ? '#i-user' : '#i-bot');
  item.setAttribute('aria-label', role === 'user' ? _('You') : _('Assistant'));
  const body = item.querySelector('.text');
  body.classList.add('plain');
  body.textContent = text;
  return item;
}

function finish(item, html) {
  item.classList.remove('writing');
  item.removeAttribute('aria-busy');
  if (html) {
    const body = item.querySelector('.text'), said = body.textContent;
    body.classList.remove('plain');
    body.replaceChildren(...parse(html));
    item.querySelector('.acts').replaceChildren(copier(said));
  }
}

function copier(said) {
  const button = copy('t-copy'), label = button.querySelector('span');
  button.addEventListener('click', async () => {
    const done = await navigator.clipboard?.writeText(said).then(() => true, () => false);
    label.textContent = done ? _('Copied') : _('Cannot copy here');
    say(label.textContent);
    await wait(1500);
    label.textContent = _('Copy');
  });
  return button;
}

function mark(item, text) {
  const place = item.querySelector('.mark');
  place.textContent = text;
  place.hidden = !text;
}

function tool(item, name, parameters) {
  const shown = copy('t-tool');
  shown.querySelector('code').textContent = name;
  shown.querySelector('span').textContent = _('running…');
  shown.querySelectorAll('pre')[0].textContent = JSON.stringify(parameters, null, 2);
  item.querySelector('.tools').append(shown);
  return shown;
}

function toolEnded(shown, result, status, duration) {
  const said = { ok: _('done'), error: _('failed'), interrupted: _('interrupted') }[status] || status;
  shown.classList.toggle('error', status !== 'ok');
  shown.querySelector('span').textContent = duration == null ? said : `${said}, ${duration} ms`;
  shown.querySelectorAll('pre')[1].textContent = result == null ? '' : typeof result === 'string' ? result : JSON.stringify(result, null, 2);
}

function offerAgain() {
  log.querySelectorAll('.again').forEach(button => button.remove());
  const last = log.lastElementChild;
  if (!last || run || pending) return;
  const button = copy('t-again');
  button.addEventListener('click', again);
  last.querySelector('.acts').append(button);
}

function state() {
  const busy = Boolean(run) || pending;
  $('stop').hidden = !run;
  $('send').hidden = Boolean(run);
  $('send').disabled = pending || loading;
  $('delete').hidden = title.disabled = thread === null;
  $('hello').hidden = loading;
  if (!busy) offerAgain(); else log.querySelectorAll('.again').forEach(button => button.remove());
}

const MARKS = { stopped: _('Stopped.'), interrupted: _('The server stopped while this was written.') };
const ended = (status, error) => error?.detail || MARKS[status] || '';

// -- a run ----------------------------------------------------------------------------------------------------------
async function* linesOf(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line) yield JSON.parse(line);
  }
}

function take(current, event) {
  const stay = atEnd();
  const { entry: item, tools } = current;
  const body = item.querySelector('.text');
  switch (event.type) {
    case 'text': body.append(event.delta); break;
    case 'tool_call': tools.set(event.call_id, tool(item, event.tool_name, event.parameters)); break;
    case 'tool_result': {
      const shown = tools.get(event.call_id);
      if (shown) toolEnded(shown, event.result, event.is_error ? 'error' : 'ok', event.duration_ms);
      break;
    }
    case 'snapshot':
      body.textContent = event.response;
      item.querySelector('.tools').replaceChildren();
      for (const call of event.tool_calls) toolEnded(tool(item, call.tool_name, call.parameters), call.result, call.status, call.duration_ms);
      break;
    case 'done': case 'error':
      for (const shown of tools.values()) if (shown.querySelector('span').textContent === _('running…')) toolEnded(shown, null, 'interrupted');
      finish(item, event.html);
      mark(item, event.type === 'error' ? event.detail : ended(event.status));
      say(event.type === 'error' ? event.detail : _('The answer is complete.'));
      break;
  }
  if (event.seq) current.seq = event.seq;
  if (stay) toEnd();
  return event.type === 'done' || event.type === 'error';
}

async function follow(answer, item, turn) {
  const current = run = { id: null, seq: 0, entry: item, tools: new Map() };
  item.classList.add('writing');
  item.setAttribute('aria-busy', 'true');
  state();
  for (let failures = 0; turn === opened;) {
    try {
      for await (const event of linesOf(answer)) {
        if (turn !== opened) return;
        failures = 0;
        if (event.type === 'started') begun(current, event);
        if (take(current, event)) return over(current);
      }
    } catch (trouble) {
      if (trouble instanceof Refused && trouble.status < 500) { finish(item); mark(item, trouble.message); return over(current); }
    }
    if (!current.id || ++failures > 8) { finish(item); mark(item, _('The connection was lost.')); return over(current); }
    await wait(Math.min(5000, 250 * 2 ** failures));
    answer = await api(`/runs/${current.id}/events?after=${current.seq}`).catch(trouble => ({ body: new ReadableStream({ start: c => c.error(trouble) }) }));
  }
}

function begun(current, event) {
  current.id = event.run_id;
  pending = false;
  if (thread === null) { thread = event.conversation_id; address(); threads(); }
  state();
}

function over(current) {
  if (run === current) run = null;
  const stay = atEnd();
  state();
  if (stay) toEnd();
  threads();
}

async function send(text) {
  if (run || pending) return;
  const turn = opened;
  notice();
  pending = true;
  const asked = entry('user', text), item = entry('assistant', '');
  log.append(asked);
  state();
  toEnd();
  const key = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2) + Date.now();
  const options = sending('POST', { message: text, ...(thread === null ? {} : { conversation_id: thread }) });
  options.headers['Idempotency-Key'] = key;
  for (let attempt = 1; ; attempt++) {
    try {
      const answer = await api('/stream', options);
      if (turn !== opened) return;
      log.append(item);
      toEnd();
      return await follow(answer, item, turn);
    } catch (trouble) {
      if (turn !== opened) return;
      const again = !(trouble instanceof Refused) && attempt < 4;
      if (again) { await wait(400 * attempt); continue; }
      pending = false;
      asked.remove();
      message.value = message.value || text;
      notice(trouble instanceof Refused ? trouble.message : _('The server cannot be reached. Your message is still in the box.'));
      state();
      if (trouble.body?.code === 'conversation_busy') open(thread);
      return;
    }
  }
}

async function again() {
  if (run || pending || thread === null) return;
  const turn = opened;
  notice();
  pending = true;
  state();
  try {
    const answer = await api(`/conversations/${thread}/regenerate`, { method: 'POST' });
    if (turn !== opened) return;
    const item = entry('assistant', '');
    const last = log.lastElementChild;
    if (last?.classList.contains('assistant')) last.replaceWith(item); else log.append(item);
    toEnd();
    await follow(answer, item, turn);
    if (turn === opened && item.querySelector('.mark').textContent) await open(thread, item.querySelector('.mark').textContent);
  } catch (trouble) {
    pending = false;
    notice(trouble.message);
    state();
  }
}

async function stop() {
  if (run?.id) await api(`/runs/${run.id}/stop`, { method: 'POST' }).catch(trouble => notice(trouble.message));
  message.focus();
}

// -- conversations --------------------------------------------------------------------------------------------------
function address() {
  const wanted = thread === null ? '/chat/' : `/chat/?c=${thread}`;
  if (location.pathname + location.search !== wanted) history.pushState({}, '', wanted);
}

function dress(item, made) {
  for (const call of made.tool_calls) toolEnded(tool(item, call.tool_name, call.parameters), call.result, call.status, call.duration_ms);
  mark(item, ended(made.status, made.error));
}

function show(messages) {
  const items = [];
  let made = null; // the run of a question that has no answer yet
  const unanswered = () => {
    if (!made || made.status === 'running') return;
    const item = entry('assistant', '');
    dress(item, made);
    items.push(item);
  };
  for (const one of messages) {
    const item = entry(one.role, one.content);
    if (one.role === 'user') {
      unanswered();
      made = one.run;
    } else {
      finish(item, one.html);
      if (made) dress(item, made); else if (one.partial) mark(item, _('This answer is not complete.'));
      made = null;
    }
    items.push(item);
  }
  unanswered();
  return items;
}

async function open(number, remark) {
  const turn = ++opened;
  thread = number;
  run = null;
  pending = false;
  loading = number !== null;
  oldest = null;
  notice(remark);
  $('earlier').hidden = true;
  $('hello').hidden = loading;
  close();
  if (number === null) {
    log.replaceChildren();
    title.value = document.title = _('New chat');
    address();
    current();
    state();
    message.focus();
    return;
  }
  try {
    const [about, page] = await Promise.all([json(`/conversations/${number}`), json(`/conversations/${number}/messages`)]);
    if (turn !== opened) return;
    title.value = document.title = about.title;
    log.replaceChildren(...show(page.items.reverse()));
    oldest = page.next_before;
    $('earlier').hidden = oldest === null;
    address();
    current();
    loading = false;
    state();
    toEnd();
    if (about.live_run_id) {
      const item = entry('assistant', '');
      log.append(item);
      await follow(await api(`/runs/${about.live_run_id}/events`), item, turn);
    }
  } catch (trouble) {
    if (turn !== opened) return;
    loading = false;
    state();
    if (trouble.status === 404) { await open(null); notice(_('There is no such conversation.')); } else notice(trouble.message);
  }
}

async function earlier() {
  const turn = opened, height = box.scrollHeight;
  const page = await json(`/conversations/${thread}/messages?before=${oldest}`);
  if (turn !== opened) return;
  log.prepend(...show(page.items.reverse()));
  oldest = page.next_before;
  $('earlier').hidden = oldest === null;
  box.scrollTop += box.scrollHeight - height;
}

let shown = 30;
async function threads() {
  if (!me) return;
  const page = await json(`/conversations?limit=${shown}`).catch(() => null);
  if (!page) return;
  $('threads').replaceChildren(...page.items.map(one => {
    const item = document.createElement('li'), link = document.createElement('a');
    link.href = `/chat/?c=${one.id}`;
    link.textContent = one.title;
    link.dir = 'auto';
    link.dataset.id = one.id;
    item.append(link);
    if (one.id === thread) title.value = document.activeElement === title ? title.value : one.title;
    return item;
  }));
  $('none').hidden = page.items.length > 0;
  $('more').hidden = page.next_before === null || shown >= 200;
  current();
}

function current() {
  for (const link of $('threads').querySelectorAll('a')) {
    if (Number(link.dataset.id) === thread) link.setAttribute('aria-current', 'page'); else link.removeAttribute('aria-current');
  }
}

const close = () => { $('side').classList.remove('open'); $('menu').setAttribute('aria-expanded', 'false'); };
const fromAddress = () => { const c = new URLSearchParams(location.search).get('c'); return /^\d{1,10}$/.test(c || '') ? Number(c) : null; };

// -- signing in -----------------------------------------------------------------------------------------------------
async function signIn(token) {
  await ask('/chat/session', { method: 'POST', headers: { Authorization: `Bearer ${token}` } });
}

// A link with somebody else's token must not quietly have people write into that account.
async function wanted(token) {
  const before = await ask('/chat/session').then(answer => answer.json()).catch(() => null);
  let user = null;
  try { user = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub; } catch { /* the server will say */ }
  return !before?.user_id || before.user_id === user || confirm(_('You are signed in as {user}. Sign in as {other} instead?').replace('{user}', () => before.user_id).replace('{other}', () => user));
}

async function enter() {
  const found = new URLSearchParams(location.hash.slice(1)).get('token');
  if (found) {
    history.replaceState({}, '', location.pathname + location.search);
    if (await wanted(found)) await signIn(found).catch(() => {});
  }
  try { me = await (await ask('/chat/session')).json(); } catch {
    return notice(_('The server cannot be reached. Reload the page to try again.'));
  }
  if (!me.user_id) return void signedOut();
  if ($('door').open) $('door').close();
  const demo = me.provider === 'demo';
  $('badge').hidden = false;
  $('badge').classList.toggle('model', !demo);
  $('badge').textContent = demo ? _('Demo: rules, not AI') : me.model;
  $('about').textContent = demo ? _('This is the rule-based demo, not an AI model. It keeps a to-do list:') : '';
  $('ideas').replaceChildren(...(demo ? IDEAS : []).map(idea));
  $('leave').hidden = false;
  threads();
  open(fromAddress());
  $('who').textContent = _('Signed in as {user}').replace('{user}', () => me.user_id);
}

const IDEAS = ['Add buy milk', 'List tasks', 'Complete 1'];
function idea(text) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'btn';
  button.textContent = text;
  button.addEventListener('click', () => { message.focus(); send(text); });
  return button;
}

function signedOut() {
  me = null;
  if (!$('door').open) $('door').showModal();
}

// -- hands ----------------------------------------------------------------------------------------------------------
$('say').addEventListener('submit', event => {
  event.preventDefault();
  const text = message.value;
  if (!text.trim() || run || pending || loading) return;
  message.value = '';
  send(text);
});
message.addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) { event.preventDefault(); $('say').requestSubmit(); }
});
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') { if ($('side').classList.contains('open')) close(); else if (run) stop(); }
});
$('stop').addEventListener('click', stop);
$('new').addEventListener('click', () => open(null));
$('leave').addEventListener('click', async () => {
  try { await ask('/chat/session', { method: 'DELETE' }); location.assign('/chat/'); } catch (trouble) { notice(trouble.message); }
});
$('earlier').addEventListener('click', () => earlier().catch(trouble => notice(trouble.message)));
$('more').addEventListener('click', () => { shown = Math.min(200, shown + 50); threads(); });
$('menu').addEventListener('click', event => {
  event.stopPropagation();
  $('menu').setAttribute('aria-expanded', String($('side').classList.toggle('open')));
  if ($('side').classList.contains('open')) $('new').focus();
});
document.addEventListener('click', event => { if (!$('side').contains(event.target)) close(); });
$('threads').addEventListener('click', event => {
  const link = event.target.closest('a');
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  open(Number(link.dataset.id));
});
title.addEventListener('change', async () => {
  const number = thread, wanted = title.value.trim();
  if (number === null || !wanted) return;
  await json(`/conversations/${number}`, sending('PATCH', { title: wanted })).catch(trouble => notice(trouble.message));
  threads();
});
title.addEventListener('keydown', event => { if (event.key === 'Enter') title.blur(); });
$('delete').addEventListener('click', async () => {
  if (thread === null || !confirm(_('Delete this conversation for good?'))) return;
  try { await api(`/conversations/${thread}`, { method: 'DELETE' }); await open(null); threads(); } catch (trouble) { notice(trouble.message); }
});
$('sign-in').addEventListener('submit', async event => {
  event.preventDefault();
  try { await signIn($('token').value.trim()); $('token').value = ''; $('refused').hidden = true; await enter(); } catch (trouble) {
    $('refused').textContent = trouble.message;
    $('refused').hidden = false;
  }
});
$('door').addEventListener('cancel', event => event.preventDefault());
addEventListener('popstate', () => { if (me) open(fromAddress()); });
addEventListener('hashchange', () => { if (location.hash.includes('token=')) enter(); });
enter();
})();
