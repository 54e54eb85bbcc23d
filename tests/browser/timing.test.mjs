// What a real browser does not show: waits of half a minute, lost lines, and browsers of 2009. The script runs in an
// empty world with its own clock, where requests and script tags do what the test says.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import vm from 'node:vm';
import { scriptFile } from './support.mjs';

const script = new vm.Script(readFileSync(scriptFile, 'utf8'), { filename: 'shaveet.js' });
const SERVER = 'http://push.example:8082/path';

/** A browser: `modern`, or one that has only XDomainRequest, or none of both. */
class FakeBrowser {
  now = 1_000_000;
  timers = [];
  requests = []; // XMLHttpRequest and XDomainRequest
  tags = [];     // script tags that were put into the page
  luck = 0.5;    // what Math.random() says

  constructor({ flags = '', kind = 'modern' } = {}) {
    const browser = this;
    const source = { src: `${SERVER}/static/shaveet.js${flags}` };
    const head = {
      appendChild(tag) { tag.parentNode = head; browser.tags.push(tag); },
      removeChild(tag) { tag.parentNode = null; },
    };
    class Request {
      open(method, url) { this.url = url; }
      send() { browser.requests.push(this); }
      abort() { this.aborted = true; }
    }
    this.window = vm.createContext({
      document: {
        readyState: 'complete',
        currentScript: kind === 'modern' ? source : undefined,
        documentElement: head,
        getElementsByTagName: (name) => (name === 'head' ? [head] : [{ src: '' }, {}, source]),
        createElement: () => (kind === 'modern' ? { onload: null, onerror: null } : { onreadystatechange: null }),
      },
      setTimeout: (func, ms) => this.timers.push({ at: this.now + ms, func }),
      clearTimeout: (id) => { if (this.timers[id - 1]) this.timers[id - 1].func = null; },
    });
    this.run(`window = this; Math.random = function () { return luck(); };
      Date = function () { this.getTime = function () { return clock(); }; };`, { luck: () => this.luck, clock: () => this.now });
    if (kind === 'modern') {
      this.window.XMLHttpRequest = class extends Request { withCredentials = false; status = 0; };
      this.window.addEventListener = (event, func) => { this[event] = func; };
    } else {
      this.window.XMLHttpRequest = Request;
      if (kind === 'XDomainRequest') this.window.XDomainRequest = Request;
      this.run(`['forEach', 'map', 'filter', 'indexOf', 'some', 'every'].forEach(function (name) { delete Array.prototype[name]; });
        delete Array.isArray; delete Object.keys; delete Object.create; delete Object.getPrototypeOf; delete String.prototype.trim;
        delete Function.prototype.bind;`);
    }
    script.runInContext(this.window);
    this.run('got = []; gone = []; Shaveet.listenSingle("*", function (update) { got.push(update.payload_raw); }); '
      + 'Shaveet.onGone = function (ids) { gone.push(ids.join()); };');
  }

  run(code, globals = {}) {
    Object.assign(this.window, globals);
    return vm.runInContext(code, this.window);
  }

  /** Lets time pass, running what is due in its order. */
  pass(ms) {
    const end = this.now + ms;
    for (;;) {
      const due = this.timers.filter((timer) => timer.func && timer.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.now = Math.max(this.now, due.at);
      const { func } = due;
      due.func = null;
      func();
    }
    this.now = end;
  }

  /** How long until the next request or script tag, in steps of a millisecond. */
  untilNext(max = 100_000) {
    const count = () => this.requests.length + this.tags.length;
    const before = count(), start = this.now;
    while (count() === before) {
      if (this.now - start > max) throw new Error('nothing happens any more');
      this.pass(1);
    }
    return this.now - start;
  }

  init(id = 'bob', key = 'key') {
    this.run(`Shaveet.init(${JSON.stringify(id)}, ${JSON.stringify(key)})`);
    this.pass(1);
  }

  /** The last request is answered. */
  answer(channels = {}, request = this.requests.at(-1)) {
    Object.assign(request, { status: 200, responseText: `noop(${JSON.stringify(channels)});` }).onload();
  }

  /** The last request fails, as it does without a server; and so does the probe that follows. */
  fail(request = this.requests.at(-1)) {
    request.onerror();
    const probe = this.tags.at(-1);
    if (probe?.src.includes('probe') && probe.parentNode) probe.onerror();
  }

  /** The last request fails, and the probe loads the script: the server is there. */
  refuse(request = this.requests.at(-1)) {
    request.onerror();
    script.runInContext(this.window);
    this.tags.at(-1).onload();
  }

  get got() { return [...this.window.got]; }
  get gone() { return [...this.window.gone]; }
}

const room = (...texts) => ({ room: texts.map((text, i) => [i + 1, text, 'webapp']) });

test('after failures it waits 1, 2, 4 ... 20 seconds, and 1 again after a success', () => {
  const browser = new FakeBrowser();
  browser.init();
  const waits = () => Array.from({ length: 7 }, () => {
    browser.fail();
    return browser.untilNext();
  });
  const expected = [1000, 2000, 4000, 8000, 16000, 20000, 20000];
  assert.deepEqual(waits(), expected);
  browser.pass(2000);
  browser.answer();
  assert.deepEqual(waits(), expected);
  assert.deepEqual(browser.gone, []);
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

test('an answer is followed by the next poll at once, but not if it was empty and came at once', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(room('now'));
  assert.equal(browser.requests.length, 2);
  browser.pass(25_000);
  browser.answer();
  assert.equal(browser.requests.length, 3);
  browser.answer();
  assert.equal(browser.untilNext(), 1000);
});

test('a poll that is not answered in a minute is given up', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.pass(59_999);
  assert.ok(!browser.requests[0].aborted);
  browser.pass(1);
  assert.ok(browser.requests[0].aborted);
  assert.equal(browser.untilNext(), 1000);
  assert.equal(browser.tags.length, 0, 'a line that was lost is no reason to probe');
});

test('gone is who was refused twice in a row while the server was there', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.refuse();
  assert.equal(browser.untilNext(), 1000);
  browser.fail(); // the server went away: not in a row
  browser.untilNext();
  browser.refuse();
  assert.equal(browser.untilNext(), 1000);
  assert.deepEqual(browser.gone, []);
  browser.refuse();
  assert.deepEqual(browser.gone, ['bob']);
  const probes = browser.tags.length;
  const waits = Array.from({ length: 6 }, () => {
    const wait = browser.untilNext();
    browser.requests.at(-1).onerror();
    return wait;
  });
  assert.deepEqual(waits, [2000, 4000, 8000, 16000, 20000, 20000]);
  assert.equal(browser.tags.length, probes, 'what is known is not probed');
  assert.deepEqual(browser.gone, ['bob']);
});

test('a poll that failed after it was parked is no refusal', () => {
  const browser = new FakeBrowser();
  browser.init();
  for (let i = 0; i < 5; i++) {
    browser.pass(6000);
    browser.requests.at(-1).onerror();
    browser.untilNext();
  }
  assert.equal(browser.tags.length, 0);
  assert.deepEqual(browser.gone, []);
});

test('a page instead of the script is no server', () => {
  const browser = new FakeBrowser();
  browser.init();
  for (let i = 0; i < 5; i++) {
    browser.requests.at(-1).onerror();
    browser.tags.at(-1).onload(); // something was loaded, but our script did not run
    browser.untilNext();
  }
  assert.deepEqual(browser.gone, []);
});

test('a probe that never ends is given up', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.requests[0].onerror();
  assert.equal(browser.untilNext(), 11_000);
});

test('an answer that is none is a failure', () => {
  const browser = new FakeBrowser();
  browser.init();
  for (const text of ['', '<html>', 'noop({"room": [[1, "cut']) {
    Object.assign(browser.requests.at(-1), { status: 200, responseText: text }).onload();
    assert.ok(browser.untilNext() >= 1000);
  }
  Object.assign(browser.requests.at(-1), { status: 503, responseText: 'noop({});' }).onload();
  assert.ok(browser.untilNext() >= 1000);
  Object.assign(browser.requests.at(-1), { status: 200, responseText: 'noop({"room": null, "other": [7]});' }).onload();
  assert.equal(browser.tags.length, 0);
});

test('no more than three polls are out, however many clients come late', () => {
  const browser = new FakeBrowser();
  for (let i = 0; i < 6; i++) browser.init(`client ${i}`);
  assert.equal(browser.requests.length, 3);
  browser.pass(20);
  browser.answer({}, browser.requests[0]);
  browser.pass(1);
  assert.equal(browser.requests.length, 4);
  assert.equal(browser.requests.at(-1).url.match(/client_id=/g).length, 6);
});

test('while polls overlap, messages come once and sorted, whichever answer is first', () => {
  const browser = new FakeBrowser();
  const rows = (...ids) => ({ room: ids.map((id) => [id, String(id), 'webapp']) });
  browser.init('early');
  browser.init('late');
  const [older, newer] = browser.requests;
  browser.answer(rows(2, 3), newer);
  browser.pass(30);
  browser.answer(rows(1, 2), older);
  assert.deepEqual(browser.got, []);
  browser.pass(20);
  assert.deepEqual(browser.got, ['1', '2', '3']);
  assert.equal(browser.requests.length, 3, 'one loop');
  browser.answer(rows(4)); // no other poll is out any more: no need to wait
  assert.deepEqual(browser.got, ['1', '2', '3', '4']);
});

test('what is held waits its own time, and not for a later message', () => {
  const browser = new FakeBrowser();
  const rows = (...ids) => ({ room: ids.map((id) => [id, String(id), 'webapp']) });
  browser.init('early');
  browser.init('late');
  browser.answer(rows(1)); // the newer poll; the older stays out
  browser.pass(40);
  browser.answer(rows(2));
  browser.pass(10);
  assert.deepEqual(browser.got, ['1']);
  browser.pass(40);
  assert.deepEqual(browser.got, ['1', '2']);
});

test('the same message again is a new one when the polls did not overlap', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.answer(room('hello'));
  browser.answer(room('hello')); // a server that began anew counts from 1 again
  assert.deepEqual(browser.got, ['hello', 'hello']);
});

test('removing the last client aborts its poll', () => {
  const browser = new FakeBrowser();
  browser.init();
  browser.run('Shaveet.remove("bob")');
  assert.ok(browser.requests[0].aborted);
  assert.throws(() => browser.untilNext(), /nothing happens/);
});

test('the same client twice is one, and a new key takes the place of the old', () => {
  const browser = new FakeBrowser();
  browser.init('bob', 'old');
  browser.init('bob', 'old');
  assert.equal(browser.requests.length, 1);
  browser.init('bob', 'new');
  assert.match(browser.requests.at(-1).url, /callback=noop&client_id=bob_!!_new&ts=\d+$/);
});

test('a script that is given up may come late: its messages are taken', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.init();
  const [tag] = browser.tags;
  const callback = /callback=(\w+)/.exec(tag.src)[1];
  browser.pass(60_000);
  browser.untilNext();
  browser.run(`${callback}(${JSON.stringify(room('late'))})`);
  tag.onload();
  browser.pass(50);
  assert.deepEqual(browser.got, ['late']);
  assert.equal(browser.run(`typeof ${callback}`), 'undefined');
});

test('a script that brings no answer is a failure', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.init();
  browser.tags[0].onload();
  browser.tags[1].onerror(); // the probe
  assert.equal(browser.untilNext(), 1000);
  assert.match(browser.tags[2].src, /callback=_shaveet_2&client_id=bob_!!_key&ts=/);
});

test('Internet Explorer 8: XDomainRequest', () => {
  const browser = new FakeBrowser({ kind: 'XDomainRequest' });
  browser.init();
  const [request] = browser.requests;
  assert.match(request.url, /^http:\/\/push\.example:8082\/path\/message_updates\?callback=noop&client_id=bob_!!_key&ts=/);
  for (const handler of ['onload', 'onerror', 'ontimeout', 'onprogress']) assert.equal(typeof request[handler], 'function');
  request.responseText = 'noop({"room": [[1, "hello", "webapp"], [2, "again", "webapp"]]});';
  request.onload();
  assert.deepEqual(browser.got, ['hello', 'again']);
  assert.equal(browser.requests.length, 2);
});

for (const options of [{ kind: 'old' }, { kind: 'XDomainRequest', flags: '?disableIECORS=1' }, { kind: 'XDomainRequest', flags: '?a=b&disableCORS=1' }])
  test(`an old browser polls by script tags: ${JSON.stringify(options)}`, () => {
    const browser = new FakeBrowser(options);
    browser.init();
    assert.equal(browser.requests.length, 0);
    const [tag] = browser.tags;
    assert.match(tag.src, /\/path\/message_updates\?callback=_shaveet_1&client_id=bob_!!_key&ts=/);
    browser.run(`_shaveet_1(${JSON.stringify(room('hello'))})`);
    tag.readyState = 'loaded';
    tag.onreadystatechange();
    assert.deepEqual(browser.got, ['hello']);
    assert.equal(browser.tags.length, 2);
  });

test('a page that takes long to load does not wait for ever to poll by script', () => {
  const browser = new FakeBrowser({ flags: '?disableCORS=1' });
  browser.window.document.readyState = 'interactive';
  browser.init();
  assert.equal(browser.tags.length, 0);
  assert.ok(browser.untilNext() <= 5100);
});
