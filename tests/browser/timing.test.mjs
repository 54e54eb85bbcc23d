// When the script polls, what it makes of odd answers, and what it does in old browsers: in a made-up browser with a
// clock of its own.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeBrowser, answer } from './fake-browser.mjs';

const since = (request) => new URL(request.url ?? request.src).searchParams.get('since');
const clients = (request) =>
  new URL(request.url ?? request.src).searchParams.getAll('client_id').map((client) => client.split('_!!_')[0]).join();

test('after failures it waits 1, 2, 4 ... 20 seconds, and 1 again after a success', () => {
  const browser = new FakeBrowser();
  browser.init();
  const waits = () => Array.from({ length: 7 }, () => {
    browser.fail();
    return browser.untilNext();
  });
  const expected = [1000, 2000, 4000, 8000, 16000, 20000, 20000];
  assert.deepEqual(waits(), expected);
  browser.pass(3000);
  browser.answer();
  assert.deepEqual(waits(), expected);
  assert.deepEqual(browser.gone, []);
  const first = expected.flatMap((ms) => [`waiting ${ms}`, 'connecting']);
  assert.deepEqual(browser.statuses, ['connecting', ...first, 'connected', ...first]);
});

test('the waits vary by half, and are never above 30 seconds', () => {
  for (const [luck, first, last] of [[0, 500, 10_000], [0.999_999, 1500, 30_000]]) {
    const browser = new FakeBrowser();
    browser.luck = luck;
    browser.init();
    browser.fail();
    assert.equal(browser.untilNext(), first);
    for (let i = 0; i < 10; i++) {
      browser.fail();
      browser.untilNext();
    }
    browser.fail();
    assert.equal(browser.untilNext(), last);
  }
});

test('back online it polls at once', () => {
  const browser = new FakeBrowser();
  browser.init();
  for (let i = 0; i < 6; i++) {
    browser.fail();
    browser.untilNext();
  }
  browser.fail();
  browser.online();
  assert.equal(browser.untilNext(), 1);
});

test('back online a parked poll is begun anew, from where it was', () => {
  const browser = new FakeBrowser();
  browser.init();
  const first = answer([1]);
  browser.answer(first);
  browser.online();
  browser.pass(1);
  assert.ok(browser.requests[1].aborted);
  assert.equal(since(browser.requests[2]), first.since);
  browser.answer(answer([2]), browser.requests[1]); // too late: the other will bring it again
  assert.deepEqual(browser.got, ['1']);
  browser.answer(answer([2]));
  assert.deepEqual(browser.got, ['1', '2']);
});

test('awake after a sleep it begins its poll anew; a hidden tab, which is late too, does not', () => {
  const browser = new FakeBrowser();
  browser.init();
  const first = answer([1]);
  browser.answer(first);
  browser.now += 59_000; // browsers give hidden tabs their timers once a minute
  browser.pass(1);
  assert.ok(!browser.requests[1].aborted);
  browser.now += 3_600_000;
  browser.pass(2);
  assert.ok(browser.requests[1].aborted);
  assert.equal(browser.requests.length, 3);
  assert.equal(since(browser.requests[2]), first.since);
});

test('an answer is followed by the next poll at once, but not if it was empty and came at once', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(answer([1]));
  assert.equal(browser.requests.length, 2);
  browser.pass(25_000);
  browser.answer();
  assert.equal(browser.requests.length, 3);
  browser.answer();
  assert.equal(browser.untilNext(), 1000);
});

test('more is asked for at once, and retry_ms is obeyed', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(answer([1], { more: true }));
  browser.answer(answer([2], { retry_ms: 4321 }));
  assert.deepEqual(browser.got, ['1', '2']);
  assert.equal(browser.untilNext(), 4321);
  browser.answer(answer([3]));
  assert.deepEqual(browser.statuses, ['connecting', 'connected', 'waiting 4321', 'connecting', 'connected']);
});

test('what is parked for two seconds is connected', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.pass(1999);
  assert.deepEqual(browser.statuses, ['connecting']);
  browser.pass(1);
  assert.deepEqual(browser.statuses, ['connecting', 'connected']);
});

test('a poll that is not answered in a minute is given up', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.pass(59_999);
  assert.ok(!browser.requests[0].aborted);
  browser.pass(1);
  assert.ok(browser.requests[0].aborted);
  assert.equal(browser.untilNext(), 1000);
});

test('who is gone is told once, and asked for slowly', () => {
  const browser = new FakeBrowser();
  browser.init();
  const waits = Array.from({ length: 7 }, () => {
    browser.refuse(404);
    return browser.untilNext();
  });
  assert.deepEqual(waits, [1000, 2000, 4000, 8000, 16000, 20000, 20000]);
  assert.deepEqual(browser.gone, ['bob']);
  assert.deepEqual(browser.statuses, ['connecting', 'gone']);
  browser.answer(answer([1])); // it is back
  assert.deepEqual(browser.statuses, ['connecting', 'gone', 'connected']);
  browser.refuse(404);
  assert.deepEqual(browser.gone, ['bob', 'bob']);
});

test('of eight clients the two that are gone are found by halves, with the token of all', () => {
  const browser = new FakeBrowser();
  const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'];
  for (const id of ids) browser.run(`Shaveet.init("${id}", "key")`);
  browser.pass(1);
  const first = answer([1]);
  browser.answer(first);
  const bad = ['c', 'h'];
  let asked = 0;
  for (let ms = 0; ms < 30_000 && !browser.gone.length; ms++) {
    const request = browser.requests.at(-1);
    if (asked !== browser.requests.length && bad.some((id) => clients(request).includes(id))) browser.refuse(404);
    asked = browser.requests.indexOf(request) + 1;
    browser.pass(1);
  }
  assert.deepEqual(browser.gone, ['c,h']);
  assert.ok(browser.requests.length < 20);
  assert.ok(browser.requests.slice(1).every((request) => since(request) === first.since));
  browser.pass(1);
  assert.equal(clients(browser.requests.at(-1)), 'a,b,d,e,f,g');
  browser.answer(answer([2]));
  assert.deepEqual(browser.got, ['1', '2']);
});

test('what comes while it looks for who is gone comes again', () => {
  const browser = new FakeBrowser();
  for (const id of ['a', 'b']) browser.run(`Shaveet.init("${id}", "key")`);
  browser.pass(1);
  browser.refuse(404);
  browser.answer(answer([1]));
  browser.refuse(404);
  assert.deepEqual(browser.gone, ['b']);
  assert.deepEqual(browser.got, []);
  browser.untilNext();
  assert.equal(since(browser.requests.at(-1)), '');
  browser.answer(answer([1, 2]));
  assert.deepEqual(browser.got, ['1', '2']);
});

test('who was gone and comes back with another key goes on from there', () => {
  const browser = new FakeBrowser();
  browser.init();
  const first = answer([1]);
  browser.answer(first);
  browser.refuse(404);
  browser.init('bob', 'new');
  assert.match(browser.requests.at(-1).url, new RegExp(`since=${first.since}&client_id=bob_!!_new&`));
});

test('a token that the server does not take is not asked with again', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(answer([1]));
  browser.refuse(400);
  browser.untilNext();
  assert.equal(since(browser.requests.at(-1)), '');
});

test('an answer that is none is a failure', () => {
  const browser = new FakeBrowser();
  browser.init();
  const odd = ['', '<html>', '{"since":"x","messages":[', '{}', '[]', 'null', '7', '{"since":"x"}', 'noop({});', '{"error":"no"}'];
  for (const text of odd) {
    Object.assign(browser.requests.at(-1), { status: 200, responseText: text }).onload();
    assert.ok(browser.untilNext() >= 1000, text);
  }
  browser.refuse(503);
  assert.ok(browser.untilNext() >= 1000);
  assert.deepEqual(browser.gone, []);
});

test('the position moves before the listeners are called', () => {
  const browser = new FakeBrowser();
  browser.run('Shaveet.listenSingle("room", function () { Shaveet.init("late", "key"); });');
  browser.init();
  const first = answer([1]);
  browser.answer(first);
  browser.pass(1);
  assert.deepEqual(browser.requests.slice(1).map((request) => [clients(request), since(request)]),
    [['bob', first.since], ['late', '']]);
});

test('a newcomer polls alone until it is answered, and then all go on from the older position', () => {
  const browser = new FakeBrowser();
  browser.init('early');
  const first = answer([1]);
  browser.answer(first);
  browser.init('late');
  const [, main, newcomer] = browser.requests;
  assert.deepEqual([clients(newcomer), since(newcomer)], ['late', '']);
  browser.answer(answer([1, 2, 3]), newcomer);
  browser.pass(0);
  assert.ok(main.aborted);
  const all = browser.requests.at(-1);
  assert.deepEqual([clients(all), since(all)], ['early,late', first.since]);
  assert.deepEqual(browser.got, ['1'], 'in between there may be something older');
  browser.answer(answer([2, 3, 4]));
  assert.deepEqual(browser.got, ['1', '2', '3', '4']);
  assert.equal(browser.requests.length, 5, 'one loop');
});

test('what a newcomer brought is told when the answer says that nothing else is due, however long that takes', () => {
  const browser = new FakeBrowser();
  const wait = () => new URL(browser.requests.at(-1).url).searchParams.get('wait');
  browser.init('early');
  const first = answer([5]);
  browser.answer(first);
  browser.init('late');
  browser.answer(answer([1, 2]));
  browser.pass(0);
  browser.pass(30_000);
  assert.deepEqual([browser.got, wait()], [['5'], '0']);
  browser.answer(answer([], { since: first.since, retry_ms: 700 })); // sent away: nobody has looked
  assert.deepEqual(browser.got, ['5']);
  assert.equal(browser.untilNext(), 700);
  browser.fail();
  browser.untilNext();
  assert.equal(wait(), '0');
  browser.answer(answer([], { since: first.since }));
  assert.deepEqual(browser.got, ['5', '1', '2']);
  browser.pass(0);
  assert.deepEqual([wait(), since(browser.requests.at(-1))], [null, first.since], 'and then it waits at once');
});

test('who takes the place of the first, and has more to be told, asks for it', () => {
  const browser = new FakeBrowser();
  browser.init('early');
  browser.answer(answer([5]));
  browser.init('late');
  browser.answer(answer([1], { more: true }));
  browser.fail(); // it waits, and holds the 1
  browser.run('Shaveet.remove("early")');
  browser.pass(1);
  const last = browser.requests.at(-1);
  assert.deepEqual([clients(last), new URL(last.url).searchParams.get('wait')], ['late', '0']);
  browser.answer(answer([2]));
  assert.deepEqual(browser.got, ['5', '1', '2']);
});

test('a newcomer whose poll is older than the position of the others asks anew before it joins', () => {
  const browser = new FakeBrowser();
  browser.init('early');
  browser.answer(answer([1]));
  browser.init('late');
  const [, main, newcomer] = browser.requests;
  const second = answer([7]);
  browser.answer(second, main);
  browser.pass(1);
  assert.ok(newcomer.aborted);
  browser.answer(answer([3]), newcomer); // it was on its way, and may be from before the 7
  assert.deepEqual([clients(browser.requests.at(-1)), since(browser.requests.at(-1))], ['late', '']);
  browser.answer(answer([3, 4]));
  browser.pass(0);
  assert.equal(since(browser.requests.at(-1)), second.since);
});

test('a gap that is told to a newcomer and then to all is one', () => {
  const browser = new FakeBrowser();
  const gaps = [{ channel: 'room', next_id: 7, reason: 'count', system: true }];
  browser.init('early');
  browser.answer(answer([1]));
  browser.init('late');
  browser.answer(answer([7], { gaps }));
  browser.pass(0);
  browser.answer(answer([7], { gaps }));
  assert.deepEqual(browser.gaps, [{ channelName: 'room', next_id: 7, reason: 'count', system: true }]);
  assert.deepEqual(browser.got, ['1', '7']);
});

test('the same message again is a new one if nobody has joined', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(answer([1]));
  browser.answer(answer([1])); // the channel was forgotten and is counted anew
  assert.deepEqual(browser.got, ['1', '1']);
});

test('no more than three polls are out by script, however many clients come late', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  for (let i = 0; i < 6; i++) browser.init(`client ${i}`);
  assert.equal(browser.tags.length, 3);
  browser.tags[0].onload();
  browser.pass(1);
  assert.equal(browser.tags.length, 4);
  assert.equal(clients(browser.tags[3]).split(',').length, 6);
});

test('removing the last client aborts its poll', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.run('Shaveet.remove("bob")');
  assert.ok(browser.requests[0].aborted);
  assert.throws(() => browser.untilNext(), /nothing happens/);
  assert.equal(browser.statuses.at(-1), 'idle');
});

test('the same client twice is one, and a new key takes the place of the old', () => {
  const browser = new FakeBrowser();
  browser.init('bob', 'old');
  browser.init('bob', 'old');
  assert.equal(browser.requests.length, 1);
  browser.init('bob', 'new');
  assert.match(browser.requests.at(-1).url, /since=&client_id=bob_!!_new&ts=\d+$/);
});

test('a script that is given up may come late: what it brings comes again', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.init();
  const [tag] = browser.tags;
  const callback = /callback=(\w+)/.exec(tag.src)[1];
  browser.pass(60_000);
  browser.untilNext();
  browser.run(`${callback}(${JSON.stringify(answer([1]))})`);
  tag.onload();
  assert.deepEqual(browser.got, []);
  assert.equal(browser.run(`typeof ${callback}`), 'undefined');
  assert.equal(since(browser.tags[1]), '');
});

test('a script that brings no answer is a failure, one that says 404 is none', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.init();
  browser.tags[0].onload();
  assert.equal(browser.untilNext(), 1000);
  assert.match(browser.tags[1].src, /since=&client_id=bob_!!_key&ts=\d+&callback=_shaveet_2$/);
  browser.tags[1].onerror();
  assert.equal(browser.untilNext(), 2000);
  assert.deepEqual(browser.gone, []);
  browser.run('_shaveet_3({ error: { code: 404, message: "no" } })');
  browser.tags[2].onload();
  assert.deepEqual(browser.gone, ['bob']);
});

for (const options of [{ kind: 'old' }, { kind: 'old', flags: '?a=b&disableCORS=1&disableIECORS=1' }])
  test(`an old browser polls by script tags: ${JSON.stringify(options)}`, () => {
    const browser = new FakeBrowser(options);
    browser.init();
    assert.equal(browser.requests.length, 0);
    const [tag] = browser.tags;
    assert.match(tag.src, /\/path\/message_updates\?since=&client_id=bob_!!_key&ts=\d+&callback=_shaveet_1$/);
    browser.run(`_shaveet_1(${JSON.stringify(answer([1]))})`);
    tag.readyState = 'loaded';
    tag.onreadystatechange();
    assert.deepEqual(browser.got, ['1']);
    assert.equal(browser.tags.length, 2);
  });

test('a page that takes long to load does not wait for ever to poll by script', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.window.document.readyState = 'interactive';
  browser.init();
  assert.equal(browser.tags.length, 0);
  assert.ok(browser.untilNext() <= 5100);
});
