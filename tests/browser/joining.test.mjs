// Clients that come and go in one page, against a made-up server, line and clock: thousands of histories, each from a
// seed. Nothing that was published to a client of the page is lost, comes twice or out of order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeBrowser } from './fake-browser.mjs';

const SEEDS = Number(process.env.SEEDS) || 200;
const STEPS = 150;

function randomFrom(seed) {
  let state = seed * 2654435761 % 0x7fffffff;
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor(state / 0x80000000 * n);
  };
}

/** What the server does with messages, positions and polls (ARCHITECTURE.md), and a line with delays and losses. */
class World {
  constructor(seed, { flags, slowest }) {
    this.below = randomFrom(seed);
    this.slowest = slowest; // milliseconds that a request or an answer travels at most
    this.browser = new FakeBrowser({ flags });
    this.seq = 100;
    this.channels = new Map(); // name -> messages
    this.clients = new Map();  // id -> {position, subscriptions: Map(channel -> seq)}
    this.polls = [];
    this.browser.run('all = []; Shaveet.stopListening("*");'
      + 'Shaveet.listenSingle("*", function (update) { all.push(update.channelName + " " + update.id); });');
    this.browser.sent = (request) => this.travel(() => this.arrive(request));
  }

  travel(then) {
    this.browser.window.setTimeout(then, this.below(10) ? this.below(30) : this.below(this.slowest));
  }

  publish(channel) {
    const messages = this.channels.get(channel) ?? [];
    messages.push({ channel, id: messages.length + 1, from: 'x', data: '', system: false, seq: ++this.seq });
    this.channels.set(channel, messages);
    for (const poll of [...this.polls]) this.tryToAnswer(poll);
  }

  arrive(request) {
    const parameters = new URL(request.url ?? request.src).searchParams;
    const since = parameters.get('since'), callback = parameters.get('callback');
    if (!this.below(15)) return this.travel(() => this.lose(request)); // it never got here
    const members = parameters.getAll('client_id').map((credentials) => {
      const client = this.clients.get(credentials.split('_!!_')[0]);
      if (since) client.position = Math.max(client.position, Number(since));
      return { client, position: since ? Number(since) : client.position };
    });
    const poll = { request, callback, members };
    this.polls.push(poll);
    this.browser.window.setTimeout(() => this.tryToAnswer(poll, true), 5000);
    this.tryToAnswer(poll, parameters.get('wait') === '0');
  }

  tryToAnswer(poll, timeIsUp = false) {
    if (!this.polls.includes(poll)) return;
    const due = new Map();
    for (const { client, position } of poll.members)
      for (const [channel, begin] of client.subscriptions)
        for (const message of this.channels.get(channel) ?? [])
          if (message.seq > Math.max(position, begin)) due.set(message.seq, message);
    if (!due.size && !timeIsUp) return;
    this.polls.splice(this.polls.indexOf(poll), 1);
    const messages = [...due.keys()].sort((a, b) => a - b).map((seq) => due.get(seq));
    const more = messages.length > 5;
    const since = String(more ? messages[4].seq : this.seq);
    const answer = { since, messages: messages.slice(0, more ? 5 : undefined), gaps: [], retry_ms: 0, more };
    this.travel(() => (this.below(10) ? this.deliver(poll, answer) : this.lose(poll.request)));
  }

  deliver({ request, callback }, answer) {
    if (!callback) {
      if (!request.aborted) this.browser.answer(answer, request);
    } else {
      this.browser.run(`${callback}(${JSON.stringify(answer)})`);
      request.onload();
    }
  }

  lose(request) {
    if (!request.aborted) request.onerror();
  }
}

function live(seed, line) {
  const world = new World(seed, line);
  const { browser, below } = world;
  const expected = new Map(); // channel -> the first id that is due to the page
  const channels = ['shared', 'other'];
  let count = 0;
  for (let step = 0; step < STEPS; step++) {
    const what = below(10);
    if (what === 0 && count < 6) {
      const id = `client${count++}`, subscriptions = new Map();
      channels.push(id);
      for (const channel of channels.slice(0, 2).filter(() => below(2)).concat(id)) {
        subscriptions.set(channel, world.seq);
        // What was in the room before is not meant for the page; its first client there decides.
        if (!expected.has(channel)) expected.set(channel, (world.channels.get(channel) ?? []).length + 1);
      }
      world.clients.set(id, { position: 0, subscriptions });
      for (let i = below(4); i > 0; i--) world.publish(channels[below(channels.length)]);
      browser.pass(below(300));
      browser.run(`Shaveet.init("${id}", "key")`);
    } else if (what < 7) {
      world.publish(channels[below(channels.length)]);
    }
    browser.pass(below(4) ? below(50) : below(3000));
    if (!below(40)) browser.online();
  }
  browser.pass(200_000);
  const all = [...browser.window.all];
  for (const [channel, first] of expected) {
    const ids = all.filter((name) => name.startsWith(`${channel} `)).map((name) => Number(name.split(' ')[1]));
    const last = (world.channels.get(channel) ?? []).length;
    const due = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    assert.deepEqual(ids, due, `seed ${seed}, ${channel}`);
  }
  return all.length;
}

for (const [name, flags] of [['CORS', ''], ['JSONP', '?disableCORS=1']])
  for (const [line, slowest] of [['a usual line', 800], ['a very slow line', 5000]])
    test(`${name}: ${SEEDS} histories of clients that join one after another on ${line}`, (t) => {
      const seeds = process.env.SEED ? [Number(process.env.SEED)] : Array.from({ length: SEEDS }, (_, i) => i + 1);
      const delivered = seeds.reduce((sum, seed) => sum + live(seed, { flags, slowest }), 0);
      t.diagnostic(`${delivered} messages`);
    });
