/*
 * shaveet.js: the messages of a Shaveet server, in a page. No dependency, any browser with JSON.
 *
 *   <script src="http://push.example.com:8082/static/shaveet.js"></script>
 *   Shaveet.init(clientId, key);                            both from the web application; again for a second client
 *   Shaveet.listenSingle("room", function (update) {...});  {id, client_id, payload, payload_raw, channelName, ...}
 *   Shaveet.listenBulk("*", function (updates) {...});      "*": the channels that have no listener of their own
 *   Shaveet.stopListening("room");
 *   Shaveet.onGap(function (gap) {...});                    messages are lost: {channelName, next_id, reason, system}
 *   Shaveet.onClientGone(function (ids) {...});             get new clients from the web application, init them
 *   Shaveet.onStatus(function (status) {...});              {state, wait_ms}, see tell()
 *   Shaveet.remove(clientId);                               what its parked poll still brings is delivered
 *   Shaveet.keepPosition = true;                            before init: goes on where the page was before its reload
 *
 * Each message comes once and in order, or a gap is told before what follows it. `payload` is the text parsed as JSON,
 * null if it is not JSON; `system` is true for what the server says, which may have a `reason`. What stands before
 * /static/shaveet.js in its URL is the server's address. ?disableCORS=1 behind it polls by script tags (JSONP).
 */
(function (window, document) {
  "use strict";
  if (window.Shaveet && window.Shaveet.listenBulk) return; // loading it twice changes nothing

  var SCRIPT_PATH = "/static/shaveet.js", POLL_PATH = "/message_updates?since=";
  var INIT_MS = 1;               // not at once, so that several calls of init() in a row become one poll
  var POLL_MS_MAX = 60000;       // a server holds a poll 25 s unless told otherwise: beyond this the line is dead
  var POLLS_MAX = 3;             // at a time; browsers allow six connections to a host, and the page needs some
  var RETRY_MEAN_MS = 1000;      // doubles with each failure in a row, and varies by half of it either way
  var RETRY_MEAN_MS_MAX = 20000; // so no wait is above 30 s
  var EMPTY_MS_MIN = 1000;       // an answer at once that there is nothing: do not run in circles
  var PARKED_MS = 2000;          // a poll that was not refused by now is parked
  var HAD_MS = 20000;            // how long at least it is known what was brought, see isNew()
  var TICK_MS = 10000;
  var SLEPT_MS = TICK_MS + POLL_MS_MAX; // hidden tabs tick once a minute; whoever ticks later has slept
  var LOAD_CHECK_MS = 50, LOAD_CHECKS_MAX = 100; // how often and how many times JSONP looks if the page has loaded

  var hasOwn = Object.prototype.hasOwnProperty;
  var clients = [];              // {id, credentials, mark, group, gone, since: where it was when it was gone}
  var groups = [];               // who polls together, see enter()
  var listeners = {};            // "$" + channel -> functions; the prefix makes "__proto__" a name like any other
  var goneListeners = [], gapListeners = [], statusListeners = [];
  var server = null;             // the address before SCRIPT_PATH
  var transport = null;          // byRequest or byScript
  var out = 0;                   // polls that hold a connection
  var had = {}, hadBefore = {}, hadTurned = 0; // what was brought lately, in two generations
  var state = "idle";
  var ticked = 0;                // when tick() ran last
  var loadChecks = 0, callbacks = 0;

  var Shaveet = window.Shaveet = {
    onGone: null, // one more function for onClientGone()
    keepPosition: false,

    init: function (client_id, key) {
      var credentials = encodeURIComponent(client_id + "_!!_" + key), known = find(client_id), client;
      if (!findServer()) throw new Error("Shaveet: no script on this page has " + SCRIPT_PATH + " in its URL");
      if (known && known.credentials === credentials && !known.gone) return;
      if (known) drop(known);
      client = { id: String(client_id), credentials: credentials, mark: String(key).substring(0, 8), gone: false };
      // Who was gone and was made anew goes on from there: if the server has forgotten something it says so.
      enter(client, known && known.gone ? known.since : kept(client));
      if (!ticked) tick();
    },

    remove: function (client_id) {
      var known = find(client_id);
      if (known) drop(known);
      if (!clients.length) tell("idle");
    },

    listenBulk: function (channel_name, func) {
      (listeners["$" + channel_name] = listeners["$" + channel_name] || []).push(func);
    },

    listenSingle: function (channel_name, func) {
      Shaveet.listenBulk(channel_name, function (updates) {
        each(updates, function (update) { call(func, update); });
      });
    },

    stopListening: function (channel_name) { delete listeners["$" + channel_name]; },
    onGap: function (func) { gapListeners.push(func); },
    onClientGone: function (func) { goneListeners.push(func); },
    onStatus: function (func) { statusListeners.push(func); }
  };

  findServer(); // now, while document.currentScript is this one
  if (window.addEventListener) window.addEventListener("online", pollAnew, false);

  // A poll says with one token how far all of its clients have come, and a token acknowledges everything before it. So
  // clients share a poll only if they have come equally far: they are a group. The first group is the main one; the
  // others are newcomers, who join it when they have been answered. The rules:
  //
  // 1. Newcomers poll with their own token, empty at first (the server knows then how far each has come).
  // 2. Whenever the main group gets a new token the newcomers' polls are begun anew: see refresh(). So theirs were sent
  //    after the main token had been received, and the token of their answer is not older.
  // 3. Therefore who joins goes back to the main group's token. What the newcomers were brought is held until the main
  //    group is answered next: it may be older or newer than what that brings, or the same. So that nobody waits for long the
  //    main group's poll is answered at once then, with nothing if there is nothing (wait=0).
  // 4. A group with an empty token cannot be joined: whoever is answered first takes its place as the main one.
  //
  // A poll may be given up at any time: what it would have brought comes again, as nobody has acknowledged it.
  function enter(client, since) {
    var group = filter(groups, function (group) { return group.since === since; })[0];
    forget();
    if (!group)
      groups.push(group = {
        since: since,    // the token
        poll: null,      // while one is out, the function that gives it up
        asks: false,     // that poll asks for messages; it does not look for who is gone
        timer: null,
        waits: false,    // for one of POLLS_MAX
        failures: 0,
        held: [],        // answers of which the listeners have not heard yet
        overlaps: false  // what it is brought next may have been brought to others
      });
    client.group = group;
    clients = clients.concat(client);
    later(group, INIT_MS);
  }

  function drop(client) {
    var group = client.group, wasMain = group === groups[0];
    clients = without(clients, client);
    if (members(group).length) {
      if (!group.poll) later(group, INIT_MS); // it may have been the one that made the polls fail
      return;
    }
    halt(group);
    groups = without(groups, group);
    if (!groups.length) {
      had = hadBefore = {};
    } else if (wasMain) { // another one is now
      groups[0].overlaps = true;
      if (groups[0].held.length) later(groups[0], INIT_MS);
      refresh();
    }
  }

  function join(group) {
    each(members(group), function (client) { client.group = groups[0]; });
    groups = without(groups, group);
    groups[0].overlaps = true;
    groups[0].held = groups[0].held.concat(group.held);
    begin(groups[0]);
  }

  function refresh() {
    each(groups.slice(1), function (group) { if (group.asks) later(group, INIT_MS); });
  }

  function pollAnew() {
    each(groups, function (group) {
      group.failures = 0;
      later(group, INIT_MS);
    });
  }

  function later(group, ms) {
    halt(group);
    group.timer = setTimeout(function () { begin(group); }, ms);
  }

  function halt(group) {
    var giveUp = group.poll;
    clearTimeout(group.timer);
    group.poll = group.timer = null;
    group.waits = group.asks = false;
    if (giveUp) giveUp();
  }

  function begin(group) {
    var list = living(group), isShort = group === groups[0] && group.held.length > 0;
    halt(group);
    if (!list.length) return;
    // A script tag that is parked before the page has loaded would hold up the page's load event.
    if (transport === byScript && document.readyState !== "complete" && loadChecks++ < LOAD_CHECKS_MAX)
      return later(group, LOAD_CHECK_MS);
    if (out >= POLLS_MAX) {
      group.waits = true; // until one ends
      return;
    }
    group.asks = true;
    group.poll = send(list, encodeURIComponent(group.since) + (isShort ? "&wait=0" : ""), function (answer, ms) {
      halt(group);
      if (answer && !answer.error) answered(group, list, answer, isShort ? POLL_MS_MAX : ms); // it was to be quick
      else failed(group, list, answer && answer.error, ms);
    });
    group.timer = setTimeout(function () { parked(group); }, PARKED_MS);
    if (group === groups[0] && state !== "connected" && isAnyLiving()) tell("connecting");
  }

  function parked(group) {
    group.timer = null;
    if (state === "connecting") tell("connected");
  }

  function answered(group, list, answer, ms) {
    var isNews = answer.since !== group.since; // else nothing has happened, or it is a repetition
    // Before the listeners are called: they may call init().
    group.since = answer.since;
    group.failures = 0;
    each(list, function (client) { client.gone = false; });
    if (!groups[0].since && group.since) groups = [group].concat(without(groups, group));
    if (!answer.retry_ms) tell("connected");
    if (isNews) group.held = group.held.concat(answer);
    if (group === groups[0]) {
      if (isNews) refresh();
      // Who was sent away was not told whether there is something.
      if ((isNews || (group.held.length && !answer.retry_ms)) && !(group.overlaps && answer.more)) {
        release(group);
        group.overlaps = false;
        forget();
      }
    }
    if (!members(group).length || group.timer) return; // a listener has removed them, or begun it anew
    if (answer.retry_ms) wait(group, answer.retry_ms);
    else if (answer.more) begin(group);
    else if (isNews && group !== groups[0] && groups[0].since) join(group);
    else if (ms < EMPTY_MS_MIN && !(isNews && answer.messages.length + answer.gaps.length)) later(group, EMPTY_MS_MIN);
    else begin(group); // without a timer: hidden tabs are given theirs a second late, or a minute
  }

  function release(group) {
    var answers = group.held;
    group.held = [];
    if (!answers.length) return;
    receive(answers, group.overlaps);
    keep(group);
  }

  function failed(group, list, error, ms) {
    if (error && error.code === 404 && !list[0].gone) return sift(group, list, ms);
    if (error && error.code === 400) { // no token of this server: it knows by itself, if not as exactly
      group.since = "";
      group.overlaps = true;
    }
    backOff(group);
  }

  function backOff(group) {
    var mean = Math.min(RETRY_MEAN_MS * Math.pow(2, group.failures++), RETRY_MEAN_MS_MAX);
    wait(group, Math.round(mean * (0.5 + Math.random())));
  }

  function wait(group, ms) {
    later(group, ms);
    if (group === groups[0] && isAnyLiving()) tell("waiting", ms);
  }

  // "idle": there is no client. "connecting": the server has not answered yet. "connected": it has, or holds the poll.
  // "waiting": it does not answer, or has sent us away for a while: for wait_ms. "gone": it knows none of the clients.
  function tell(news, ms) {
    if (state === news && !ms) return;
    state = news;
    each(statusListeners, function (func) { call(func, { state: news, wait_ms: ms || 0 }); });
  }

  // Computers sleep, and their connections are dead when they wake, which nobody would notice for a while.
  function tick() {
    if (ticked && now() - ticked > SLEPT_MS) pollAnew();
    ticked = now();
    setTimeout(tick, TICK_MS);
  }

  // Begins a poll for a list of clients, then calls done(answer, ms) once; the answer is null if there was none. The query begins
  // with the token.
  // Returns the function that gives the poll up: done() is not called then.
  function send(list, query, done) {
    var started = now(), isOver = false, isOut = true, limit, abort;
    each(list, function (client) { query += "&client_id=" + client.credentials; });
    out++;
    abort = transport(query + "&ts=" + started, end);
    limit = setTimeout(function () {
      abort();
      end(null); // scripts cannot be aborted
    }, POLL_MS_MAX);
    return function () {
      isOver = true;
      abort();
    };

    function end(answer) {
      var first = !isOver;
      if (!isOut) return;
      isOut = false;
      isOver = true;
      out--;
      clearTimeout(limit);
      if (first) done(isAnswer(answer) ? answer : null, now() - started);
      each(groups, function (group) { if (group.waits) later(group, 0); });
    }
  }

  function isAnswer(answer) {
    return answer && (answer.error || (typeof answer.since === "string" && answer.messages && answer.gaps));
  }

  // What answers bring to its listeners: first the gaps, then all messages of a channel at once. If answers overlap,
  // what several have brought is told once, and what was brought lately is not told again.
  function receive(answers, overlaps) {
    var keys = [], updates = {};
    each(answers, function (answer) {
      each(answer.gaps, function (gap) {
        if (gap.reason === "restart") had = hadBefore = {}; // ids have begun anew
        if (!isNew(["gap", gap.next_id, gap.reason, gap.channel], overlaps)) return;
        gap = { channelName: gap.channel, next_id: gap.next_id, reason: gap.reason, system: !!gap.system };
        each(gapListeners, function (func) { call(func, gap); });
      });
      each(answer.messages, function (message) {
        var key = "$" + message.channel, text = message.data, update;
        if (!isNew([message.id, text.length, message.from, message.channel], overlaps)) return;
        update = { id: message.id, client_id: message.from, payload: jsonOrNull(text), payload_raw: text };
        update.channelName = message.channel;
        update.system = message.system;
        if (message.reason) update.reason = message.reason;
        if (!hasOwn.call(updates, key)) keys.push(key);
        (updates[key] = updates[key] || []).push(update);
      });
    });
    each(keys, function (key) {
      if (overlaps) updates[key].sort(function (one, other) { return one.id - other.id; });
      each(listeners[key] || listeners["$*"] || [], function (func) { call(func, updates[key]); });
    });
  }

  // False for what is known to have been brought: not for long, as the ids of a forgotten channel begin anew.
  function isNew(what, overlaps) {
    var key = JSON.stringify(what), isKnown = had[key] || hadBefore[key];
    had[key] = true;
    return !overlaps || !isKnown;
  }

  function forget() {
    var age = now() - hadTurned;
    if (age < HAD_MS || (groups[0] && groups[0].overlaps)) return;
    hadBefore = age < 2 * HAD_MS ? had : {};
    had = {};
    hadTurned = now();
  }

  // A page's mistake reaches window.onerror, but neither the other listeners nor the loop.
  function call(func, argument) {
    try { func(argument); } catch (error) { setTimeout(function () { throw error; }, 0); }
  }

  // One bad client is a 404 for all of its poll (WIRE P11): polls halves of them, and halves of the bad halves. Those
  // that are well stay parked, and are given up.
  function sift(group, list, ms) {
    var gone = [], parts = [];
    blame(list);
    next();

    function blame(part) {
      var middle = Math.ceil(part.length / 2);
      if (part.length === 1) gone.push(part[0]);
      else parts.unshift(part.slice(0, middle), part.slice(middle));
    }

    function next() {
      var part = parts.shift();
      halt(group);
      if (!part) return report(group, gone);
      group.poll = send(part, encodeURIComponent(group.since), function (answer) {
        if (answer && answer.error && answer.error.code === 404) blame(part);
        next();
      });
      group.timer = setTimeout(next, PARKED_MS + 2 * ms);
    }
  }

  function report(group, gone) {
    var ids = [];
    each(gone, function (client) {
      if (find(client.id) !== client) return; // the page has removed it meanwhile
      client.gone = true;
      client.since = group.since;
      ids.push(client.id);
    });
    if (!ids.length || !isAnyLiving()) backOff(group);
    else later(group, 0);
    if (!ids.length) return;
    if (!isAnyLiving()) {
      had = hadBefore = {}; // the server may have begun anew
      tell("gone");
    }
    each(goneListeners.concat(Shaveet.onGone || []), function (func) { call(func, ids.slice()); });
  }

  function isAnyLiving() {
    return filter(clients, function (client) { return !client.gone; }).length > 0;
  }

  // Those that the server knows; if there are none, all: the loop goes on, slowly, until the page does something.
  function living(group) {
    var any = isAnyLiving();
    return filter(members(group), function (client) { return !any || !client.gone; });
  }

  function members(group) {
    return filter(clients, function (client) { return client.group === group; });
  }

  // The position beyond a reload. The mark tells a client from one of the same name that was made later.
  function keep(group) {
    if (!Shaveet.keepPosition) return;
    each(members(group), function (client) {
      try { window.sessionStorage.setItem(storageName(client), client.mark + " " + group.since); } catch (error) {}
    });
  }

  function kept(client) {
    var value = "";
    try { value = Shaveet.keepPosition && window.sessionStorage.getItem(storageName(client)) || ""; } catch (error) {}
    return value.indexOf(client.mark + " ") === 0 ? value.substring(client.mark.length + 1) : "";
  }

  function storageName(client) { return "shaveet " + server + " " + client.id; }

  // Transports: function (query, end) begins a poll and returns the function that aborts it. Later it calls end(answer)
  // once, with null if there was none.

  function byRequest(query, end) {
    var request = new window.XMLHttpRequest();
    function fail() { end(null); }
    request.onload = function () { end(jsonOrNull(request.responseText)); };
    request.onerror = request.ontimeout = fail;
    try {
      request.open("GET", server + POLL_PATH + query, true);
      request.send();
    } catch (error) {
      setTimeout(fail, 0);
    }
    return function () {
      request.abort();
      end(null);
    };
  }

  function byScript(query, end) {
    var name = "_shaveet_" + (++callbacks), answer = null;
    window[name] = function (object) { answer = object; };
    loadScript(server + POLL_PATH + query + "&callback=" + name, function () {
      window[name] = undefined; // old browsers cannot delete it
      try { delete window[name]; } catch (error) {}
      end(answer);
    });
    return function () {}; // a script cannot be called back: until it has ended it must find its callback
  }

  // Calls ended() once, after the script has run or failed.
  function loadScript(url, ended) {
    var script = document.createElement("script");
    if ("onload" in script) script.onload = script.onerror = finish;
    else script.onreadystatechange = function () { if (/loaded|complete/.test(script.readyState)) finish(); };
    script.async = true;
    script.src = url;
    (document.getElementsByTagName("head")[0] || document.documentElement).appendChild(script);

    function finish() {
      script.onload = script.onerror = script.onreadystatechange = null;
      if (script.parentNode) script.parentNode.removeChild(script);
      ended();
    }
  }

  function findServer() { // its address and the flags are in our own URL
    var scripts = document.getElementsByTagName("script"), current = document.currentScript, url = "", cors, i;
    if (server !== null) return true;
    if (current && (current.src || "").indexOf(SCRIPT_PATH) !== -1) url = current.src;
    for (i = 0; i < scripts.length && !url; i++)
      if ((scripts[i].src || "").indexOf(SCRIPT_PATH) !== -1) url = scripts[i].src;
    if (!url) return false;
    server = url.substring(0, url.indexOf(SCRIPT_PATH));
    cors = window.XMLHttpRequest && "withCredentials" in new window.XMLHttpRequest();
    transport = cors && url.indexOf("disableCORS=1") === -1 ? byRequest : byScript;
    return true;
  }

  function find(client_id) {
    return filter(clients, function (client) { return client.id === String(client_id); })[0];
  }
  function without(list, unwanted) {
    return filter(list, function (item) { return item !== unwanted; });
  }

  function filter(list, keep) {
    var kept = [];
    each(list, function (item) { if (keep(item)) kept.push(item); });
    return kept;
  }

  // Old browsers have no Array.prototype.forEach. Goes over a copy: what is called may change the list.
  function each(list, func) {
    list = list.slice();
    for (var i = 0; i < list.length; i++) func(list[i]);
  }

  function jsonOrNull(text) {
    try { return JSON.parse(text); } catch (error) { return null; }
  }
  function now() { return new Date().getTime(); }

  // A set of strings, for the pages.
  window.MutableSet = function (vals) {
    this.length = 0;
    this._vals = {};
    if (vals)
      for (var i = 0; i < vals.length; i++) this.add(vals[i]);
  };
  window.MutableSet.prototype = {
    add: function (val) {
      if (!this.contains(val)) this.length++;
      this._vals["$" + val] = true;
    },
    remove: function (val) {
      if (this.contains(val)) this.length--;
      delete this._vals["$" + val];
    },
    contains: function (val) { return hasOwn.call(this._vals, "$" + val); },
    vals: function () {
      var vals = [], key;
      for (key in this._vals)
        if (hasOwn.call(this._vals, key)) vals.push(key.substring(1));
      return vals;
    }
  };
})(window, document);
