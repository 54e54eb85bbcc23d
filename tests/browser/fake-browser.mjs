// What a real browser does not show: waits of half a minute, lost lines, and browsers of 2009. The script runs in an
// empty world with its own clock, where requests and script tags do what the test says.

import { readFileSync } from 'node:fs';
import vm from 'node:vm';
import { scriptFile } from './support.mjs';

const script = new vm.Script(readFileSync(scriptFile, 'utf8'), { filename: 'shaveet.js' });
export const SERVER = 'http://push.example:8082/path';

/** A browser: `modern`, or an old one that can ask other origins only by script tags. */
export class FakeBrowser {
  now = 1_000_000;
  timers = [];
  requests = []; // XMLHttpRequest
  tags = [];     // script tags that were put into the page
  luck = 0.5;    // what Math.random() says

  constructor({ flags = '', kind = 'modern' } = {}) {
    const browser = this;
    const source = { src: `${SERVER}/static/shaveet.js${flags}` };
    const head = {
      appendChild(tag) { tag.parentNode = head; browser.tags.push(tag); browser.sent?.(tag); },
      removeChild(tag) { tag.parentNode = null; },
    };
    class Request {
      open(method, url) { this.url = url; }
      send() { browser.requests.push(this); browser.sent?.(this); }
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
      this.run(`['forEach', 'map', 'filter', 'indexOf', 'some', 'every'].forEach(function (name) { delete Array.prototype[name]; });
        delete Array.isArray; delete Object.keys; delete Object.create; delete Object.getPrototypeOf; delete String.prototype.trim;
        delete Function.prototype.bind;`);
    }
    script.runInContext(this.window);
    this.run('got = []; gaps = []; gone = []; statuses = [];'
      + 'Shaveet.listenSingle("*", function (update) { got.push(update.payload_raw); });'
      + 'Shaveet.onGap(function (gap) { gaps.push(gap); });'
      + 'Shaveet.onClientGone(function (ids) { gone.push(ids.join()); });'
      + 'Shaveet.onStatus(function (status) { statuses.push(status.wait_ms ? status.state + " " + status.wait_ms : status.state); });');
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
  answer(object = answer(), request = this.requests.at(-1)) {
    Object.assign(request, { status: 200, responseText: JSON.stringify(object) }).onload();
  }

  /** The last request is refused. */
  refuse(code, request = this.requests.at(-1)) {
    Object.assign(request, { status: code, responseText: JSON.stringify({ error: { code, message: 'no' } }) }).onload();
  }

  /** The last request fails, as it does without a server. */
  fail(request = this.requests.at(-1)) { request.onerror(); }

  get got() { return [...this.window.got]; }
  get gone() { return [...this.window.gone]; }
  get statuses() { return [...this.window.statuses]; }
  get gaps() { return JSON.parse(JSON.stringify(this.window.gaps)); }
}

let tokens = 0;

/** An answer with these messages, each as its id in "room" or as an object, and a new token. */
export function answer(messages = [], more = {}) {
  const full = messages.map((message) => ({
    channel: 'room', from: 'webapp', system: false, ...(typeof message === 'object' ? message : { id: message }),
  })).map((message) => ({ data: String(message.id), ...message }));
  return { since: `token${++tokens}`, messages: full, gaps: [], retry_ms: 0, ...more };
}
