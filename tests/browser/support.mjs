// What every test here needs: the real server on a free port, pages of another origin, a browser, and waiting without
// sleeping. A test file starts its own and stops them in the end, by handle.

import { spawn } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

/** How long anything may take that should happen at once: long for a loaded machine, short of the poll's 25 s. */
const PATIENCE_MS = 20_000;

const CHROMIUM = process.env.CHROMIUM_BIN || '/usr/bin/chromium';
const CHROMIUM_FLAGS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

/** The two ways by which shaveet.js gets its messages, with the flags in its URL that choose them. */
export const TRANSPORTS = [{ name: 'CORS', flags: '' }, { name: 'JSONP', flags: '?disableCORS=1' }];

export const scriptFile = fileURLToPath(new URL('../../static/shaveet.js', import.meta.url));

export function launchBrowser() {
  return chromium.launch({ executablePath: CHROMIUM, args: CHROMIUM_FLAGS });
}

// The server ---------------------------------------------------------------------------------------------------------

function serverBinary() {
  const built = ['release', 'debug'].map((profile) => new URL(`../../target/${profile}/shaveet`, import.meta.url));
  const found = process.env.SHAVEET_BIN || built.map(fileURLToPath).find(existsSync);
  if (!found) throw new Error('no shaveet binary: run `cargo build`, or set SHAVEET_BIN');
  return found;
}

/** A port that nobody listens at, and that the kernel gives to nobody by itself: whoever is started again has it again. */
async function freePort() {
  const given = Number(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').split(/\s/)[0]);
  for (;;) {
    const port = 10_000 + Math.floor(Math.random() * (Math.max(given, 20_000) - 10_000));
    const probe = net.createServer();
    const isFree = await new Promise((resolve) => {
      probe.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (isFree) return new Promise((resolve) => probe.close(() => resolve(port)));
  }
}

/** Starts the server; `port` 0 is any free one. Resolves when it listens. */
export async function startServer({ port = 0, args = [] } = {}) {
  port ||= await freePort();
  const child = spawn(serverBinary(), ['--listen', `127.0.0.1:${port}`, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const exited = new Promise((resolve) => child.once('exit', resolve));
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text) => { complaints += text; });
  const url = await new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      const listening = /^listening on (http:\S+)$/.exec(line);
      if (listening) resolve(listening[1]);
    });
    child.once('error', reject);
    exited.then((code) => reject(new Error(`the server ended with ${code}: ${complaints}`)));
  });
  const end = async (signal) => {
    child.kill(signal);
    await exited;
  };
  return {
    url,
    port: Number(new URL(url).port),
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    call: (method, ...params) => call(url, method, params),
  };
}

/** One JSON-RPC call as a web application makes it: the result, or an exception. */
async function call(url, method, params) {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify({ method, params, id: 1 }) });
  const answer = await response.json();
  if (answer.error) throw new Error(`${method}: ${JSON.stringify(answer.error)}`);
  return answer.result;
}

/** A client with its subscriptions: its key. */
export async function createClient(server, id, ...channels) {
  const key = await server.call('create_client', id);
  for (const channel of channels) await server.call('subscribe', id, channel);
  return key;
}

export function publish(server, channel, text, from = 'webapp') {
  return server.call('new_message', from, text, channel, false);
}

/** A server and pages of its own for a test that stops it. `world.server` may be replaced. */
export async function withWorld(work, args = []) {
  const world = { server: await startServer({ args }) };
  world.pages = await startPages({ get url() { return world.server.url; } });
  /** Starts another server at the same address, when the old one has ended in the given way. */
  world.restart = async (end = 'kill') => {
    const { port } = world.server;
    await world.server[end]();
    world.server = await startServer({ port, args });
  };
  try {
    await work(world);
  } finally {
    await world.pages.stop();
    await world.server.stop();
  }
}

/** A line to the server at `port` that may be cut. `spoil()` is asked for each piece of an answer what becomes of it:
 * "swallow" and "cut" end the connection before it or in its middle, all else lets it pass. */
export async function startLine(port, spoil = () => 'pass') {
  const open = new Set();
  const line = { down: false, spoil };
  const proxy = net.createServer((inner) => {
    if (line.down) return inner.destroy();
    const outer = net.connect(port, '127.0.0.1');
    const end = () => {
      inner.destroy();
      outer.destroy();
      open.delete(end);
    };
    open.add(end);
    for (const socket of [inner, outer]) socket.setNoDelay(true).on('error', end).on('close', end);
    inner.on('data', (piece) => outer.write(piece));
    outer.on('data', (piece) => {
      const fate = line.spoil();
      if (fate === 'swallow') return end();
      if (fate !== 'cut') return inner.write(piece);
      inner.end(piece.subarray(0, piece.length / 2));
      outer.destroy();
    });
  });
  await new Promise((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  const cut = () => { for (const end of open) end(); };
  return Object.assign(line, {
    url: `http://127.0.0.1:${proxy.address().port}`,
    /** Cuts all connections; while `down` is true there are no new ones. */
    cut(down) {
      line.down = down;
      cut();
    },
    stop: () => new Promise((resolve) => {
      proxy.close(resolve);
      cut();
    }),
  });
}

// Pages --------------------------------------------------------------------------------------------------------------

/** A web server for pages: another port, so another origin than the Shaveet server's. `/chat/push/...` is a proxy to
 * `target.url`, for pages that see Shaveet under their own origin. */
export async function startPages(target = {}) {
  const pages = new Map();
  const server = http.createServer((request, response) => {
    const page = pages.get(request.url);
    if (page) {
      response.writeHead(200, { 'Content-Type': page.type });
      response.end(page.body);
    } else if (request.url.startsWith('/chat/push/')) {
      forward(request, response, target.url + request.url.slice('/chat/push'.length));
    } else {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    /** Puts up a page and says where. The body is written in Latin-1 if the type says so. */
    add(html, type = 'text/html; charset=utf-8') {
      const path = `/page${pages.size + 1}`;
      pages.set(path, { type, body: Buffer.from(html, type.includes('8859') ? 'latin1' : 'utf8') });
      return url + path;
    },
    stop: () => new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    }),
  };
}

function forward(request, response, url) {
  const onward = http.request(url, { method: request.method, headers: request.headers, agent: false }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  response.on('close', () => onward.destroy());
  request.pipe(onward);
}

/** Opens a page that has loaded the server's shaveet.js and keeps what record() is given in `got`, and what the page is
 * told of gaps, clients that are gone and its status in `gaps`, `gone` and `statuses`. Its polls are in `polls`, the
 * errors that reached window.onerror in `errors`. */
export async function openPage(browser, pages, base, { flags = '' } = {}) {
  const html = `<!doctype html><title>test</title>
    <script>
      var got = [], gaps = [], gone = [], statuses = [];
      function record(u) { got.push(u); }
    </script>
    <script src="${base}/static/shaveet.js${flags}"></script>
    <script>
      Shaveet.onGap(function (gap) { gaps.push(gap); });
      Shaveet.onClientGone(function (ids) { gone.push(ids); });
      Shaveet.onStatus(function (status) { statuses.push(status); });
    </script>`;
  const page = await browser.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.polls = [];
  page.errors = [];
  page.on('request', (request) => {
    if (request.url().includes('/message_updates?')) page.polls.push(request.url());
  });
  page.on('pageerror', (error) => page.errors.push(error.message));
  await page.goto(pages.add(html));
  return page;
}

/** Inits a client in the page. */
export function init(page, id, key) {
  return page.evaluate(([id, key]) => Shaveet.init(id, key), [id, key]);
}

/** Listens in the page: what arrives on the channel goes to `got`. */
export function listen(page, channel) {
  return page.evaluate((channel) => Shaveet.listenSingle(channel, record), channel);
}

/** Waits until the page has got the message with this text as the latest of all or of before. */
export function arrived(page, text) {
  return page.waitForFunction((text) => got.some((update) => update.payload_raw === text), text);
}

/** The texts that the page has got, without those that the server wrote about comings and goings. */
export async function texts(page, channel) {
  const got = await page.evaluate(() => got);
  return got.filter((update) => !channel || update.channelName === channel)
    .map((update) => update.payload_raw)
    .filter((text) => !/^\{.*"type"/.test(text));
}

// Waiting ------------------------------------------------------------------------------------------------------------

/** Waits until `condition` is true, looking often; `what` is for the failure's message. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE_MS;
  while (!await condition()) {
    if (Date.now() > end) throw new Error(`waited in vain until ${what}`);
    await pause(20);
  }
}

export function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Random numbers below n that a seed repeats: SEED=... replays a failure. */
export function random(t) {
  let state = Number(process.env.SEED) || Math.floor(Math.random() * 2 ** 31);
  t.diagnostic(`SEED=${state}`);
  return (n) => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return Math.floor(state / 0x80000000 * n);
  };
}
