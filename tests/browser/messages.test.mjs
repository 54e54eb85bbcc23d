// Messages reach the listeners of a page on another origin, whole, once and in order, by either transport.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import {
  TRANSPORTS, arrived, createClient, init, launchBrowser, listen, openPage, pause, publish, random, scriptFile,
  startPages, startServer, texts, until,
} from './support.mjs';

let server, pages, browser;

before(async () => {
  // A burst may overflow a short history before the page polls again.
  server = await startServer({ args: ['--history', '1000'] });
  pages = await startPages(server);
  browser = await launchBrowser();
});

after(async () => {
  await browser?.close();
  await pages?.stop();
  await server?.stop();
});

test('the server hands out this very script', async () => {
  const response = await fetch(`${server.url}/static/shaveet.js?any=query`);
  assert.match(response.headers.get('content-type'), /javascript/);
  assert.equal(await response.text(), readFileSync(scriptFile, 'utf8'), 'the binary is older than static/shaveet.js');
});

test('the page sees the globals', async () => {
  const page = await openPage(browser, pages, server.url);
  const globals = await page.evaluate(() => [
    ...['init', 'listenSingle', 'listenBulk', 'stopListening', 'remove', 'onClientGone', 'onGap', 'onStatus']
      .map((name) => typeof Shaveet[name]),
    Shaveet.onGone, Shaveet.keepPosition, typeof MutableSet,
  ]);
  assert.deepEqual(globals, [...Array(8).fill('function'), null, false, 'function']);
  await page.close();
});

test('MutableSet is a set of strings', async () => {
  const page = await openPage(browser, pages, server.url);
  const seen = await page.evaluate(() => {
    const set = new MutableSet(['a', 'b', 'a']);
    const seen = [set.length, set.vals()];
    set.add('b');
    set.remove('nobody');
    set.add('__proto__');
    set.add('constructor');
    set.add(7);
    seen.push(set.length, set.contains('__proto__'), set.contains('toString'), set.contains('7'), set.vals());
    set.remove('__proto__');
    seen.push(set.contains('__proto__'), set.length, new MutableSet().length, new MutableSet().contains('__proto__'));
    return seen;
  });
  assert.deepEqual(seen, [
    2, ['a', 'b'],
    5, true, false, true, ['a', 'b', '__proto__', 'constructor', '7'],
    false, 4, 0, false,
  ]);
  await page.close();
});

test('loading it twice changes nothing', async () => {
  const page = await openPage(browser, pages, server.url);
  const key = await createClient(server, 'twice', 'twice');
  await listen(page, 'twice');
  await init(page, 'twice', key);
  const same = await page.evaluate((url) => new Promise((resolve) => {
    const before = Shaveet;
    const script = document.createElement('script');
    script.src = url;
    script.onload = () => resolve(before === Shaveet);
    document.head.appendChild(script);
  }), `${server.url}/static/shaveet.js?again`);
  assert.equal(same, true);
  await publish(server, 'twice', 'once');
  await arrived(page, 'once');
  assert.deepEqual(await texts(page), ['once']);
  await page.close();
});

test('a page that has no such script is told so', async () => {
  const page = await browser.newPage();
  await page.goto(pages.add('<!doctype html>'));
  await page.evaluate((source) => { (0, eval)(source); }, await (await fetch(`${server.url}/static/shaveet.js`)).text());
  const message = await page.evaluate(() => { try { Shaveet.init('a', 'b'); } catch (error) { return error.message; } });
  assert.match(message, /static\/shaveet\.js/);
  await page.close();
});

for (const { name, flags } of TRANSPORTS) describe(name, () => {
  const channel = (what) => `${name} ${what}`;
  const open = (options) => openPage(browser, pages, server.url, { flags, ...options });

  test('a message arrives with all that belongs to it', async () => {
    const page = await open();
    const key = await createClient(server, channel('bob'), channel('room'));
    await listen(page, channel('room'));
    await init(page, channel('bob'), key);
    await publish(server, channel('room'), '{"a": [1, null]}', 'alice');
    await arrived(page, '{"a": [1, null]}');
    assert.deepEqual(await page.evaluate(() => got), [
      // The client's own subscription comes first (WIRE C1).
      {
        id: 1, client_id: channel('bob'), payload: { type: 'subscribe' }, payload_raw: '{"type": "subscribe"}',
        channelName: channel('room'), system: true, reason: 'subscribed',
      },
      {
        id: 2, client_id: 'alice', payload: { a: [1, null] }, payload_raw: '{"a": [1, null]}',
        channelName: channel('room'), system: false,
      },
    ]);
    const [first, ...others] = page.polls.map((url) => new URL(url).searchParams);
    assert.equal(first.get('since'), '', 'it begins where the server says');
    assert.ok(others.every((poll) => /^[0-9a-z-]+$/.test(poll.get('since'))), page.polls.join());
    assert.ok([first, ...others].every((poll) => /^\d+$/.test(poll.get('ts')) && poll.has('callback') === Boolean(flags)));
    await page.close();
  });

  test('texts arrive as they were, payload is their JSON or null', async () => {
    const page = await open();
    const key = await createClient(server, channel('reader'), channel('texts'));
    const sent = [
      '{"a": {"b": [true, false, null, -1.5e3, "x"]}}', '[]', '7', '"quoted"', 'true', 'null', 'plain text', '',
      'é ☃ 😀', '"é ☃ 😀"', '\u2028\u2029', '"\u2028"', '</script><script>window.broken = 1</script>', '<!--', ');', 'noop(1);',
      'tab\t, line\n, nul\0, "quote", back\\slash', "{'not': 'json'}", '{"open": ', 'location = "about:blank"',
    ];
    await listen(page, channel('texts'));
    await init(page, channel('reader'), key);
    for (const text of sent) await publish(server, channel('texts'), text);
    await publish(server, channel('texts'), 'last');
    await arrived(page, 'last');
    const got = (await page.evaluate(() => got)).slice(1, -1);
    assert.deepEqual(got.map((update) => update.payload_raw), sent);
    const json = (text) => { try { return JSON.parse(text); } catch { return null; } };
    assert.deepEqual(got.map((update) => update.payload), sent.map(json));
    assert.equal(await page.evaluate(() => window.broken), undefined);
    assert.deepEqual(page.errors, []);
    await page.close();
  });

  test('listeners: several, bulk, * for the rest, stopListening', async () => {
    const page = await open();
    const [own, other, stopped] = ['own', 'other', 'stopped'].map(channel);
    await page.evaluate(([own, stopped]) => {
      window.calls = [];
      const note = (who) => (updates) => [].concat(updates).forEach((u) => {
        if (u.payload === null) calls.push(`${who}: ${u.payload_raw}`);
      });
      Shaveet.listenSingle(own, note('single'));
      Shaveet.listenBulk(own, (updates) => { if (Array.isArray(updates)) note('bulk')(updates); });
      Shaveet.listenSingle('*', note('rest'));
      Shaveet.listenSingle(stopped, note('stopped'));
      Shaveet.stopListening(stopped);
      Shaveet.stopListening('never listened to');
    }, [own, stopped]);
    await init(page, channel('listener'), await createClient(server, channel('listener'), own, other, stopped));
    const called = async (who) => { await page.waitForFunction((who) => calls.includes(who), who); };
    await publish(server, own, 'to own');
    await called('bulk: to own');
    await publish(server, other, 'to other');
    await called('rest: to other');
    await publish(server, stopped, 'to stopped');
    await called('rest: to stopped');
    await page.evaluate(() => Shaveet.stopListening('*'));
    await publish(server, other, 'to nobody');
    await publish(server, own, 'the end');
    await called('bulk: the end');
    assert.deepEqual(await page.evaluate(() => calls), [
      'single: to own', 'bulk: to own', 'rest: to other', 'rest: to stopped', 'single: the end', 'bulk: the end',
    ]);
    await page.close();
  });

  test('a listener that throws stops neither the others nor the polling, and is heard of', async () => {
    const page = await open();
    const room = channel('throwing');
    await page.evaluate((room) => {
      Shaveet.listenSingle(room, (update) => { throw new Error(`mistake at ${update.payload_raw}`); });
      Shaveet.listenBulk(room, () => { throw new Error('bulk mistake'); });
      Shaveet.listenSingle(room, record);
    }, room);
    await init(page, channel('thrown'), await createClient(server, channel('thrown'), room));
    await publish(server, room, 'one');
    await publish(server, room, 'two');
    await arrived(page, 'two');
    assert.deepEqual(await texts(page), ['one', 'two']);
    for (const mistake of ['mistake at one', 'mistake at two', 'bulk mistake'])
      await until(`${mistake} is heard of`, () => page.errors.includes(mistake));
    await page.close();
  });

  for (const odd of ['__proto__', 'constructor', 'hasOwnProperty', '*', '', '0', 'a "quoted" <b>&amp;', 'комната 😀'])
    test(`a channel named ${JSON.stringify(odd)}`, async () => {
      const page = await open();
      const id = channel(`reader of ${odd}`);
      await listen(page, odd);
      await init(page, id, await createClient(server, id, odd, channel('beside')));
      await publish(server, odd, `${name} on odd`);
      await arrived(page, `${name} on odd`);
      await publish(server, channel('beside'), 'unheard');
      await publish(server, odd, 'more');
      await arrived(page, 'more');
      if (odd !== '*') assert.deepEqual(await texts(page), [`${name} on odd`, 'more']);
      assert.equal((await page.evaluate(() => got)).at(-1).channelName, odd);
      assert.deepEqual(page.errors, []);
      await page.close();
    });

  for (const odd of ['with spaces', 'a+b', 'a&client_id=b', 'a#b', '100%', '%41', 'a?b=c;d', 'zoë', '😀', '__proto__', '"\'\\'])
    test(`a client named ${JSON.stringify(odd)}`, async () => {
      const page = await open();
      const id = `${odd} ${name}`;
      await listen(page, channel('ids'));
      await init(page, id, await createClient(server, id, channel('ids')));
      await publish(server, channel('ids'), `for ${id}`, odd);
      await arrived(page, `for ${id}`);
      assert.equal((await page.evaluate(() => got)).at(-1).client_id, odd);
      await page.close();
    });

  test('300 messages in random bursts arrive in order and once', async (t) => {
    const page = await open();
    const below = random(t);
    const rooms = ['burst 1', 'burst 2', 'burst 3'].map(channel);
    const sent = new Map(rooms.map((room) => [room, []]));
    for (const room of rooms) await listen(page, room);
    await init(page, channel('burst'), await createClient(server, channel('burst'), ...rooms));
    for (let count = 0, burst = 0; count < 300; count++) {
      if (burst-- === 0) {
        burst = below(20);
        await pause(below(40));
      }
      const room = rooms[below(3)];
      const text = `message ${count}`;
      sent.get(room).push(text);
      await publish(server, room, text);
    }
    await page.waitForFunction(() => got.filter((update) => update.payload_raw.startsWith('message')).length >= 300);
    for (const room of rooms) assert.deepEqual(await texts(page, room), sent.get(room));
    await page.close();
  });

  test('a page in Latin-1 gets every letter', async () => {
    const room = channel('latin');
    const key = await createClient(server, channel('latin'), room);
    const page = await browser.newPage();
    await page.goto(pages.add(`<!doctype html><script src="${server.url}/static/shaveet.js${flags}"></script>
      <script>var got = []; Shaveet.listenSingle(${JSON.stringify(room)}, function (u) { got.push(u); });
      Shaveet.init(${JSON.stringify(channel('latin'))}, "${key}");</script>`, 'text/html; charset=iso-8859-1'));
    await publish(server, room, 'zoë ☃ 😀');
    await arrived(page, 'zoë ☃ 😀');
    await page.close();
  });

  test('under the path of another origin, behind a proxy', async () => {
    const page = await openPage(browser, pages, '/chat/push', { flags });
    await listen(page, channel('path'));
    await init(page, channel('path'), await createClient(server, channel('path'), channel('path')));
    await publish(server, channel('path'), 'through');
    await arrived(page, 'through');
    assert.ok(page.polls[0].startsWith(`${pages.url}/chat/push/message_updates?since=`), page.polls[0]);
    await page.close();
  });

  test('a parked poll does not hold up the load event, and leaves nothing behind', async () => {
    const room = channel('load');
    const key = await createClient(server, channel('load'), room);
    const page = await browser.newPage();
    // goto() waits for the load event.
    await page.goto(pages.add(`<!doctype html><script src="${server.url}/static/shaveet.js${flags}"></script>
      <script>var got = []; Shaveet.listenSingle(${JSON.stringify(room)}, function (u) { got.push(u); });
      Shaveet.init(${JSON.stringify(channel('load'))}, "${key}");</script>`), { timeout: 15_000 });
    for (const text of ['1', '2', '3']) {
      await publish(server, room, text);
      await arrived(page, text);
    }
    const left = () => [
      Object.keys(window).filter((name) => name.startsWith('_shaveet_')).length,
      document.querySelectorAll('script[src*="message_updates"]').length,
    ];
    const one = flags ? 1 : 0; // the poll that is parked
    await page.waitForFunction(`JSON.stringify((${left})()) === '[${one},${one}]'`);
    await page.close();
  });
});
