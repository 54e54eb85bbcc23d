// From one transport to the next: behind proxies that buffer, cut or refuse, up again when they do not any more, and 10,000
// messages over connections that are cut at random, each once and in order.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createClient, launchBrowser, pause, publish, random } from './support.mjs';
import { TRANSPORTS, arrived, begin, connected, openModule, publishAll, told, withGate } from './module-support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

const HISTORY = ['--presence', 'off', '--history', '20000', '--history-bytes', '16MiB'];

/** Opens a page for a new client, with these options. */
async function open(world, options, how) {
  const key = await createClient(world.server, 'bob', 'room');
  return openModule(browser, world, { clientId: 'bob', key, ...options }, how);
}

/** Publishes numbered messages in bursts until `isOver()`, or so many. Resolves to what was published. */
async function load(world, below, { count = Infinity, isOver = () => false }) {
  const sent = [];
  while (sent.length < count && !isOver()) {
    const burst = Array.from({ length: Math.min(1 + below(200), count - sent.length) }, (_, at) => `${sent.length + at}`);
    sent.push(...burst);
    await publishAll(world.server, 'room', burst);
    await pause(below(40));
  }
  await publish(world.server, 'room', 'end');
  return [...sent, 'end'];
}

async function assertExact(page, sent) {
  await arrived(page, 'end');
  const got = await told(page, 'got');
  const at = sent.findIndex((text, at) => text !== got[at]);
  assert.ok(at < 0 && got.length === sent.length, `${got.length} of ${sent.length}, the first difference at ${at}: ${got[at]}`);
  assert.deepEqual(await told(page, 'gaps'), []);
  assert.deepEqual(page.errors, []);
}

// Most of their time they wait.
describe('behind proxies', { concurrency: 4 }, () => {
  for (const [from, to, fates] of [
    ['websocket', 'sse', ['refuse', 'buffer', 'cut']],
    ['sse', 'longpoll', ['refuse', 'buffer', 'cut']],
    ['longpoll', 'jsonp', ['refuse', 'cut']],
  ]) {
    for (const fate of fates) {
      test(`a proxy that does not let ${from} through (${fate}) has ${to} take its place, for the next page too`, () =>
        withGate(async (world) => {
          world.gate.fates[from] = fate;
          const page = await open(world, { transports: TRANSPORTS.slice(TRANSPORTS.indexOf(from)) }, { hurry: true });
          await publish(world.server, 'room', '1');
          await connected(page, to);
          await publish(world.server, 'room', '2');
          await arrived(page, '2');
          assert.deepEqual(await told(page, 'got'), ['1', '2']);
          const { clientId, key } = { clientId: 'bob', key: await createClient(world.server, 'bob') }, tried = world.gate.counts[from];
          await page.reload();
          await begin(page, world.gate.url, { clientId, key });
          await connected(page, to);
          assert.equal(world.gate.counts[from], tried, 'it is known');
          await page.close();
        }));
    }
  }
});

test('event streams that a proxy ends at once, in good order, are left too', () =>
  withGate(async (world) => {
    world.gate.fates.sse = 'end';
    const page = await open(world, { transports: ['sse', 'longpoll'] }, { hurry: true });
    await connected(page, 'longpoll');
    assert.equal(world.gate.counts.sse, 3);
    await page.close();
  }));

test('if nothing works, no transport is to blame', () =>
  withGate(async (world) => {
    const { fates } = world.gate;
    for (const name of TRANSPORTS) fates[name] = 'refuse';
    const page = await open(world, {}, { hurry: true });
    await page.waitForFunction(() => statuses.filter(({ state }) => state === 'waiting').length > 2);
    // When all have been tried it waits. It is kept waiting while they are let through: no earlier one has failed by then.
    await page.evaluate(() => {
      const { setTimeout } = window;
      window.kept = [];
      window.setTimeout = (work, ms) => s.status.state === 'waiting' ? kept.push(work) : setTimeout(work, ms);
      window.letGo = () => {
        window.setTimeout = setTimeout;
        kept.forEach((work) => work());
      };
    });
    await page.waitForFunction(() => kept.length > 0);
    for (const name of TRANSPORTS) fates[name] = 'pass';
    await page.evaluate(() => letGo());
    await connected(page, 'websocket');
    assert.equal(await page.evaluate(() => statuses.find(({ state }) => state === 'connected').transport), 'websocket', 'the first');
    await page.close();
  }));

test('one page with one cursor: WebSocket, events, long poll, JSONP, WebSocket, under load, each message once', (t) =>
  withGate(async (world) => {
    const { fates } = world.gate;
    const page = await open(world, { upgradeMs: 500 }, { hurry: true });
    await connected(page, 'websocket');
    let isOver = false;
    const sent = load(world, random(t), { isOver: () => isOver });
    const used = [];
    for (const [at, name] of TRANSPORTS.entries()) {
      await connected(page, name);
      used.push(name);
      const count = (await told(page, 'got')).length;
      await page.waitForFunction((count) => got.length > count, count);
      if (at === TRANSPORTS.length - 1) break;
      fates[name] = 'refuse';
      world.gate.cut(name);
    }
    for (const name of TRANSPORTS) fates[name] = 'pass';
    await connected(page, 'websocket');
    isOver = true;
    const all = await sent;
    await assertExact(page, all);
    t.diagnostic(`${all.length} messages over ${used}, ${JSON.stringify(world.gate.counts)} connections`);
    await page.close();
  }, HISTORY));

describe('10,000 messages', { concurrency: 2 }, () => {
  for (const transport of TRANSPORTS) {
    test(`${transport}: over connections that are cut at random`, (t) =>
      withGate(async (world) => {
        const below = random(t), page = await open(world, { transports: [transport] }, { hurry: true });
        let isOver = false;
        const cutting = (async () => {
          for (; !isOver; await pause(below(200))) world.gate.cut();
        })();
        const sent = await load(world, below, { count: 10_000 });
        isOver = true;
        await cutting;
        await assertExact(page, sent);
        t.diagnostic(`${world.gate.counts[transport]} connections`);
        assert.ok(world.gate.counts[transport] > 10);
        await page.close();
      }, HISTORY));
  }

  test('while transports come and go at random', (t) =>
    withGate(async (world) => {
      const below = random(t), { fates } = world.gate;
      const page = await open(world, { upgradeMs: 100 }, { hurry: true });
      let isOver = false;
      const changing = (async () => {
        for (; !isOver; await pause(200 + below(600))) {
          for (const name of TRANSPORTS) fates[name] = ['pass', 'refuse', 'cut'][below(3)];
          fates[TRANSPORTS[below(4)]] = 'pass';
          world.gate.cut();
        }
      })();
      const sent = await load(world, below, { count: 10_000 });
      isOver = true;
      await changing;
      for (const name of TRANSPORTS) fates[name] = 'pass';
      await assertExact(page, sent);
      const by = (await told(page, 'statuses')).filter(({ state }) => state === 'connected').map(({ transport }) => transport);
      t.diagnostic(`${JSON.stringify(world.gate.counts)}, connected by ${by.join(', ')}`);
      assert.ok(new Set(by).size > 1, `it never changed: ${by}`);
      await page.close();
    }, HISTORY));
});
