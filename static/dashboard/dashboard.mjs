/*
 * The dashboard: a page that listens to the server's own figures, over Shaveet, and draws them.
 *
 * From the top: the calls that it may make, listening, what is drawn each second (tiles, busiest channels, limits, losses),
 * finding, and the dialogue about one channel or client. Whatever comes from outside is put in as text, never as HTML.
 */

import { Shaveet } from './shaveet.mjs';

const BASE = new URL('.', import.meta.url).href;
const TOKEN = 'shaveet dashboard token';
const SECONDS = 120;          // that charts show, when they have them,
const SECONDS_MIN = 30;       // and at first
const WINDOW = 10;            // over which latencies are taken, in seconds
const STALE_MS = 4000;        // without figures: the server has begun anew, perhaps
const TAIL_MS = 500;          // how often a channel is looked at that is followed
const TAIL_MAX = 300;         // messages that are shown of it,
const DATA_CHARS = 2000;      // and characters of each
const FOUND_MAX = 60;
const LISTED_MAX = 500;       // clients or channels that are listed in a dialogue
const NEAR = 0.8, FULL = 0.95;

const find = (selector) => document.querySelector(selector);

/** An element with these properties and, as text or elements, this content. */
function make(tag, properties = {}, ...content) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...content);
  return element;
}

// Numbers --------------------------------------------------------------------------------------------------------------

const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });
const whole = new Intl.NumberFormat('en');

function number(value) { return value < 1000 ? compact.format(Math.round(value * 10) / 10) : compact.format(value); }

function bytes(value) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  for (; value >= 1000 && at < units.length - 1; at++) value /= 1024;
  return `${compact.format(value)} ${units[at]}`;
}

function time(seconds) {
  for (const [unit, length] of [['d', 86400], ['h', 3600], ['min', 60]])
    if (seconds >= 2 * length) return `${Math.floor(seconds / length)} ${unit}`;
  return `${Math.max(0, Math.round(seconds))} s`;
}

function short(text, most) { return text.length > most ? `${text.slice(0, most)}…` : text; }

// Calls ----------------------------------------------------------------------------------------------------------------

class Unauthorized extends Error {}

async function post(path, body, keepalive = false) {
  const token = sessionStorage.getItem(TOKEN), headers = { 'Content-Type': 'application/json' };
  if (token) headers.Authorization = `Bearer ${token}`;
  const response = await fetch(BASE + path, { method: 'POST', headers, body: JSON.stringify(body), cache: 'no-store', keepalive });
  if (response.status === 401) throw new Unauthorized(token ? 'This is not the token.' : '');
  if (!response.ok) throw new Error(response.status === 404 ? 'You may not see this any more.' : await response.text());
  return response.json();
}

async function call(method, ...params) {
  const { result, error } = await post('call', { jsonrpc: '2.0', id: 1, method, params });
  if (error) throw new Error(error.message);
  return result;
}

// Listening ------------------------------------------------------------------------------------------------------------

const TRANSPORTS = { websocket: 'WebSocket', sse: 'server-sent events', longpoll: 'long poll' };
let connection = null, client = null, heardAt = 0, opening = false;

async function open() {
  client = await post('open', {});
  return client;
}

async function begin() {
  if (opening) return;
  opening = true;
  try {
    const { clientId, key } = await open();
    connection?.close();
    connection = new Shaveet({ clientId, key, url: BASE, transports: Object.keys(TRANSPORTS), shared: false, renew: open });
    connection.on('*', ({ data }) => take(JSON.parse(data)));
    connection.on('status', tell);
    [find('main').hidden, find('#login').hidden] = [false, true];
    find('#forget').hidden = !sessionStorage.getItem(TOKEN);
  } catch (error) {
    if (error instanceof Unauthorized) askForToken(error.message);
    else state(error.message);
  }
  heardAt = Date.now();
  opening = false;
}

function tell({ state: name, transport, waitMs }) {
  if (name === 'connected') state(`live by ${TRANSPORTS[transport]}`, true);
  else if (name !== 'closed') state(waitMs ? `${name} ${(waitMs / 1000).toFixed(1)} s` : name);
}

function state(text, isLive = false) {
  find('#state').textContent = text;
  find('#state').className = isLive ? 'live' : '';
}

function askForToken(why) {
  sessionStorage.removeItem(TOKEN);
  connection?.close();
  connection = null;
  [find('main').hidden, find('#login').hidden, find('#forget').hidden] = [true, false, true];
  find('#refused').textContent = why;
  state('closed');
  find('#token').value = '';
  find('#token').focus();
}

// A server that was upgraded keeps the connection, and does not know any more what it is for.
setInterval(() => {
  if (find('#login').hidden && !document.hidden && Date.now() - heardAt > STALE_MS && (!connection || connection.status.state === 'connected')) begin();
}, 1000);

// A page that goes need not be waited for.
addEventListener('pagehide', () => {
  if (!connection) return;
  post('call', { jsonrpc: '2.0', id: 1, method: 'kill_client', params: [client.clientId] }, true).catch(() => {});
});

find('#login').onsubmit = (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, find('#token').value.trim());
  begin();
};
find('#forget').onclick = () => askForToken('');

// Figures --------------------------------------------------------------------------------------------------------------

const past = []; // figures, the latest last

function take(figures) {
  heardAt = Date.now();
  const last = past.at(-1);
  // Counts that fall are of a server that has begun anew.
  if (last && (figures.at <= last.at || figures.accepted < last.accepted)) past.length = 0;
  past.push(figures);
  if (past.length > SECONDS) past.shift();
  note(figures, last);
  if (!document.hidden) draw();
}

/** How much a count has grown a second, between two figures. */
function rate(count, now, before) {
  return before ? Math.max(0, count(now) - count(before)) * 1000 / (now.at - before.at) : 0;
}

/** The bound of the histogram's bucket in which this share of the values ends, within the window; `null` if there are none. */
function quantile(counts, share, at) {
  const now = counts(past[at]), before = past[Math.max(0, at - WINDOW)], since = before === past[at] ? null : counts(before);
  const grown = now.map((count, place) => count - (since ? since[place] : count));
  let left = share * grown.reduce((sum, count) => sum + count, 0);
  if (!left) return null;
  return 2 ** grown.findIndex((count) => (left -= count) <= 0);
}

const total = (object) => Object.values(object).reduce((sum, count) => sum + count, 0);
const perSecond = (count) => (at) => at ? rate(count, past[at], past[at - 1]) : null;
const ms = (value) => value === null ? ['–', ''] : [`≤ ${number(value)}`, 'ms'];
const us = (value) => value === null ? ['–', ''] : value < 1000 ? [`≤ ${value}`, 'µs'] : [`≤ ${number(value / 1000)}`, 'ms'];
const each = (value) => value === null ? ['–', ''] : [number(value), '/s'];
const latest = (value) => value(past.length - 1) ?? 0;

const TILES = [
  {
    title: 'Messages in', value: perSecond(({ published }) => published[0]), show: each,
    note: () => `${number(latest(perSecond(({ published }) => published[1])))}/s joins, leaves`,
  }, {
    title: 'Messages out', value: perSecond(({ sent }) => sent), show: each,
    note: () => `${bytes(latest(perSecond((one) => one.sent_bytes)))}/s in all`,
  }, {
    title: 'Delivery, p99', value: (at) => quantile(({ latency }) => latency, 0.99, at), show: ms,
    note: () => `p50 ${ms(quantile(({ latency }) => latency, 0.5, past.length - 1)).join(' ')}`,
  }, {
    title: 'Pages listening', value: (at) => total(past[at].parked), show: (value) => [number(value), ''],
    note: ({ parked: { socket, events, poll, resume } }) => Object.entries({ socket, events, poll: poll + resume })
      .filter(([, count]) => count).map(([kind, count]) => `${kind} ${number(count)}`).join(' · '),
  }, {
    title: 'Clients', value: (at) => past[at].clients, show: (value) => [number(value), ''],
    note: ({ departed, channels }) => `${number(departed)} away · ${number(channels)} channels`,
  }, {
    title: 'Turn of the loop, p99', value: (at) => quantile(({ turns }) => turns, 0.99, at), show: us,
    note: () => `p50 ${us(quantile(({ turns }) => turns, 0.5, past.length - 1)).join(' ')}`,
  }, {
    title: 'Processor', value: perSecond(({ cpu }) => cpu * 100), show: (value) => [value === null ? '–' : number(value), '% of a core'],
    note: () => `${number(latest(perSecond(({ accepted }) => accepted)))}/s connections`, most: 10,
  }, {
    title: 'Memory', value: (at) => past[at].resident ?? past[at].memory_used, show: (value) => bytes(value).split(' '),
    note: ({ memory }) => Object.entries(memory).sort(([, a], [, b]) => b - a).slice(0, 1)
      .map(([kind, value]) => `most: ${kind} ${bytes(value)}`).join(''),
  },
];

for (const tile of TILES) {
  tile.chart = chart();
  Object.assign(tile, { number: make('span'), unit: make('small'), text: make('p', { className: 'note' }), marked: null });
  const value = make('p', { className: 'value' }, tile.number, tile.unit);
  find('#tiles').append(make('section', { className: 'card tile' }, make('p', { className: 'quiet', textContent: tile.title }), value, tile.text, tile.chart.svg));
  tile.chart.svg.onpointermove = ({ clientX }) => {
    const { left, width } = tile.chart.svg.getBoundingClientRect();
    tile.marked = Math.round((1 - (clientX - left) / width) * (span() - 1));
    drawTile(tile);
  };
  tile.chart.svg.onpointerleave = () => {
    tile.marked = null;
    drawTile(tile);
  };
}

function draw() {
  const now = past.at(-1);
  TILES.forEach(drawTile);
  const [rateIn] = TILES[0].show(latest(TILES[0].value));
  document.title = `${rateIn}/s – Shaveet`;
  const others = now.dashboards > 1 ? ` · ${now.dashboards} dashboards` : '';
  find('#about').textContent = `${now.version} · up ${time(Date.now() / 1000 - now.started)}${others}`;
  drawBusiest();
  drawLimits(now);
  drawLosses(now);
}

function drawTile(tile) {
  if (!past.length) return;
  const { marked, value, show } = tile, end = past.length - 1;
  const at = marked === null || marked > end ? end : end - marked;
  [tile.number.textContent, tile.unit.textContent] = show(value(at));
  tile.text.textContent = at === end ? tile.note(past[end]) : `${time((past[end].at - past[at].at) / 1000)} ago`;
  tile.text.title = tile.text.textContent;
  tile.chart.draw(past.map((_, place) => value(place)), tile.most ?? 1, at === end ? null : at);
}

/** How many seconds charts show. */
function span() { return Math.min(SECONDS, Math.max(SECONDS_MIN, past.length)); }

/** A line over the last two minutes, the newest at the right. */
function chart() {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg'), height = 40;
  svg.setAttribute('preserveAspectRatio', 'none');
  svg.setAttribute('aria-hidden', 'true');
  const [area, line, mark] = ['area', 'line', 'mark'].map((name) => {
    const path = document.createElementNS(svg.namespaceURI, 'path');
    path.setAttribute('class', name);
    svg.append(path);
    return path;
  });
  return {
    svg,
    draw(values, least, marked) {
      const most = Math.max(least, ...values) * 1.15, first = span() - values.length;
      svg.setAttribute('viewBox', `0 0 ${span() - 1} ${height}`);
      let [drawn, filled, from] = ['', '', null];
      values.forEach((value, at) => {
        if (value === null) return from = null;
        const point = `${first + at} ${(height - 1 - value / most * (height - 2)).toFixed(2)}`;
        drawn += from === null ? `M${point}` : `L${point}`;
        from ??= first + at;
        filled += `${drawn.endsWith(`M${point}`) ? `M${from} ${height}` : ''}L${point}`;
        if (values[at + 1] === null || at === values.length - 1) filled += `L${first + at} ${height}Z`;
      });
      line.setAttribute('d', drawn);
      area.setAttribute('d', filled);
      mark.setAttribute('d', marked === null ? '' : `M${first + marked} 0V${height}`);
    },
  };
}

const busy = new Map(); // by name: {rate, active, isCut}

/** What the channels say, smoothed, as most do not say something each second. */
function note(figures, last) {
  const seconds = last && figures.at > last.at ? (figures.at - last.at) / 1000 : 1;
  for (const channel of busy.values()) channel.rate *= 0.75;
  for (const { name, messages, active, is_cut: isCut } of figures.busiest) {
    const channel = busy.get(name) ?? { rate: 0 };
    busy.set(name, Object.assign(channel, { active, isCut, rate: channel.rate + 0.25 * messages / seconds }));
  }
  const ranked = [...busy].sort(([, a], [, b]) => b.rate - a.rate);
  ranked.forEach(([name, { rate }], at) => { if (rate < 0.02 || at >= 30) busy.delete(name); });
}

/** A line of a list with a bar behind it. */
function bar(name, share, text, kind = '') {
  const fill = make('i');
  fill.style.width = `${Math.min(1, share) * 100}%`;
  return make('li', { className: kind }, fill, name, make('span', { className: 'number', textContent: text }));
}

function drawBusiest() {
  const ranked = [...busy].sort(([, a], [, b]) => b.rate - a.rate).slice(0, 8), most = ranked[0]?.[1].rate;
  const lines = ranked.map(([name, { rate, active, isCut }]) => {
    const title = make('button', { className: 'name', textContent: isCut ? `${name}…` : name, disabled: isCut, onclick: () => showChannel(name) });
    return bar(title, rate / most, `${number(rate)}/s · ${number(active)} here`);
  });
  replace('#busiest', lines.length ? lines : [empty('Nobody says anything.')]);
}

function drawLimits({ limits }) {
  const shares = limits.map(([knob, used, most]) => [knob, used, most, used / most]).sort(([, , , a], [, , , b]) => b - a);
  replace('#limits', shares.map(([knob, used, most, share]) => {
    const show = ['memory-max', 'history-total'].includes(knob) ? bytes : number;
    const name = make('span', { className: 'name', textContent: knob });
    return bar(name, share, `${show(used)} of ${show(most)}`, share >= FULL ? 'full' : share >= NEAR ? 'near' : '');
  }));
}

const REASONS = {
  count: 'a channel kept too few', bytes: 'a channel kept too few bytes', age: 'messages were too old',
  memory: 'memory was near its limit', restart: 'the server had begun anew',
};

function drawLosses(now) {
  const before = past.at(-1 - WINDOW) ?? past[0];
  const counts = [
    ...Object.entries(REASONS).map(([reason, text]) => [`gaps: ${text}`, ({ gaps }) => gaps[reason]]),
    ['answers whose page had gone (they come again)', (one) => one.broken_off],
    ...Object.keys(now.refusals).map((knob) => [`refused at ${knob}`, ({ refusals }) => refusals[knob] ?? 0]),
    ['calls by who may not', (one) => one.refused_calls],
  ];
  const lines = counts.filter(([, count]) => count(now)).map(([title, count]) => {
    const recent = count(now) - count(before);
    const text = recent > 0 ? `${whole.format(count(now))}, ${number(recent)} just now` : whole.format(count(now));
    return make('li', {}, make('span', { textContent: title }), make('span', { className: recent > 0 ? 'number now' : 'number', textContent: text }));
  });
  replace('#losses', lines.length ? lines : [empty('Nothing since the start.')]);
}

function empty(text) { return make('li', { className: 'empty quiet', textContent: text }); }

// Whoever is about to press a button is not given another one under the finger.
function replace(selector, lines) {
  const list = find(selector);
  if (list.matches(':active') || list.contains(document.activeElement)) return;
  list.replaceChildren(...lines);
}

// Finding --------------------------------------------------------------------------------------------------------------

let search = 0, searchTimer = 0;

find('#find').oninput = () => {
  clearTimeout(searchTimer);
  searchTimer = setTimeout(seek, 200);
};
find('#find').onsubmit = (event) => {
  event.preventDefault();
  seek();
};

async function seek() {
  const mine = ++search, what = find('#find select').value, prefix = find('#find input').value;
  const list = find('#found'), said = find('#searched');
  list.replaceChildren();
  said.textContent = '';
  let count = 0, after = null;
  try {
    // A page may be empty with more behind it: one call looks at some thousand names.
    do {
      const page = await call(`list_${what}`, prefix, after, FOUND_MAX);
      if (mine !== search) return;
      list.append(...page[what].slice(0, FOUND_MAX - count).map((name) => named(name, what)));
      count += page[what].length;
      after = page.after;
      said.textContent = 'looking…';
    } while (after !== null && count < FOUND_MAX);
    said.textContent = !count ? `No ${what === 'channels' ? 'channel' : 'client'} begins so.` : after !== null ? 'and more: say more of the name' : '';
  } catch (error) {
    if (mine === search) said.textContent = error.message;
  }
}

function named(name, what) {
  return make('li', {}, make('button', { textContent: name, title: name, type: 'button', onclick: () => (what === 'channels' ? showChannel : showClient)(name) }));
}

// One channel, one client ----------------------------------------------------------------------------------------------

const dialog = find('dialog');
let shown = null; // what the dialogue is about: another object each time

dialog.onclose = () => { shown = null; };
find('dialog .close').onclick = () => dialog.close();
dialog.onclick = ({ target }) => { if (target === dialog) dialog.close(); };

function show(kind, name, ...content) {
  const mine = shown = {};
  find('dialog header p').textContent = kind;
  find('dialog h2').textContent = find('dialog h2').title = name;
  find('.detail').replaceChildren(...content);
  if (!dialog.open) dialog.showModal();
  find('.detail').scrollTop = 0;
  return () => shown === mine;
}

function facts(list, entries) {
  list.replaceChildren(...entries.map(([title, value]) => make('div', {}, make('dt', { textContent: title }), make('dd', { textContent: value }))));
}

/** A list of names that is asked for. */
function lister(title, what, ask) {
  const list = make('ul', { className: 'names' }), said = make('p', { className: 'quiet' });
  const button = make('button', { className: 'plain', textContent: 'Show', type: 'button' });
  button.onclick = async () => {
    try {
      const names = await ask();
      list.replaceChildren(...names.slice(0, LISTED_MAX).sort().map((name) => named(name, what)));
      said.textContent = names.length > LISTED_MAX ? `and ${names.length - LISTED_MAX} more` : names.length ? '' : 'none';
    } catch (error) {
      said.textContent = error.message;
    }
  };
  return { part: make('section', {}, make('h3', {}, title, ' ', button), list, said), button };
}

async function showChannel(name) {
  const known = make('dl'), tail = make('ol', { id: 'tail' }), trouble = make('p', { className: 'bad' });
  tail.tabIndex = 0;
  const { part } = lister('Who is here', 'clients', () => call('get_channel_clients', name));
  const isShown = show('Channel', name, known, make('section', {}, make('h3', { textContent: 'What is said, as it comes' }), tail), part, trouble);
  let position = null, isFirst = true;
  while (isShown()) {
    try {
      if (!document.hidden) {
        const info = await call('channel_info', name);
        if (!isShown()) return;
        facts(known, [
          ['here', whole.format(info.active)], ['away', whole.format(info.subscribers - info.active)], ['listening', whole.format(info.parked)],
          ['messages kept', whole.format(info.messages)], ['bytes kept', bytes(info.bytes)], ['said so far', whole.format(info.next_id - 1)],
        ]);
        part.hidden = info.active > LISTED_MAX * 10;
        const history = await call('history', name, position, 1000);
        if (!isShown()) return;
        if (history.gap && !isFirst) tell('gap', 'some were gone before they were seen');
        history.messages.slice(-TAIL_MAX).forEach((message) => tell('message', message));
        isFirst = false;
        ({ position } = history);
        trouble.textContent = '';
      }
    } catch (error) {
      if (isShown()) trouble.textContent = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, TAIL_MS));
  }

  function tell(kind, what) {
    const isAtEnd = tail.scrollTop + tail.clientHeight > tail.scrollHeight - 30;
    const line = kind === 'gap' ? make('li', { className: 'bad', textContent: what }) : make(
      'li', { className: what.system ? 'told' : '' },
      make('span', { className: 'id', textContent: what.id }),
      make('span', { className: 'from', textContent: typeof what.from === 'string' ? what.from : JSON.stringify(what.from) }),
      make('span', { className: 'data', textContent: what.reason ?? short(what.data, DATA_CHARS) }),
    );
    tail.append(line);
    while (tail.children.length > TAIL_MAX) tail.firstChild.remove();
    if (isAtEnd) tail.scrollTop = tail.scrollHeight;
  }
}

async function showClient(id) {
  const known = make('dl'), trouble = make('p', { className: 'bad' });
  const channels = lister('Its channels', 'channels', () => call('get_client_channels', id));
  const isShown = show('Client', id, known, channels.part, whyForm(id), kicker(id), trouble);
  channels.button.click();
  while (isShown()) {
    try {
      const info = await call('client_info', id);
      if (!isShown()) return;
      facts(known, [
        ['is', info.here ? 'here' : 'away, may come back'], ['listens by', info.transports.join(', ') || 'nothing'],
        ['last seen', info.parked ? 'now' : `${time(info.idle_ms / 1000)} ago`], ['channels', whole.format(info.subscriptions)],
        ['acknowledged', info.acknowledged.split('-').at(-1)],
      ]);
      trouble.textContent = '';
    } catch (error) {
      if (isShown()) trouble.textContent = error.message;
    }
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

const FATES = {
  delivered: 'It was delivered', waiting: 'It waits for the page', on_its_way: 'It is on its way', not_subscribed: 'The client was not subscribed',
  excluded: 'The publisher has left the client out', expired: 'Its time was over', lost: 'It is lost', unpublished: 'There is no such message yet',
};

/** Asks what became of a message. */
function whyForm(id) {
  const channel = make('input', { placeholder: 'channel', ariaLabel: 'channel', required: true, spellcheck: false });
  const message = make('input', { placeholder: 'message id', ariaLabel: 'message id', required: true, inputMode: 'numeric', pattern: '\\d+' });
  const said = make('p', { role: 'status' });
  const form = make('form', { className: 'row' }, channel, message, make('button', { textContent: 'Ask' }));
  form.onsubmit = async (event) => {
    event.preventDefault();
    try {
      const fate = await call('why', id, channel.value, Number(message.value)), ago = fate.ms_ago ?? fate.at_least_ms_ago;
      const details = [fate.reason && REASONS[fate.reason], fate.parked === false && 'which does not listen just now', ago !== undefined && `${time(ago / 1000)} ago`];
      said.textContent = [FATES[fate.state] ?? fate.state, ...details.filter(Boolean)].join(', ');
    } catch (error) {
      said.textContent = error.message;
    }
  };
  return make('section', {}, make('h3', { textContent: 'What became of a message?' }), form, said);
}

/** Forgets the client, when it was asked twice. */
function kicker(id) {
  const ask = make('button', { className: 'danger', textContent: 'Kick' });
  const sure = make('div', { className: 'row sure', hidden: true });
  const text = make('p', { textContent: 'It is forgotten at once, with its place in its channels, and its page is told so.' });
  const said = make('p', { role: 'status' });
  ask.onclick = () => { [ask.hidden, sure.hidden] = [true, false]; };
  const yes = make('button', { className: 'danger', textContent: 'Kick it' }), no = make('button', { className: 'plain', textContent: 'Leave it' });
  no.onclick = () => { [ask.hidden, sure.hidden] = [false, true]; };
  yes.onclick = async () => {
    try {
      await call('kill_client', id);
      show('Client', id, make('p', { textContent: 'The client is forgotten.' }));
      if (find('#find select').value === 'clients' && search) seek();
    } catch (error) {
      said.textContent = error.message;
    }
  };
  sure.append(text, yes, no);
  return make('section', {}, ask, sure, said);
}

begin();
