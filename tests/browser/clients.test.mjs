// Several clients in one page: one loop polls for all, and who comes late or goes loses and doubles nothing.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  TRANSPORTS, arrived, createClient, init, launchBrowser, listen, openPage, publish, startPages, startServer, texts,
  until,
} from './support.mjs';

let server, pages, browser;

before(async () => {
  server = await startServer({ args: ['--history', '1000'] });
  pages = await startPages(server);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await pages?.stop();
  await server?.stop();
});

/** The client ids in a poll's URL. */
function idsOf(url) {
  return new URL(url).searchParams.getAll('client_id').map((credentials) => credentials.split('_!!_')[0]);
}

for (const { name, flags } of TRANSPORTS) describe(name, () => {
  const named = (what) => `${name}-${what}`;
  const open = () => openPage(browser, pages, server.url, { flags });

  test('two at once: one loop, one poll for both, each message once', async () => {
    const page = await open();
    const [a, b, room] = ['a', 'b', 'room'].map(named);
    const keys = [await createClient(server, a, room, named('a only')), await createClient(server, b, room, named('b only'))];
    for (const channel of [room, named('a only'), named('b only')]) await listen(page, channel);
    await page.evaluate(([a, keyA, b, keyB]) => {
      Shaveet.init(a, keyA);
      Shaveet.init(b, keyB);
      Shaveet.init(b, keyB);
    }, [a, keys[0], b, keys[1]]);
    await until('the poll is parked', () => page.polls.length === 2);
    assert.ok(page.polls.every((url) => idsOf(url).join() === `${a},${b}`), page.polls.join());
    for (const [channel, text] of [[room, 'both'], [named('a only'), 'a'], [named('b only'), 'b'], [room, 'end']]) {
      const polls = page.polls.length;
      await publish(server, channel, text);
      await arrived(page, text);
      await until('it polls again', () => page.polls.length > polls);
      assert.equal(page.polls.length, polls + 1, 'one answer, one poll');
    }
    assert.deepEqual(await texts(page), ['both', 'a', 'b', 'end']);
    await page.close();
  });

  test('one that comes late joins at once, without a second loop', async () => {
    const page = await open();
    const [early, late, room] = ['early', 'late', 'late room'].map(named);
    const keyEarly = await createClient(server, early, room);
    const keyLate = await createClient(server, late, room, named('late only'));
    await listen(page, room);
    await listen(page, named('late only'));
    await init(page, early, keyEarly);
    await arrived(page, '{"type": "subscribe"}');
    await until('the first is parked', () => page.polls.length === 2);

    await init(page, late, keyLate);
    await until('the late one is parked too', () => page.polls.length === 5); // by then it was asked what else there is
    await publish(server, named('late only'), 'for the late one');
    await arrived(page, 'for the late one');
    // Both are due what is said in the room.
    await publish(server, room, 'for both');
    await arrived(page, 'for both');
    for (const text of ['1', '2', '3']) {
      const polls = page.polls.length;
      await publish(server, room, text);
      await arrived(page, text);
      await until('it polls again', () => page.polls.length > polls);
      assert.equal(page.polls.length, polls + 1, 'one loop');
      assert.deepEqual(idsOf(page.polls.at(-1)), [early, late]);
    }
    assert.deepEqual(await texts(page), ['for the late one', 'for both', '1', '2', '3']);
    await page.close();
  });

  test('a client that comes in the middle of a stream: nothing lost, doubled or overtaken', async () => {
    const page = await open();
    const [first, room] = ['streaming', 'stream'].map(named);
    await listen(page, room);
    await init(page, first, await createClient(server, first, room));
    const sent = [];
    for (let i = 0; i < 200; i++) {
      if (i % 40 === 20) {
        const guest = named(`guest ${i}`);
        await init(page, guest, await createClient(server, guest, `${guest} only`));
      }
      sent.push(`line ${i}`);
      await publish(server, room, `line ${i}`);
    }
    await arrived(page, 'line 199');
    assert.deepEqual(await texts(page, room), sent);
    await page.close();
  });

  test('more that come late than polls may be out all join', async () => {
    const page = await open();
    await page.evaluate(() => Shaveet.listenSingle('*', record));
    for (let i = 0; i < 8; i++) {
      const id = named(`crowd ${i}`);
      const key = await createClient(server, id, `${id} only`);
      await init(page, id, key);
    }
    for (let i = 0; i < 8; i++) await publish(server, `${named(`crowd ${i}`)} only`, `for ${i}`);
    for (let i = 0; i < 8; i++) await arrived(page, `for ${i}`);
    assert.equal((await texts(page)).length, 8);
    await page.close();
  });

  test('one that is removed is polled for no more', async () => {
    const page = await open();
    const [stays, goes] = ['stays', 'goes'].map(named);
    await page.evaluate(() => Shaveet.listenSingle('*', record));
    const keys = [await createClient(server, stays, stays), await createClient(server, goes, goes)];
    await init(page, stays, keys[0]);
    await init(page, goes, keys[1]);
    await publish(server, goes, 'before');
    await arrived(page, 'before');
    await page.evaluate((goes) => { Shaveet.remove(goes); Shaveet.remove('nobody'); }, goes);
    for (const text of ['1', '2']) {
      await publish(server, stays, text);
      await arrived(page, text);
    }
    await until('the poll after', () => idsOf(page.polls.at(-1)).join() === stays);
    await page.close();
  });

  test('when the last is removed nothing is polled; a new one starts again', async () => {
    const page = await open();
    const [old, young] = ['old', 'young'].map(named);
    await page.evaluate(() => Shaveet.listenSingle('*', record));
    await init(page, old, await createClient(server, old, old));
    await arrived(page, '{"type": "subscribe"}');
    await until('it is parked', () => page.polls.length === 2);
    await page.evaluate((old) => Shaveet.remove(old), old);
    await publish(server, old, 'too late');
    // A script tag cannot be aborted: it has got the message, and kept it to itself.
    await page.waitForFunction(() => !Object.keys(window).some((name) => name.startsWith('_shaveet_')));
    await init(page, young, await createClient(server, young, young));
    await publish(server, young, 'hello');
    await arrived(page, 'hello');
    assert.deepEqual(await texts(page), ['hello']);
    assert.ok(page.polls.slice(2).every((url) => idsOf(url).join() === young), page.polls.join());
    assert.deepEqual(await page.evaluate(() => gone), []);
    assert.deepEqual(page.errors, []);
    await page.close();
  });
});
