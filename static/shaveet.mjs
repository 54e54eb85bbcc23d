/*
 * shaveet.mjs: the messages of a Shaveet server, in a page, over the best transport that gets through. No dependency.
 *
 *   import { Shaveet } from 'https://push.example.com/static/shaveet.mjs';    or from the npm package "shaveet"
 *   const s = new Shaveet({ clientId, key, renew: async () => ({ clientId, key }) });
 *   s.on('room', (message) => {...});                {channel, id, from, data, system}; '*': channels nobody else is on
 *   for await (const message of s.channel('room')) {...}
 *   s.on('gap', (gap) => {...});                     messages are lost: {channel, next_id, reason}
 *   s.on('status', ({ state, transport }) => {...}); also as s.status
 *   s.on('expired', () => {...});                    the server does not know the client any more; then renew() is asked
 *   s.close();
 *
 * The options and all types are in shaveet.d.ts. Each message comes once and in order, or a gap is told before what
 * follows it. That holds over every change of connection, transport and tab, as there is one cursor: the token of the
 * last answer that was taken. A connection begins at a token and brings batches, each from a token to the next; it can
 * be given up at any time, as what it would have brought comes again to whoever goes on from the same token.
 *
 * From the top: Shaveet (what the page sees, and its position), Tabs (which tab has the connection), Line (keeps up one
 * connection and chooses its transport), and the transports.
 */

const EVENTS = ['gap', 'status', 'expired'];
const BEHIND_MAX = 10_000;      // messages that a loop over a channel may be behind
const RECENT_MAX = 100;         // batches that a tab keeps for tabs that come later,
const RECENT_CHARS = 1 << 18;   // and characters in them,
const MESSAGE_CHARS = 100;      // so many for a message beside its data

export class Shaveet {
  #base;
  #client;                      // {clientId, key}
  #options;
  #listeners = new Map(EVENTS.map((name) => [name, new Set()])); // channels are under "$" and their name
  #since;
  #recent = [];                 // the batches taken last,
  #recentChars = 0;             // and how much is in them
  #caught = null;               // what a poll of our own has brought: where it began, and which messages
  #waiting = null;              // batches that wait for that poll
  #line = null;                 // if this tab has the connection
  #tabs = null;
  #session = null;              // aborts all that is done for this client
  #status = Object.freeze({ state: 'connecting', transport: null, waitMs: 0, role: 'alone' });
  #toldAt = 0;                  // when that became so
  #loops = new Set();           // ends of loops over channels

  constructor(options) {
    const { url = ownServer(), clientId, key, transports = Object.keys(TRANSPORTS), renew = null } = options;
    const names = Object.keys(TRANSPORTS), usable = transports.filter((name) => TRANSPORTS[name]?.isHere());
    if (!url) throw new TypeError('Shaveet: the option url is missing: the address of the server');
    if (clientId == null || !key) throw new TypeError('Shaveet: the options clientId and key are missing');
    if (!usable.length || transports.some((name) => !names.includes(name)))
      throw new TypeError(`Shaveet: the option transports lists some of ${names} that are here, not [${transports}]`);
    this.#base = new URL(url, globalThis.location?.href).href.replace(/\/$/, '');
    this.#client = { clientId, key };
    this.#options = { shared: true, keepPosition: false, upgradeMs: UPGRADE_MS, ...options, transports: usable, renew };
    this.#since = this.#kept();
    this.#start();
  }

  get status() { return this.#status; }

  on(name, listener) {
    return this.#channelOn(EVENTS.includes(name) ? name : `$${name}`, listener);
  }

  off(name, listener) {
    return this.#channelOff(EVENTS.includes(name) ? name : `$${name}`, listener);
  }

  /** A channel whatever its name, be it that of an event: on(), off(), and a loop over what is said from now on. */
  channel(name) {
    const key = `$${name}`;
    return {
      on: (listener) => this.#channelOn(key, listener),
      off: (listener) => this.#channelOff(key, listener),
      [Symbol.asyncIterator]: () => this.#loop(key),
    };
  }

  close() {
    this.#session?.abort();
    this.#session = null;
    for (const end of this.#loops) end();
    this.#tell({ state: 'closed', transport: null });
  }

  #channelOn(key, listener) {
    if (!this.#listeners.has(key)) this.#listeners.set(key, new Set());
    this.#listeners.get(key).add(listener);
    return this;
  }

  #channelOff(key, listener) {
    const listeners = this.#listeners.get(key);
    listeners?.delete(listener);
    if (listeners?.size === 0 && key[0] === '$') this.#listeners.delete(key);
    return this;
  }

  #loop(key) {
    let queue = [], next = null, isOver = this.#status.state === 'closed', error;
    const settle = () => {
      if (!next || !(queue.length || isOver)) return;
      const [resolve, reject] = next;
      next = null;
      if (queue.length) resolve({ done: false, value: queue.shift() });
      else if (error) reject(error);
      else resolve({ done: true, value: undefined });
    };
    const end = () => {
      isOver = true;
      this.#channelOff(key, take);
      this.#loops.delete(end);
      settle();
    };
    const take = (message) => {
      if (queue.push(message) > BEHIND_MAX) {
        error = new Error(`Shaveet: a loop over ${message.channel} is more than ${BEHIND_MAX} messages behind`);
        end();
      }
      settle();
    };
    if (!isOver) {
      this.#channelOn(key, take);
      this.#loops.add(end);
    }
    return {
      next: () => new Promise((...settlers) => {
        next = settlers;
        settle();
      }),
      return: async () => {
        queue = [];
        end();
        return { done: true, value: undefined };
      },
    };
  }

  // Begins anew with the client that we are now.
  #start() {
    const { signal } = this.#session = new AbortController();
    const { clientId, key } = this.#client;
    setTimeout(() => { // so that the page has said by then what it listens to
      if (signal.aborted) return;
      listen(globalThis, 'online', signal, () => this.#line?.wake(true));
      listen(globalThis.document, 'visibilitychange', signal, () => {
        if (isHidden()) return;
        this.#line?.check();
        this.#tabs?.ask();
      });
      watchSleep(signal, () => this.#line ? this.#line.wake() : this.#tabs?.post({ wake: true }));
      every(TICK_MS, signal, () => this.#nudge());
      if (this.#options.shared && globalThis.navigator?.locks && globalThis.BroadcastChannel)
        this.#tabs = new Tabs(`shaveet ${this.#base} ${clientId} ${key}`, signal, this.#host(signal));
      else
        this.#lead(signal);
    });
  }

  // Browsers let a leader that nobody sees wait longer than it wants to: who is seen tells it when its time is up.
  #nudge() {
    const { state, waitMs } = this.#status;
    if (!this.#line && !isHidden() && state === 'waiting' && Date.now() - this.#toldAt > waitMs + TICK_MS)
      this.#tabs?.post({ resume: true });
  }

  // What the tabs ask of this one.
  #host(signal) {
    let leading = null;
    return {
      lead: () => {
        leading = within(signal);
        this.#lead(leading.signal);
      },
      follow: () => {
        leading?.abort();
        leading = this.#line = null;
      },
      alone: () => {
        this.#tabs = null;
        this.#lead(signal);
      },
      heard: (news) => this.#heard(news),
      since: () => this.#since,
    };
  }

  #lead(signal) {
    const role = this.#tabs ? 'leader' : 'alone';
    this.#line = new Line({ ...this.#options, base: this.#base }, signal, {
      address: (path, since) => this.#address(path, since),
      since: () => this.#since,
      state: () => this.#status.state,
      forget: () => { this.#since = ''; },
      tell: (status) => this.#tell({ ...status, role }),
      expired: () => this.#expired(signal),
      take: (batch) => {
        this.#tabs?.post({ batches: [batch] });
        this.#take(batch);
      },
    });
    this.#tabs?.post({ lead: this.#since });
  }

  #address(path, since) {
    const { clientId, key } = this.#client;
    return `${this.#base}${path}?client_id=${encodeURIComponent(`${clientId}_!!_${key}`)}&since=${encodeURIComponent(since)}`;
  }

  // News of another tab. Those of the leader have its position, and what it has taken behind the position that we said.
  #heard({ hello, lead, batches, status, client, expired, wake, resume }) {
    if (this.#line) {
      if (wake) this.#line.wake();
      if (resume) this.#line.resume();
      if (hello === undefined) return;
      const known = this.#recent.findIndex(({ from }) => from === hello);
      this.#tabs.post({ lead: this.#since, batches: known < 0 ? [] : this.#recent.slice(known), status: this.#status });
      return;
    }
    for (const batch of batches ?? []) this.#take(batch);
    if (lead !== undefined && !batches) this.#tabs.ask();
    else if (lead) this.#take({ from: lead, to: lead, messages: [], gaps: [] });
    if (status) this.#tell({ ...status, role: 'follower' });
    if (expired) this.#emit('expired', this.#client);
    if (client) this.#become(client);
  }

  // Takes a batch if it goes on from where we are. One that does not was seen before, or something is missing between.
  #take(batch) {
    const { from, to } = batch, here = this.#since;
    if (!this.#session) return; // a listener has closed us
    if (this.#waiting) {
      this.#waiting.push(batch);
    } else if (from === here || !here) {
      this.#caught = null;
      this.#deliver(batch);
    } else if (to !== here && !isLater(here, to)) {
      const caught = this.#caught;
      if (!caught || !isLater(here, from) || isLater(caught.from, from)) return this.#catchUp();
      const isNews = (kind) => (item) => !caught.keys.has(keyOf(kind, item));
      this.#deliver({ ...batch, messages: batch.messages.filter(isNews('id')), gaps: batch.gaps.filter(isNews('next_id')) });
    }
  }

  // Polls once, from where we are: that brings what is missing, and maybe more than the leader has by now.
  async #catchUp() {
    const { signal } = this.#session, from = this.#since, keys = new Set();
    this.#waiting = [];
    for (let failures = 0, more = true; more && !signal.aborted;) {
      const way = failures % 2 && globalThis.document ? askByScript : askByFetch;
      try {
        const answer = checked(await way(this.#address(POLL_PATH, this.#since), signal));
        const { messages, gaps, since: to } = answer;
        messages.forEach((message) => keys.add(keyOf('id', message)));
        gaps.forEach((gap) => keys.add(keyOf('next_id', gap)));
        this.#deliver({ from: this.#since, to, messages, gaps });
        more = answer.more;
      } catch {
        if (!signal.aborted) await pause(backOff(failures++), signal);
      }
    }
    if (signal.aborted) return;
    const batches = this.#waiting;
    this.#waiting = null;
    this.#caught = { from, keys };
    for (const batch of batches) this.#take(batch);
  }

  #deliver(batch) {
    this.#since = batch.to;
    this.#remember(batch);
    for (const gap of batch.gaps) this.#emit('gap', gap);
    for (const message of batch.messages) {
      const key = `$${message.channel}`;
      this.#emit(this.#listeners.has(key) ? key : '$*', message);
    }
    if (this.#session) this.#keep(); // else some of it was not heard
  }

  // For tabs that come and were a little behind.
  #remember(batch) {
    if (!this.#tabs || batch.from === batch.to) return;
    this.#recent.push(batch);
    this.#recentChars += charsOf(batch);
    while (this.#recent.length > RECENT_MAX || this.#recentChars > RECENT_CHARS)
      this.#recentChars -= charsOf(this.#recent.shift());
  }

  // A page's mistake reaches window.onerror, but neither the other listeners nor the connection.
  // What has been closed says no more than that.
  #emit(key, value) {
    for (const listener of [...this.#listeners.get(key) ?? []]) {
      if (!this.#session && value !== this.#status) return;
      try {
        listener(value);
      } catch (error) {
        report(error);
      }
    }
  }

  #tell(change) {
    const old = this.#status, status = Object.freeze({ ...old, waitMs: 0, ...change });
    if (Object.keys(status).every((name) => status[name] === old[name]) || old.state === 'closed') return;
    this.#status = status;
    this.#toldAt = Date.now();
    if (this.#line) this.#tabs?.post({ status });
    this.#emit('status', status);
  }

  // The server does not know the client. True if there is another one now.
  async #expired(signal) {
    if (this.#status.state !== 'gone') {
      this.#tell({ state: 'gone' });
      this.#tabs?.post({ expired: true });
      this.#emit('expired', this.#client);
    }
    const client = await this.#options.renew?.();
    if (!client || signal.aborted) return;
    this.#tabs?.post({ client });
    this.#become(client);
  }

  // What other tabs and connections know of the old client is over; the position is good for the new one too.
  #become({ clientId, key }) {
    this.#session.abort();
    this.#client = { clientId, key };
    this.#line = this.#tabs = this.#waiting = this.#caught = null;
    this.#recent = [];
    this.#recentChars = 0;
    this.#keep();
    this.#start();
  }

  // The position beyond a reload. The mark tells a client from one of the same name that was made later.
  #keep() {
    if (!this.#options.keepPosition) return;
    stored('sessionStorage', this.#storageName(), `${this.#mark()} ${this.#since}`);
  }

  #kept() {
    if (!this.#options.keepPosition) return '';
    const [mark, since] = (stored('sessionStorage', this.#storageName()) ?? '').split(' ');
    return mark === this.#mark() && since || '';
  }

  #mark() { return String(this.#client.key).slice(0, 8); }
  #storageName() { return `shaveet ${this.#base} ${this.#client.clientId}`; }
}

// Tabs -----------------------------------------------------------------------------------------------------------------

const LEADER_MS = 3000;   // within which a leader that is alive has answered
const CHECK_MS = 20_000;  // how often a tab that is seen asks for it

/** The tabs of an origin that have the same client: whoever holds the lock has the connection and tells the others. */
class Tabs {
  #name;
  #signal;
  #host;
  #channel;
  #isLeader = false;
  #steals = false;
  #candidacy;
  #asked = 0;
  #heard = Date.now();

  constructor(name, signal, host) {
    this.#name = name;
    this.#signal = signal;
    this.#host = host;
    this.#channel = new BroadcastChannel(name);
    this.#channel.onmessage = ({ data }) => {
      if (data.batches || data.status) this.#asked = 0, this.#heard = Date.now();
      host.heard(data);
    };
    every(TICK_MS, signal, () => this.#check());
    listen(signal, 'abort', null, () => {
      this.#candidacy.abort();
      this.#channel.close();
    });
    setTimeout(() => this.ask());
    this.#stand();
  }

  post(news) {
    if (!this.#signal.aborted) this.#channel.postMessage(news);
  }

  /** Asks the leader where it is. */
  ask() {
    if (this.#isLeader) return;
    this.post({ hello: this.#host.since() });
    this.#asked ||= Date.now();
  }

  async #stand() {
    while (!this.#signal.aborted) {
      this.#candidacy = new AbortController();
      const how = this.#steals ? { steal: true } : { signal: this.#candidacy.signal };
      this.#steals = false;
      try {
        await navigator.locks.request(this.#name, how, () => this.#signal.aborted || new Promise((release) => {
          listen(this.#signal, 'abort', null, release);
          this.#isLeader = true;
          this.#host.lead();
        }));
      } catch (error) {
        // It was stolen, or we are to steal it ourselves. Frames in a sandbox may have no locks.
        if (error.name !== 'AbortError') return this.#host.alone();
      }
      if (!this.#isLeader) continue;
      this.#isLeader = false;
      this.#host.follow();
      this.ask();
    }
  }

  // A leader may be frozen by its browser, with the lock in its hands.
  #check() {
    const now = Date.now();
    if (this.#isLeader || isHidden()) {
      this.#asked = 0;
    } else if (this.#asked && now - this.#asked > LEADER_MS) {
      this.#asked = 0;
      this.#steals = true;
      this.#candidacy.abort();
    } else if (now - this.#heard > CHECK_MS) {
      this.#heard = now;
      this.ask();
    }
  }
}

// Line -----------------------------------------------------------------------------------------------------------------

const CONNECT_MS = 5000;        // within which a stream has said something, or a proxy holds it back
const SILENT_MS = 40_000;       // a WebSocket speaks every 25 s, an event stream every 15 s: beyond this it is dead
const POLL_MS = 60_000;         // a server holds a poll 25 s unless told otherwise
const PARKED_MS = 2000;         // a poll that was not refused by now is parked
const STALE_MS = 30_000;        // who is seen again and has heard nothing for so long begins anew
const LASTED_MS = 5000;         // a connection that ends earlier was cut by something that does not like it
const MISSES_MAX = 3;           // failures in a row of a transport that has worked before, until the next one's turn
const RETRY_MS = 1000;          // waits are drawn from 0 to this, doubled with each failure in a row,
const RETRY_MS_MAX = 30_000;    // and to no more than this
const UPGRADE_MS = 300_000;     // until a better transport that failed is tried again
const TICK_MS = 1000;

/** Keeps one connection, on the best transport that delivers, until the signal says that it is over. */
class Line {
  #names;                       // of transports, the best first
  #first = 0;                   // the one to begin with, as better ones did not work,
  #upgradeAt = 0;               // until they are tried again
  #at = 0;                      // the one whose turn it is
  #worked = new Set();
  #misses = 0;                  // failures in a row of this transport
  #failures = 0;                // of whatever
  #isGone = false;
  #isTrying = false;
  #options;
  #signal;
  #host;
  #link = null;                 // the connection, see #connect()
  #resume = () => {};           // ends a wait

  constructor(options, signal, host) {
    this.#options = options;
    this.#signal = signal;
    this.#host = host;
    this.#names = options.transports;
    const [name, until] = stored('localStorage', this.#storageName())?.split(' ') ?? [];
    if (until > Date.now()) {
      this.#first = this.#at = Math.max(0, this.#names.indexOf(name));
      this.#upgradeAt = Number(until);
    }
    every(TICK_MS, signal, () => this.#tick());
    this.#run().catch(report);
  }

  /** Begins anew at once. If the network is another one, transports that failed may work there. */
  wake(isElsewhere = false) {
    if (isElsewhere) this.#settle(0);
    this.#failures = this.#misses = 0;
    this.#link?.end({ isOurs: true });
    this.#resume();
  }

  /** Ends a wait. */
  resume() { this.#resume(); }

  /** Somebody looks: a connection that was silent for long is not trusted, and nobody waits. */
  check() {
    if (!this.#link || Date.now() - this.#link.heard > STALE_MS) this.wake();
  }

  async #run() {
    while (!this.#signal.aborted) {
      if (globalThis.navigator?.onLine === false) {
        this.#tell({ state: 'offline' });
        await this.#wait(POLL_MS);
        continue;
      }
      const link = this.#link = this.#connect(this.#names[this.#at], (answer) => this.#heard(link, answer));
      if (this.#host.state() !== 'connected') this.#tell({ state: 'connecting' });
      const end = await link.ended;
      this.#link = null;
      if (this.#signal.aborted) return;
      await this.#ended(link, end);
    }
  }

  /** A connection from where the page is. `ended` tells how it ended: {code, waitMs, isOurs}. */
  #connect(name, hear) {
    const now = Date.now(), { signal, abort } = within(this.#signal), since = this.#host.since();
    const link = { name, since, opened: now, heard: now, isLive: false, isSilent: false };
    link.ended = new Promise((resolve) => {
      link.end = (how) => {
        resolve(how);
        abort();
      };
      listen(signal, 'abort', null, () => resolve({ isOurs: true }));
    });
    const heard = (answer) => {
      if (!signal.aborted) hear(answer && checked(answer));
    };
    TRANSPORTS[name].open(this.#host.address, since, heard, signal).then(link.end, () => link.end({}));
    return link;
  }

  #heard(link, answer) {
    const { name } = link;
    link.heard = Date.now();
    if (!link.isLive) {
      link.isLive = true;
      this.#isGone = false;
      this.#worked.add(name);
      if (this.#at !== this.#first) this.#settle(this.#at);
      this.#tell({ state: 'connected', transport: name });
    }
    if (!answer) return;
    const from = link.since;
    link.since = answer.since;
    if (answer.messages.length + answer.gaps.length) this.#failures = 0;
    if (from !== link.since) this.#host.take({ from, to: link.since, messages: answer.messages, gaps: answer.gaps });
  }

  async #ended(link, { code, waitMs, isOurs }) {
    if (isOurs) return;
    if (code === GONE) {
      this.#isGone = true;
      await this.#host.expired().catch(report);
      return this.#wait(backOff(this.#failures++));
    }
    if (code === BAD) this.#host.forget();
    // The server itself has spoken: another transport would hear the same.
    if (code) return this.#wait(backOff(Math.max(this.#failures++, code === REPLACED ? 5 : 0)));
    if (link.isLive && !link.isSilent && Date.now() - link.opened > LASTED_MS) {
      this.#misses = this.#failures = 0;
    } else if (++this.#misses >= (this.#worked.has(link.name) ? MISSES_MAX : 1)) {
      this.#misses = 0;
      this.#at += 1;
      if (this.#at < this.#names.length) return;
      this.#at = this.#upgradeAt > Date.now() ? this.#first : 0; // nothing works: no transport is to blame
    }
    return this.#wait(waitMs || backOff(this.#failures++));
  }

  // Stays with a transport where better ones did not work: for a while, and other pages too.
  #settle(at) {
    this.#at = this.#first = at;
    this.#upgradeAt = Date.now() + this.#options.upgradeMs * (0.5 + Math.random());
    stored('localStorage', this.#storageName(), at ? `${this.#names[at]} ${this.#upgradeAt}` : null);
  }

  #tick() {
    const link = this.#link, now = Date.now();
    if (!link) return;
    const { isPoll } = TRANSPORTS[link.name], silent = now - link.heard;
    if (isPoll && !this.#isGone && now - link.opened > PARKED_MS) this.#tell({ state: 'connected', transport: link.name });
    if (silent > (isPoll ? POLL_MS : link.isLive ? SILENT_MS : CONNECT_MS)) {
      link.isSilent = true;
      link.end({});
    } else if (this.#at > 0 && link.isLive && now > this.#upgradeAt && !this.#isTrying) {
      this.#upgrade(link).catch(report);
    }
  }

  // Tries better transports beside the connection, which goes on meanwhile. What the trial brings is not taken.
  async #upgrade(link) {
    this.#isTrying = true;
    let found = 0;
    for (; found < this.#at && !await this.#delivers(this.#names[found]);) found++;
    this.#isTrying = false;
    if (this.#link !== link) return;
    const isBetter = found < this.#at;
    this.#settle(found);
    if (isBetter) link.end({ isOurs: true });
  }

  async #delivers(name) {
    let isLive = false;
    const trial = this.#connect(name, () => {
      isLive = true;
      trial.end({});
    });
    const limit = setTimeout(() => trial.end({}), TRANSPORTS[name].isPoll ? POLL_MS : CONNECT_MS);
    await trial.ended;
    clearTimeout(limit);
    return isLive;
  }

  #wait(waitMs) {
    if (!this.#isGone && waitMs < POLL_MS) this.#tell({ state: 'waiting', waitMs: Math.round(waitMs) });
    const waiting = within(this.#signal);
    this.#resume = () => waiting.abort();
    return pause(waitMs, waiting.signal);
  }

  #tell(status) {
    if (!this.#isGone) this.#host.tell({ transport: null, ...status });
  }

  #storageName() { return `shaveet ${this.#options.base}`; }
}

// Transports -----------------------------------------------------------------------------------------------------------
//
// open(address, since, hear, signal) promises how it ended: with the code that the server gave, after how long it wants to
// see us again, or neither. It calls hear() at any sign of life, and with each answer.

const POLL_PATH = '/message_updates';
const GONE = 404, BAD = 400, REPLACED = 4409;
const ACK_MS = 100;
const EMPTY_MS = 1000;          // an answer at once that there is nothing: do not run in circles

const TRANSPORTS = {
  websocket: { open: openSocket, isHere: () => !!globalThis.WebSocket },
  sse: { open: openEvents, isHere: () => !!globalThis.ReadableStream },
  longpoll: { open: polling(askByFetch), isHere: () => true, isPoll: true },
  jsonp: { open: polling(askByScript), isHere: () => !!globalThis.document, isPoll: true },
};

async function openSocket(address, since, hear, signal) {
  const socket = new WebSocket(address('/socket', since).replace(/^http/, 'ws'));
  return new Promise((resolve, reject) => {
    let timer = 0, waitMs = 0;
    const acknowledge = () => {
      timer = 0;
      if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ ack: since }));
    };
    socket.onmessage = ({ data }) => {
      try {
        const answer = JSON.parse(data);
        hear(answer);
        ({ since, retry_ms: waitMs } = answer);
        timer ||= setTimeout(acknowledge, ACK_MS);
      } catch (error) { // whoever it is that speaks there
        reject(error);
        socket.close();
      }
    };
    socket.onclose = ({ code }) => {
      clearTimeout(timer);
      // Those of the protocol itself come from whoever cut it; 1013 and ours come from the server.
      resolve({ code: code === 4404 ? GONE : code > 1012 && code !== 1015 ? code : 0, waitMs });
    };
    listen(signal, 'abort', null, () => {
      if (timer) acknowledge();
      socket.close();
    });
  });
}

// Not by EventSource: that is deaf to comments, which are the first and mostly the only sign that a stream gets through.
async function openEvents(address, since, hear, signal) {
  const response = await fetch(address('/events', since), { signal, cache: 'no-store' });
  if (!/^text\/event-stream/.test(response.headers.get('Content-Type'))) return { code: (await response.json()).error.code };
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = '', waitMs = 0, messages = [], gaps = [], event = {};
  const flush = () => {
    hear({ since, messages, gaps });
    messages = [];
    gaps = []; // they are told with what follows them: until then their connection may break, and they come again
  };
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return { waitMs };
    hear();
    const before = since, lines = (rest + decoder.decode(value, { stream: true })).split('\n');
    rest = lines.pop();
    for (const line of lines) {
      const [, field, text] = /^(\w+): (.*)/.exec(line) ?? [];
      if (field) event[field] = text;
      if (line) continue;
      const { event: kind, id, retry } = event, data = event.data && JSON.parse(event.data);
      if (retry) waitMs = Number(retry);
      if (kind === 'gone') return { code: data.error.code };
      if (kind === 'gap' && messages.length) flush();
      if (data) (kind === 'gap' ? gaps : messages).push(data);
      if (id) since = id;
      event = {};
    }
    if (since !== before) flush();
  }
}

function polling(ask) {
  return async (address, since, hear, signal) => {
    for (;;) {
      const asked = Date.now(), answer = await ask(address(POLL_PATH, since), signal);
      if (answer.error) return { code: answer.error.code };
      hear(answer);
      ({ since } = answer);
      if (answer.retry_ms) return { waitMs: answer.retry_ms };
      if (!answer.messages.length && Date.now() - asked < EMPTY_MS) await pause(EMPTY_MS, signal);
    }
  };
}

async function askByFetch(url, signal) {
  return (await fetch(url, { signal, cache: 'no-store' })).json();
}

let callbacks = 0;

async function askByScript(url, signal) {
  // A script that is parked before the page has loaded would hold up its load event.
  if (document.readyState !== 'complete') await new Promise((resolve) => listen(window, 'load', signal, resolve));
  return new Promise((resolve, reject) => {
    const name = `_shaveet_module_${++callbacks}`, script = document.createElement('script');
    globalThis[name] = resolve;
    script.onload = script.onerror = () => {
      script.remove();
      delete globalThis[name];
      reject(new Error('no answer')); // or it has been resolved
    };
    script.src = `${url}&callback=${name}&ts=${Date.now()}${Math.random()}`;
    document.head.append(script);
    listen(signal, 'abort', null, reject); // the script itself cannot be called back: its callback stays until it has ended
  });
}

// Small things ---------------------------------------------------------------------------------------------------------

const SLEPT_MS = 5000;          // a tick as late as this: the computer has slept,
const SLEPT_HIDDEN_MS = 90_000; // unless nobody looks: browsers let such pages tick once a minute

function watchSleep(signal, woke) {
  let ticked = Date.now();
  every(TICK_MS, signal, () => {
    const late = Date.now() - ticked;
    ticked += late;
    if (late > (isHidden() ? SLEPT_HIDDEN_MS : SLEPT_MS)) woke();
  });
}

/** Full jitter: pages that lost their server together come back one by one. */
function backOff(failures) {
  return Math.random() * Math.min(RETRY_MS * 2 ** failures, RETRY_MS_MAX);
}

/** The server that this module came from. */
function ownServer() {
  return /^(.*)\/static\/shaveet\.mjs/.exec(import.meta.url)?.[1];
}

function checked(answer) {
  if (typeof answer.since !== 'string' || !answer.messages || !answer.gaps) throw new Error('no answer of a Shaveet server');
  return answer;
}

/** Whether a token is behind another one of its epoch, which is what stands before the hyphen. */
function isLater(token, other) {
  const [[epoch, at], [otherEpoch, otherAt]] = [token.split('-'), other.split('-')];
  return epoch === otherEpoch && Number(at) > Number(otherAt);
}

function charsOf({ messages }) { return messages.reduce((sum, { data }) => sum + data.length + MESSAGE_CHARS, 0); }

function keyOf(kind, item) { return `${kind} ${item[kind]} ${item.channel}`; }

function isHidden() { return globalThis.document?.visibilityState === 'hidden'; }

/** What is kept in a storage of the browser; with a value, keeps it, and with null nothing. There may be none. */
function stored(storage, name, value) {
  try {
    if (value === undefined) return globalThis[storage].getItem(name);
    if (value === null) globalThis[storage].removeItem(name);
    else globalThis[storage].setItem(name, value);
  } catch {}
  return null;
}

function listen(target, name, signal, listener) {
  target?.addEventListener?.(name, listener, signal ? { signal } : {});
}

/** A controller that is aborted with the signal. */
function within(signal) {
  const controller = new AbortController();
  controller.abort = controller.abort.bind(controller);
  if (signal.aborted) controller.abort();
  listen(signal, 'abort', controller.signal, controller.abort);
  return controller;
}

function every(ms, signal, work) {
  const timer = setInterval(work, ms);
  listen(signal, 'abort', null, () => clearInterval(timer));
}

function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const over = within(signal), timer = setTimeout(over.abort, ms);
    listen(over.signal, 'abort', null, () => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** A mistake that is not ours to judge reaches window.onerror. */
function report(error) { setTimeout(() => { throw error; }); }
