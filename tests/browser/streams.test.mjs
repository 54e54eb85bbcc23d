// The browser's own EventSource and WebSocket, with no script of ours: they connect from another origin, get every message
// once and in order over connections that break, and are told what they must know.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient, launchBrowser, publish, startLine, until, withWorld } from './support.mjs';

let browser;

before(async () => { browser = await launchBrowser(); });
after(async () => { await browser?.close(); });

/** A page that listens by one of them at `url`, and keeps what it gets. */
async function open(world, kind, url) {
  const page = await browser.newPage();
  await page.goto(world.pages.add('<!doctype html><title>test</title>'));
  await page.evaluate(([kind, url]) => {
    Object.assign(window, { got: [], gaps: [], gone: [], codes: [], since: '', opened: 0 });
    if (kind === 'events') {
      const source = window.source = new EventSource(url);
      source.onopen = () => { opened += 1; };
      source.onmessage = (event) => got.push(JSON.parse(event.data).data);
      source.addEventListener('gap', (event) => gaps.push(JSON.parse(event.data)));
      source.addEventListener('gone', (event) => gone.push(JSON.parse(event.data)));
      return;
    }
    window.connect = () => {
      const socket = window.socket = new WebSocket(url.replace('http', 'ws') + '&since=' + since);
      socket.onopen = () => { opened += 1; };
      socket.onmessage = (event) => {
        const answer = JSON.parse(event.data);
        got.push(...answer.messages.map((message) => message.data));
        gaps.push(...answer.gaps);
        since = answer.since;
        socket.send(JSON.stringify({ ack: since }));
      };
      socket.onclose = (event) => {
        codes.push(event.code);
        if (event.code === 1006) setTimeout(connect, 50);
      };
    };
    connect();
  }, [kind, url]);
  return page;
}

const told = (page, what) => page.evaluate((what) => window[what], what);
const opened = (page, times) => page.waitForFunction((times) => opened >= times, times);

for (const kind of ['events', 'socket']) {
  test(`${kind}: each message once and in order over connections that break`, () =>
    withWorld(async (world) => {
      const line = await startLine(world.server.port);
      try {
        const key = await createClient(world.server, 'bob', 'room');
        const page = await open(world, kind, `${line.url}/${kind}?client_id=bob_!!_${key}`);
        await opened(page, 1);
        const sent = [];
        for (let round = 0; round < 3; round++) {
          for (let n = 0; n < 20; n++) {
            sent.push(`message ${sent.length}`);
            await publish(world.server, 'room', sent.at(-1));
            // The line breaks in the middle.
            if (n === 10) line.cut(false);
          }
          await opened(page, round + 2);
        }
        await page.waitForFunction((last) => got.includes(last), sent.at(-1));
        assert.deepEqual(await told(page, 'got'), sent);
        assert.deepEqual(await told(page, 'gaps'), []);
        await page.close();
      } finally {
        await line.stop();
      }
    }, ['--presence', 'off']));

  test(`${kind}: a killed client is told, and asks no more`, () =>
    withWorld(async (world) => {
      const key = await createClient(world.server, 'bob', 'room');
      const page = await open(world, kind, `${world.server.url}/${kind}?client_id=bob_!!_${key}`);
      await opened(page, 1);
      await world.server.call('kill_client', 'bob');
      if (kind === 'events') {
        await page.waitForFunction(() => gone.length === 1);
        // It comes back by itself, and gives up at the 404.
        await page.waitForFunction(() => source.readyState === EventSource.CLOSED);
      } else {
        await page.waitForFunction(() => codes.length === 1);
        assert.deepEqual(await told(page, 'codes'), [4404]);
      }
      await page.close();
    }));
}

test('a gap is told to a page that was away too long', () =>
  withWorld(async (world) => {
    const line = await startLine(world.server.port);
    try {
      const key = await createClient(world.server, 'bob', 'room');
      const page = await open(world, 'events', `${line.url}/events?client_id=bob_!!_${key}`);
      await publish(world.server, 'room', 'message 0');
      await page.waitForFunction(() => got.length === 1);
      line.cut(true);
      for (let n = 1; n <= 20; n++) await publish(world.server, 'room', `message ${n}`);
      line.cut(false);
      await until('the page has caught up', async () => (await told(page, 'got')).includes('message 20'));
      const gaps = await told(page, 'gaps');
      assert.deepEqual(gaps, [{ channel: 'room', next_id: 17, reason: 'count' }]);
      assert.equal((await told(page, 'got')).length, 6);
      await page.close();
    } finally {
      await line.stop();
    }
  }, ['--presence', 'off', '--history', '5']));

test('an EventSource begins where its URL says, and then goes on from where it is', () =>
  withWorld(async (world) => {
    const line = await startLine(world.server.port);
    try {
      // Names of positions are names of clients too.
      const key = await createClient(world.server, 'earliest', 'room');
      const url = `${line.url}/events?client_id=earliest_!!_${key}`;
      const poll = async (since) => (await fetch(`${url.replace('/events', '/message_updates')}&wait=0&since=${since}`)).json();
      for (const text of ['one', 'two']) await publish(world.server, 'room', text);
      await poll((await poll('')).since); // another page of the client has had them
      const earliest = await open(world, 'events', `${url}&since=earliest`), empty = await open(world, 'events', `${url}&since=`);
      await earliest.waitForFunction(() => got.length === 2);
      await opened(empty, 1);
      await publish(world.server, 'room', 'three');
      for (const page of [earliest, empty]) await page.waitForFunction(() => got.includes('three'));
      line.cut(false);
      await publish(world.server, 'room', 'four');
      for (const page of [earliest, empty]) await page.waitForFunction(() => got.includes('four'));
      assert.deepEqual(await told(earliest, 'got'), ['one', 'two', 'three', 'four']);
      assert.deepEqual(await told(empty, 'got'), ['three', 'four']);
      await earliest.close();
      await empty.close();
    } finally {
      await line.stop();
    }
  }, ['--presence', 'off']));
