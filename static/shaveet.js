/*
 * shaveet.js: the messages of a Shaveet server, in a page. No dependency, any browser with JSON.
 *
 *   <script src="http://push.example.com:8082/static/shaveet.js"></script>
 *   Shaveet.init(clientId, key);                            both from the web application; again for a second client
 *   Shaveet.listenSingle("room", function (update) {...});  {id, client_id, payload, payload_raw, channelName}
 *   Shaveet.listenBulk("*", function (updates) {...});      "*": the channels that have no listener of their own
 *   Shaveet.stopListening("room");
 *   Shaveet.onClientGone(function (ids) {...});             get new clients from the web application, init them
 *   Shaveet.remove(clientId);                               what its parked poll still brings is delivered
 *
 * `payload` is the text parsed as JSON, null if it is not JSON. What stands before /static/shaveet.js in its URL is the
 * server's address. Flags behind it: ?disableCORS=1 polls by script tags (JSONP), ?disableIECORS=1 no XDomainRequest.
 */
(function (window, document) {
  "use strict";
  // Loading it twice changes nothing; the count tells probe() that the server has just answered.
  if (window.Shaveet && window.Shaveet.listenBulk) {
    window.Shaveet._loads = (window.Shaveet._loads || 0) + 1;
    return;
  }

  var SCRIPT_PATH = "/static/shaveet.js", POLL_PATH = "/message_updates?callback=";
  var INIT_MS = 1;               // not at once, so that several calls of init() in a row become one poll
  var POLL_MS_MAX = 60000;       // a server holds a poll 25 s unless told otherwise: beyond this the line is dead
  var POLLS_MAX = 3;             // at a time; browsers allow six connections to a host, and the page needs some
  var OVERLAP_MS = 50;           // by how much the answers of two connections may overtake each other
  var RETRY_MEAN_MS = 1000;      // doubles with each failure in a row, and varies by half of it either way
  var RETRY_MEAN_MS_MAX = 20000; // so no wait is above 30 s
  var EMPTY_MS_MIN = 1000;       // some servers answer at once that there is nothing: do not run in circles
  var REFUSAL_MS_MAX = 5000;     // a server refuses at once; what fails later was parked and lost its line
  var REFUSALS_IN_A_ROW = 2;     // one may be a server in the middle of its restart
  var PARKED_MS = 2000;          // a poll that was not refused by now is parked
  var PROBE_MS_MAX = 10000;
  var LOAD_CHECK_MS = 50, LOAD_CHECKS_MAX = 100; // how often and how many times JSONP looks if the page has loaded

  var hasOwn = Object.prototype.hasOwnProperty;
  var clients = [];              // {id, credentials, gone}; a new list with each change: polls keep theirs
  var listeners = {};            // "$" + channel -> functions; the prefix makes "__proto__" a name like any other
  var goneListeners = [];
  var server = null;             // the address before SCRIPT_PATH
  var transport = null;          // byRequest(...) or byScript
  var turn = 0;                  // the poll that was begun in this turn drives the loop; a later turn supersedes it
  var driver = null;             // that poll while it is out, as the function that gives it up
  var out = [];                  // all polls that are out, in the same form
  var seen = {};                 // what polls that overlap have brought
  var held = {};                 // "$" + channel -> updates that were brought but not yet handed out
  var joining = false;           // a new client waits until there are less than POLLS_MAX
  var timer = null;              // the next turn's
  var failures = 0, refusals = 0, loadChecks = 0, callbacks = 0;

  var Shaveet = window.Shaveet = {
    _loads: 1,
    onGone: null, // one more function for onClientGone()

    init: function (client_id, key) {
      var credentials = encodeURIComponent(client_id + "_!!_" + key), known = find(client_id);
      if (!findServer()) throw new Error("Shaveet: no script on this page has " + SCRIPT_PATH + " in its URL");
      if (known && known.credentials === credentials && !known.gone) return;
      clients = without(clients, known).concat({ id: String(client_id), credentials: credentials, gone: false });
      pollAnew();
    },

    remove: function (client_id) {
      clients = without(clients, find(client_id));
      if (clients.length && driver) return;
      driver = null;
      pollAnew(); // it may have been the one that made the polls fail
      if (!clients.length) each(out, function (giveUp) { giveUp(); });
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
    onClientGone: function (func) { goneListeners.push(func); }
  };

  findServer(); // now, while document.currentScript is this one
  if (window.addEventListener) window.addEventListener("online", pollAnew, false);

  // Polls at once, with the clients of this moment. A parked poll is not aborted: its answer may be on the way, and
  // the server counts that as delivered. It is only superseded: what it brings is taken, but another drives the loop.
  function pollAnew() {
    failures = refusals = 0;
    joining = driver !== null && out.length >= POLLS_MAX;
    if (joining) return;
    turn++;
    driver = null;
    schedule(INIT_MS);
  }

  function schedule(ms) {
    clearTimeout(timer);
    timer = setTimeout(poll, ms);
  }

  function poll() {
    var list = living(), mine = ++turn;
    if (!list.length) return;
    // A script tag that is parked before the page has loaded would hold up the page's load event.
    if (transport === byScript && document.readyState !== "complete" && loadChecks++ < LOAD_CHECKS_MAX)
      return schedule(LOAD_CHECK_MS);
    joining = false;
    driver = send(list, function (channels, status, ms) {
      if (mine !== turn && joining) pollAnew();
      if (mine !== turn) return;
      driver = null;
      if (!channels) return failed(list, status, ms);
      failures = refusals = 0;
      each(list, function (client) { client.gone = false; });
      if (!channels.length && ms < EMPTY_MS_MIN) schedule(EMPTY_MS_MIN);
      else poll(); // without a timer: hidden tabs are given theirs a second late, or a minute
    });
  }

  // Those that the server knows; if there are none, all: the loop goes on, slowly, until the page does something.
  function living() {
    var list = filter(clients, function (client) { return !client.gone; });
    return list.length ? list : clients;
  }

  function backOff() {
    var mean = Math.min(RETRY_MEAN_MS * Math.pow(2, failures++), RETRY_MEAN_MS_MAX);
    schedule(mean * (0.5 + Math.random()));
  }

  // Begins a poll for a list of clients, delivers what it brings, then calls done(channels or null, status, ms).
  // The status is 0 where the browser does not tell it. Returns the function that gives the poll up.
  function send(list, done) {
    var started = now(), over = false, query = "", limit, abort;
    each(list, function (client) { query += "&client_id=" + client.credentials; });
    if (!out.length) seen = {};
    out.push(giveUp);
    abort = transport(query + "&ts=" + started, ended);
    limit = setTimeout(giveUp, POLL_MS_MAX);
    return giveUp;

    function giveUp() { abort(); ended(null, 0); }

    function ended(channels, status) {
      out = without(out, giveUp);
      if (channels) call(receive, channels); // also of a script that was given up: they would come no second time
      if (over) return;
      over = true;
      clearTimeout(limit);
      done(channels, status, now() - started);
    }
  }

  // Messages to listeners: `channels` is a list of [name, [[id, text, client_id], ...]]. While other polls are out, an
  // answer may have overtaken theirs: what it brings is held for a moment, so that theirs can be sorted in.
  function receive(channels) {
    each(channels, function (channel) {
      var key = "$" + channel[0];
      held[key] = (held[key] || []).concat(unseen(channel[0], channel[1]));
    });
    if (out.length) setTimeout(function () { release(channels); }, OVERLAP_MS);
    else release(channels);
  }

  // Hands out what is held of these channels, up to the ids they end with.
  function release(channels) {
    each(channels, function (channel) {
      var key = "$" + channel[0], last = channel[1][channel[1].length - 1][0], due = [], later = [];
      each(held[key] || [], function (update) { (update.id > last ? later : due).push(update); });
      if (later.length) held[key] = later;
      else delete held[key];
      if (!due.length || !clients.length) return;
      due.sort(function (one, other) { return one.id - other.id; });
      each(listeners[key] || listeners["$*"] || [], function (func) { call(func, due); });
    });
  }

  // Two polls with clients of the same channel each get its messages: only the first counts.
  function unseen(name, rows) {
    var updates = [];
    each(rows, function (row) {
      var key = "$" + JSON.stringify([name, row]), text = row[1];
      if (!seen[key])
        updates.push({
          id: row[0], client_id: row[2], payload: jsonOrNull(text), payload_raw: text, channelName: name
        });
      seen[key] = true;
    });
    return updates;
  }

  // A page's mistake reaches window.onerror, but neither the other listeners nor the loop.
  function call(func, argument) {
    try { func(argument); } catch (error) { setTimeout(function () { throw error; }, 0); }
  }

  function failed(list, status, ms) {
    var mine = turn;
    if (list[0].gone) return backOff(); // all are, see living()
    judge(status, ms, function (refused) {
      if (mine !== turn) return;
      refusals = refused ? refusals + 1 : 0;
      if (refused && (status === 404 || refusals >= REFUSALS_IN_A_ROW)) return sift(list);
      if (refused) failures = 0; // the server is there: no need to wait long
      backOff();
    });
  }

  // Did the server refuse the poll (404), or was there no server? Pages of the server's own origin can read the
  // status. To others it is hidden: an error answer has no CORS header, and a script tag never tells. So a guess: a
  // poll that failed soon, and right after it the server hands out this script; two such in a row count, see failed().
  // It is wrong where another web server hands out the script while Shaveet is down: do not do that.
  function judge(status, ms, verdict) {
    if (status === 404) verdict(true);
    else if (status || ms > REFUSAL_MS_MAX) verdict(false);
    else probe(verdict);
  }

  function probe(verdict) {
    var before = Shaveet._loads, limit = setTimeout(ended, PROBE_MS_MAX), over = false;
    loadScript(server + SCRIPT_PATH + "?probe=" + now(), ended);

    function ended() {
      if (over) return;
      over = true;
      clearTimeout(limit);
      verdict(Shaveet._loads !== before);
    }
  }

  // One bad client is a 404 for all of its poll (WIRE P11): polls them one by one to see who is gone. Those that are
  // not stay parked, superseded by the next turn's poll.
  function sift(list) {
    var mine = turn, gone = [], at = 0;
    if (list.length === 1) report(list);
    else next();

    function next() {
      if (mine !== turn) return;
      if (at === list.length) return report(gone);
      var client = list[at++], decided = false;
      var parked = setTimeout(function () { decide(false); }, PARKED_MS);
      send([client], function (channels, status, ms) {
        clearTimeout(parked);
        if (channels) decide(false);
        else if (!decided) judge(status, ms, decide);
      });

      function decide(refused) {
        if (decided) return;
        decided = true;
        if (refused) gone.push(client);
        next();
      }
    }
  }

  function report(gone) {
    var mine = turn, ids = [];
    each(gone, function (client) { client.gone = true; ids.push(client.id); });
    if (ids.length) each(goneListeners.concat(Shaveet.onGone || []), function (func) { call(func, ids.slice()); });
    if (mine !== turn) return; // the page has done something about it
    refusals = 0;
    if (!ids.length || living()[0].gone) backOff();
    else poll();
  }

  // Transports: function (query, ended) begins a poll and returns the function that aborts it. Later, never before it
  // returns, it calls ended(channels) or ended(null, status).

  function byRequest(Request) {
    return function (query, ended) {
      var request = new Request();
      function fail() { ended(null, request.status || 0); }
      try {
        request.open("GET", server + POLL_PATH + "noop" + query, true);
        request.onload = function () { // XDomainRequest has no status and calls this for 200 only
          var text = request.responseText.replace(/^\s*noop\(/, "").replace(/\);?\s*$/, "");
          var channels = (request.status || 200) === 200 && jsonOrNull(text);
          if (channels) ended(toList(channels));
          else fail();
        };
        request.onerror = request.ontimeout = fail;
        request.onprogress = function () {}; // without it XDomainRequest gives up
        request.send();
      } catch (error) {
        setTimeout(fail, 0);
      }
      return function () { request.abort(); };
    };
  }

  function byScript(query, ended) {
    var name = "_shaveet_" + (++callbacks);
    window[name] = function (channels) { ended(toList(channels)); };
    loadScript(server + POLL_PATH + name + query, function () {
      window[name] = undefined; // old browsers cannot delete it
      try { delete window[name]; } catch (error) {}
      ended(null, 0); // after an answer it means nothing
    });
    return function () {}; // a script cannot be called back: until it has ended it must find its callback
  }

  function toList(channels) {
    var list = [], name, proto;
    for (name in channels)
      if (hasOwn.call(channels, name)) list.push([name, channels[name]]);
    proto = Object.getPrototypeOf && Object.getPrototypeOf(channels);
    if (proto instanceof Array) list.push(["__proto__", proto]); // a script's {"__proto__": [...]} makes no member
    return list;
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
    cors = url.indexOf("disableCORS=1") === -1;
    if (cors && window.XMLHttpRequest && "withCredentials" in new window.XMLHttpRequest())
      transport = byRequest(window.XMLHttpRequest);
    else if (cors && url.indexOf("disableIECORS=1") === -1 && window.XDomainRequest)
      transport = byRequest(window.XDomainRequest);
    else
      transport = byScript;
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
