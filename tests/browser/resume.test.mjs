// Every message once and in order, whatever happens on the way; and if a limit has made that impossible, a gap is told.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  TRANSPORTS, arrived, createClient, init, launchBrowser, listen, openPage, pause, publish, random, startLine, texts,
  until, withWorld,
} from './support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

/** A world whose pages reach the server over a line that may be cut. */
function withLine(work, args = ['--history', '1000']) {
  return withWorld(async (world) => {
    world.line = await startLine(world.server.port);
    try {
      await work(world);
    } finally {
      await world.line.stop();
    }
  }, args);
}

const told = (page, what) => page.evaluate((what) => window[what], what);
const sinceOf = (url) => new URL(url).searchParams.get('since');
const numbers = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => `message ${from + i}`);

for (const { name, flags } of TRANSPORTS) describe(name, { concurrency: 3 }, () => {
  const open = (world, base = world.line.url) => openPage(browser, world.pages, base, { flags });

  test('what was published while the line was down comes when it is up', () =>
    withLine(async (world) => {
      const page = await open(world);
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await publish(world.server, 'room', 'message 1');
      await arrived(page, 'message 1');
      world.line.cut(true);
      for (const text of numbers(2, 30)) await publish(world.server, 'room', text);
      world.line.cut(false);
      await arrived(page, 'message 30');
      assert.deepEqual(await texts(page), numbers(1, 30));
      assert.deepEqual(await told(page, 'gaps'), []);
      assert.deepEqual(await told(page, 'gone'), []);
      await page.close();
    }));

  test('what the server could not keep is a gap, told before what it has kept', () =>
    withLine(async (world) => {
      const page = await open(world);
      await page.evaluate(() => Shaveet.onGap((gap) => got.push({ payload_raw: `gap before ${gap.next_id}` })));
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room', 'calm'));
      await publish(world.server, 'room', 'message 2'); // 1 is the subscription
      await arrived(page, 'message 2');
      world.line.cut(true);
      for (const text of numbers(3, 9)) await publish(world.server, 'room', text);
      world.line.cut(false);
      await arrived(page, 'message 9');
      assert.deepEqual(await texts(page), ['message 2', 'gap before 7', ...numbers(7, 9)]);
      assert.deepEqual(await told(page, 'gaps'), [
        { channelName: 'room', next_id: 7, reason: 'count', system: false },
      ]);
      await publish(world.server, 'room', 'message 10');
      await arrived(page, 'message 10');
      assert.equal((await told(page, 'gaps')).length, 1, 'told once');
      await page.close();
    }, ['--history', '3']));

  test('500 messages over a line that swallows and cuts answers: each once and in order', (t) =>
    withLine(async (world) => {
      const below = random(t);
      const page = await open(world);
      // Its waits are for people; a test would spend minutes in them.
      await page.evaluate(() => {
        const { setTimeout } = window;
        window.setTimeout = (func, ms) => setTimeout(func, ms > 200 && ms < 30_000 ? ms / 50 : ms);
      });
      const rooms = ['one', 'two', 'three'];
      const sent = new Map(rooms.map((room) => [room, []]));
      for (const room of rooms) await listen(page, room);
      await init(page, 'bob', await createClient(world.server, 'bob', ...rooms));
      let spoilt = 0;
      world.line.spoil = () => {
        const fate = ['swallow', 'cut', 'pass', 'pass'][below(4)];
        if (fate !== 'pass') spoilt++;
        return fate;
      };
      for (let count = 0, burst = 0; count < 500; count++) {
        if (burst-- === 0) {
          burst = below(10);
          await pause(below(60));
        }
        const room = rooms[below(3)];
        sent.get(room).push(`message ${count}`);
        await publish(world.server, room, `message ${count}`);
      }
      world.line.spoil = () => 'pass';
      await publish(world.server, 'one', 'end');
      await arrived(page, 'end');
      sent.get('one').push('end');
      t.diagnostic(`${page.polls.length} polls, ${spoilt} answers spoilt`);
      for (const room of rooms) assert.deepEqual(await texts(page, room), sent.get(room));
      assert.ok(spoilt > 10);
      assert.deepEqual(await told(page, 'gaps'), []);
      await page.close();
    }));

  test('clients that join one after another over such a line, in shared and in own rooms', (t) =>
    withLine(async (world) => {
      const below = random(t);
      const page = await open(world);
      await page.evaluate(() => {
        const { setTimeout } = window;
        const isShort = (ms) => ms > 200 && ms < 30_000;
        window.setTimeout = (func, ms) => setTimeout(func, isShort(ms) ? ms / 50 : ms);
        Shaveet.listenSingle('*', record);
      });
      const sent = new Map([['shared', []]]);
      const say = async (room) => {
        const text = `message ${below(1e9)} in ${room}`;
        sent.get(room).push(text);
        await publish(world.server, room, text);
      };
      world.line.spoil = () => ['swallow', 'cut', 'pass', 'pass', 'pass', 'pass'][below(6)];
      for (let count = 0; count < 240; count++) {
        if (count % 30 === 0) {
          const id = `client ${count}`;
          sent.set(id, []);
          const key = await createClient(world.server, id, id, 'shared');
          for (let i = below(5); i > 0; i--) await say([id, 'shared'][below(2)]);
          await init(page, id, key);
        }
        const rooms = [...sent.keys()];
        await say(below(2) ? 'shared' : rooms[below(rooms.length)]);
        await pause(below(15));
      }
      world.line.spoil = () => 'pass';
      for (const room of sent.keys()) {
        await publish(world.server, room, `end of ${room}`);
        sent.get(room).push(`end of ${room}`);
        await arrived(page, `end of ${room}`);
      }
      for (const [room, said] of sent) assert.deepEqual(await texts(page, room), said);
      const raw = (await told(page, 'got')).map((update) => `${update.channelName} ${update.id}`);
      assert.equal(new Set(raw).size, raw.length, 'what the server says comes once too');
      await until('one poll for all', () => new URL(page.polls.at(-1)).searchParams.getAll('client_id').length === 8);
      await page.close();
    }));

  test('two tabs with one client: each gets everything', () =>
    withLine(async (world) => {
      const key = await createClient(world.server, 'bob', 'room');
      const tabs = [await open(world), await open(world)];
      for (const tab of tabs) {
        await listen(tab, 'room');
        await init(tab, 'bob', key);
        await until('it is parked', () => tab.polls.length > 0);
      }
      // The second tab begins with its first answer, at the latest with this.
      await publish(world.server, 'room', 'message 0');
      for (const tab of tabs) await arrived(tab, 'message 0');
      for (const text of numbers(1, 40)) {
        await publish(world.server, 'room', text);
        if (text === 'message 20') world.line.cut(false);
      }
      for (const tab of tabs) {
        await arrived(tab, 'message 40');
        assert.deepEqual(await texts(tab), numbers(0, 40));
        await tab.close();
      }
    }));

  test('a page that keeps its position goes on where it was before its reload', () =>
    withLine(async (world) => {
      const page = await open(world);
      const start = (page, key) => page.evaluate((key) => {
        Shaveet.keepPosition = true;
        Shaveet.listenSingle('room', record);
        Shaveet.init('bob', key);
      }, key);
      const key = await createClient(world.server, 'bob', 'room');
      await start(page, key);
      await publish(world.server, 'room', 'message 1');
      await arrived(page, 'message 1');
      const url = page.url();
      await page.goto('about:blank');
      // Another tab reads on, so the server does not know any more where this one was.
      const other = await open(world);
      await listen(other, 'room');
      await init(other, 'bob', key);
      for (const text of numbers(2, 5)) {
        await publish(world.server, 'room', text);
        await arrived(other, text);
      }
      await other.close();
      page.polls.length = 0;
      await page.goto(url);
      await start(page, key);
      await arrived(page, 'message 5');
      assert.deepEqual(await texts(page), numbers(2, 5));
      assert.notEqual(sinceOf(page.polls[0]), '');
      // A client of the same name that was made later has nothing to do with it.
      await world.server.call('kill_client', 'bob');
      const later = await createClient(world.server, 'bob', 'room');
      page.polls.length = 0;
      await page.goto(url);
      await start(page, later);
      await until('it polls', () => page.polls.length > 0);
      assert.equal(sinceOf(page.polls[0]), '');
      await page.close();
    }));

  test('a server that stops sends pages away for a while, and they stay away so long', () =>
    withWorld(async (world) => {
      const page = await open(world, world.server.url);
      await listen(page, 'room');
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await arrived(page, '{"type": "subscribe"}');
      await until('it is parked', () => page.polls.length === 2);
      const answer = page.waitForResponse((response) => response.url() === page.polls[1]);
      // By the page's own clock: what the test hears of it comes later on a busy machine.
      await page.evaluate(() => Shaveet.onStatus(({ state }) => {
        if (state === 'waiting') window.waitedFrom ??= performance.now();
      }));
      await world.restart('stop');
      const retry = Number(/"retry_ms":(\d+)/.exec(await (await answer).text())[1]);
      assert.ok(retry >= 500 && retry <= 5000, retry);
      await page.waitForFunction(() => gone.length > 0);
      const waited = await page.evaluate(() => {
        const asked = performance.getEntriesByType('resource').map(({ startTime }) => startTime);
        return asked.find((at) => at > waitedFrom) - waitedFrom;
      });
      assert.ok(waited > retry - 5, `${waited} ms instead of ${retry}`);
      const statuses = await told(page, 'statuses');
      assert.deepEqual(statuses.filter(({ state }) => state === 'waiting')[0], { state: 'waiting', wait_ms: retry });
      assert.deepEqual(await told(page, 'gone'), [['bob']]);
      await page.close();
    }));

  test('an answer that comes again as that to the next poll is not taken again', () =>
    withLine(async (world) => {
      const page = await open(world);
      let last = null, repeated = 0;
      await page.route('**/message_updates?*', async (route) => {
        const callback = new URL(route.request().url()).searchParams.get('callback');
        if (last && repeated < 3) {
          repeated++;
          return route.fulfill({ ...last, body: last.body.replace(/_shaveet_\d+/, callback) });
        }
        const response = await route.fetch().catch(() => null);
        if (!response) return route.abort();
        last = { headers: response.headers(), body: await response.text() };
        return route.fulfill(last);
      });
      await listen(page, 'room');
      const key = await createClient(world.server, 'bob', 'room');
      await publish(world.server, 'room', 'message 1');
      await init(page, 'bob', key);
      await until('it was answered the same again', () => repeated === 3);
      await publish(world.server, 'room', 'message 2');
      await arrived(page, 'message 2');
      assert.deepEqual(await texts(page), numbers(1, 2));
      await page.unrouteAll({ behavior: 'ignoreErrors' });
      await page.close();
    }));

  test('the status says how it goes', () =>
    withLine(async (world) => {
      const page = await open(world);
      const states = async () => (await told(page, 'statuses')).map(({ state }) => state);
      const sees = (state) => page.waitForFunction((state) => statuses.at(-1)?.state === state, state);
      await init(page, 'bob', await createClient(world.server, 'bob', 'room'));
      await sees('connected');
      world.line.cut(true);
      await sees('waiting');
      world.line.cut(false);
      await sees('connected'); // nothing is due: its poll is parked
      await world.server.call('kill_client', 'bob');
      await sees('gone');
      await page.evaluate(() => Shaveet.remove('bob'));
      await sees('idle');
      const seen = await states();
      assert.deepEqual(seen.slice(0, 3), ['connecting', 'connected', 'waiting']);
      assert.deepEqual(seen.slice(-3), ['connected', 'gone', 'idle']);
      const waits = (await told(page, 'statuses')).filter(({ wait_ms }) => wait_ms);
      assert.ok(waits.length && waits.every(({ state, wait_ms }) => state === 'waiting' && wait_ms >= 500));
      await page.close();
    }));
});
