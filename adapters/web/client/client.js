// A client of a chatting server, for browsers and Node: one module without dependencies. client.d.ts says what each call does.

const features = ["invites", "resume", "read_marks", "receipts", "token_renewal"];
const shownIds = 8192; // ids of what was shown, to drop repeats
const heldFrames = 10_000; // live frames that wait for a catch-up; more end it
const catchUpEntries = 2_000; // what a catch-up reads at most
const lateness = 60_000; // an event may come this much after its time: clocks of nodes differ
const loginTime = 15_000; // from opening a socket to the answer to the login
const stableTime = 5_000; // after a connection that lived this long, waiting times begin anew
const renewTime = 75_000; // how long before its expiry a token is renewed; the server warns later
const requestTime = 5_000; // the first try of a request, which may go out on a dead connection; later ones have more
const requestTries = 4;
const kinds = ["message", "system", "invite", "readMark", "status", "state", "gap", "error"];

export class ChatError extends Error {
  name = "ChatError";
  constructor(code, message, more) {
    super(message || code);
    Object.assign(this, { code }, more);
  }
}

// Ids have 64 bits, numbers 53: long integers outside of strings become strings. Each string and each number is matched as a whole,
// also where the text is no JSON: so no part is taken for another thing, and nothing is looked at twice.
const parse = (text) =>
  JSON.parse(
    /\d{16}/.test(text)
      ? text.replace(/"[^"\\]*(?:\\.[^"\\]*)*"?|-?\d[\d.eE+-]*/g, (part) => (/^-?\d{16,}$/.test(part) ? `"${part}"` : part))
      : text,
  );

const userId = (user) => {
  const id = String(user);
  if (!/^\d{1,19}$/.test(id) || (typeof user === "number" && !Number.isSafeInteger(user)))
    throw new ChatError("bad_user", `not the id of a user: ${id.slice(0, 40)}`);
  return id.replace(/^0+(?=\d)/, "");
};

// crypto.randomUUID exists in secure contexts only.
const uuid = () => {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  return Array.from(bytes, (byte, i) => ([4, 6, 8, 10].includes(i) ? "-" : "") + byte.toString(16).padStart(2, "0")).join("");
};

const rotated = (word, bits) => (word << bits) | (word >>> (32 - bits));
// SHA-1 of a text of bytes. That of the browser exists in secure contexts only, and has to be waited for.
const sha1 = (text) => {
  const words = new Int32Array((((text.length + 8) >> 6) + 1) * 16);
  for (let i = 0; i <= text.length; i++) words[i >> 2] |= (i < text.length ? text.charCodeAt(i) & 255 : 128) << (24 - (i & 3) * 8);
  words[words.length - 1] = text.length * 8;
  const sum = Int32Array.of(0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0);
  const w = new Int32Array(80);
  for (let at = 0; at < words.length; at += 16) {
    let [a, b, c, d, e] = sum;
    for (let i = 0; i < 80; i++) {
      w[i] = i < 16 ? words[at + i] : rotated(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
      const mixed = i < 20 ? ((b & c) | (~b & d)) + 0x5a827999 : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1 : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc : (b ^ c ^ d) + 0xca62c1d6;
      [a, b, c, d, e] = [(rotated(a, 5) + mixed + e + w[i]) | 0, a, rotated(b, 30), c, d];
    }
    [a, b, c, d, e].forEach((word, i) => (sum[i] += word));
  }
  return sum;
};
// The UUID of version 5 that the server derives from a name: docs/protocol.md has the namespace.
const namespace = "\x9b\x1d\x3c\x52\x70\x4e\x4a\x86\x8f\x2b\x51\xc0\x6d\xe7\x34\xa9";
const derivedId = (kind, name) => {
  const [a, b, c, d] = sha1(`${namespace}${kind}\0${name}`);
  const hex = [a, (b & ~0xf000) | 0x5000, (c & 0x3fffffff) | 0x80000000, d].map((word) => (word >>> 0).toString(16).padStart(8, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};
// The id of the event that a frame of a user becomes.
const eventId = (user, { target_id, client_msg_id, status, room_id }) => {
  const name = `${user}:${target_id}:${client_msg_id}`;
  if (!status) return derivedId("client_msg_id", name);
  const invite = derivedId("invite client_msg_id", name);
  return status === "invite" ? invite : derivedId("invite end", `${derivedId(`invite ${status}`, invite)}/${room_id}`);
};

// What a JWT says, {} for another token. Nothing is trusted: it tells when to renew and where to keep the place.
const claims = (token) => {
  try {
    return parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))) ?? {};
  } catch {
    return {};
  }
};

const upTo = (ms) => Math.random() * ms;
const timer = (ms, then) => setTimeout(then, Math.min(Math.max(ms, 0), 2 ** 31 - 1)); // a longer one would fire at once
const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const waiting = timer(ms, resolve);
    signal.addEventListener("abort", () => (clearTimeout(waiting), reject(signal.reason)));
  });

// How long to wait before the next connection. Full jitter: the clients of a lost node come back spread over the time. fails
// counts failures of this kind only: a node that lacks a part says 1013, and is not waited for as long as one that was away.
const delay = (code, fails, refusals, base, cap) => {
  const growing = (first, most = cap, n = fails) => upTo(Math.min(most, first * 2 ** n));
  if (code === 3401) return refusals > 1 ? growing(base, cap, refusals) : 0; // at once with a new token, but only once
  if (code === 1012) return growing(6 * base); // the node restarts
  if (code === 1013) return growing(4 * base, 2 * cap); // overload
  if ([1002, 1003, 1007, 1008].includes(code)) return cap / 2 + upTo(cap / 2); // our fault, and it will happen again
  return growing(base);
};

const date = (name, time) => time && { [name]: new Date(time) };

const entryOf = (frame, partner, replayed = false) => {
  const { type, id, from_id, to_id, message: text, status, room_id: roomId, opponent_id, client_msg_id: clientId } = frame;
  const from = String(from_id);
  const to = String(to_id);
  const entry = { id, ...date("time", frame.time), partner, replayed, to, ...(roomId && { roomId }) };
  if (type === "system_message")
    return { type: "system", ...entry, partner: "0", text, ...(opponent_id && { opponent: String(opponent_id) }) };
  Object.assign(entry, { from, mine: from !== partner || from === to }, clientId && { clientId });
  if (type === "chat_message") return { type: "message", ...entry, text };
  return { type: "invite", ...entry, status, ...date("expiresAt", frame.expires_at) };
};

export class Chat {
  user;
  state = "closed";
  onlineFriends = new Set();
  #options;
  #base;
  #listeners = {};
  #timers = {}; // by name: there is one of each
  #ready; // what connect has promised, until the login
  #epoch = 0; // grows with every connection, and ends what an earlier one began
  #socket;
  #fails = {}; // by their kind
  #refusals = 0;
  #loginAt = 0;
  #token;
  #asking; // the call of the token function that is under way
  #expires = 0; // of the token, by the server's clock
  #key; // of what is stored
  #resume; // the place up to which everything was shown
  #seen = 0; // the server's time at that place
  #began = 0; // the first login: what came before it is not missing
  #shown = new Set();
  #held; // frames that wait until a hole before them is filled
  #queue = new Map(); // what has no answer, by client_msg_id, in the order of the calls
  #pausedUntil = 0;
  #requests = new Set();
  #offset = 0; // the server's clock minus this one
  #roundTrip = Infinity; // of the frame that told the offset
  #askedAt = 0;

  constructor({ url, catchUp = true, timeout = 30_000, maxQueue = 1_000, ping = 5_000, reconnect, ...options }) {
    this.#options = { catchUp, timeout, maxQueue, ping, base: 500, cap: 30_000, ...reconnect, ...options };
    if (!this.#options.WebSocket && !globalThis.WebSocket) throw new ChatError("no_websocket", "no WebSocket here: pass that of the package ws");
    const page = globalThis.location?.href;
    const here = import.meta.url;
    this.#base = new URL(url ?? (/^http/.test(here) ? "." : page), url ? page : here);
    this.#base.protocol = this.#base.protocol.replace("ws", "http");
    if (!/^http/.test(this.#base.protocol)) throw new ChatError("bad_url", "url is missing, or is no address of a server");
    this.#base.search = this.#base.hash = "";
    if (!this.#base.pathname.endsWith("/")) this.#base.pathname += "/";
    this.#base.pathname = this.#base.pathname.replace(/\/ws\/chatting\/$/, "/"); // as the server's log names it
  }

  get unanswered() {
    return this.#queue.size;
  }

  on(kind, listener) {
    if (!kinds.includes(kind)) throw new ChatError("bad_event", `there is no event ${kind}: there are ${kinds.join(", ")}`);
    (this.#listeners[kind] ??= new Set()).add(listener);
    return () => this.off(kind, listener);
  }
  off(kind, listener) {
    this.#listeners[kind]?.delete(listener);
  }
  #emit(kind, event) {
    const listeners = [...(this.#listeners[kind] ?? [])];
    if (kind === "error" && !listeners.length) console.warn("chatting:", event.code, event.message);
    for (const listener of listeners)
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error; // as in event targets of browsers: the others still get the event
        });
      }
  }

  #after(name, ms, then) {
    this.#clear(name);
    this.#timers[name] = timer(ms, () => (delete this.#timers[name], then()));
  }
  #clear(...names) {
    for (const name of names) {
      clearTimeout(this.#timers[name]);
      delete this.#timers[name];
    }
  }

  // --- The connection ---

  connect() {
    if (this.state === "online") return Promise.resolve();
    const ready = (this.#ready ??= {});
    ready.promise ??= new Promise((resolve, reject) => Object.assign(ready, { resolve, reject }));
    ready.promise.catch(() => {}); // a caller that does not wait for it need not handle it
    if (this.state === "closed") {
      this.#fails = {};
      this.#refusals = 0;
      this.#listen("addEventListener");
      this.#open();
    }
    return ready.promise;
  }
  close() {
    this.#stop(0, "closed", new ChatError("closed", "the client was closed"));
  }
  retry() {
    if (this.state === "offline") this.#open();
    else if (this.state === "online") this.#ask();
  }

  #wake = () => globalThis.document?.hidden || this.retry();
  // A browser may keep a page that is left, with its socket, and answer pings for it. Then the user would stay online, and
  // messages would come that nobody sees.
  #leave = ({ persisted }) => {
    this.#write();
    if (!persisted) return;
    this.#end()?.close(1000);
    this.#clear("reconnect");
    this.#ended();
    this.#set("offline", { code: 0, reason: "page_left" });
  };
  #back = ({ persisted }) => persisted && this.retry();
  #listen(verb) {
    globalThis[verb]?.("online", this.#wake);
    globalThis[verb]?.("pagehide", this.#leave);
    globalThis[verb]?.("pageshow", this.#back);
    globalThis.document?.[verb]("visibilitychange", this.#wake);
  }

  #set(state, more) {
    this.state = state;
    this.#emit("state", { state, ...more });
  }

  #stop(code, reason, error) {
    this.#end()?.close(1000);
    this.#write();
    this.#clear(...Object.keys(this.#timers));
    this.#listen("removeEventListener");
    const ready = this.#ready;
    this.#ready = undefined;
    if (this.state !== "closed") this.#set("closed", { code, reason });
    ready?.reject(error);
    for (const controller of this.#requests) controller.abort(error);
    this.#rejectAll(error);
  }

  // Ends what belongs to the connection, and returns its socket.
  #end() {
    const socket = this.#socket;
    this.#socket = this.#held = undefined;
    this.#epoch++;
    this.#clear("dead", "quiet", "renew", "pump");
    return socket;
  }

  async #open() {
    this.#clear("reconnect");
    const epoch = ++this.#epoch;
    this.#set("connecting");
    let socket;
    try {
      if (this.#expires && this.serverTime() >= this.#expires) this.#token = undefined;
      this.#token ??= await this.#newToken();
      await this.#load();
      if (epoch !== this.#epoch) return;
      if (!this.#token) return this.#stop(0, "logged_out", new ChatError("token", "there is no token"));
      const url = new URL("ws/chatting/", this.#base);
      url.protocol = url.protocol.replace("http", "ws");
      socket = new (this.#options.WebSocket ?? WebSocket)(url.href);
    } catch (error) {
      if (epoch !== this.#epoch) return;
      this.#emit("error", error.code === "token" ? error : new ChatError("network", error.message));
      return this.#lost(0, "not_opened");
    }
    this.#socket = socket;
    this.#after("dead", loginTime, () => this.#drop());
    socket.onopen = () => {
      this.#askedAt = Date.now();
      const resume = this.#resume;
      if (socket === this.#socket) this.#transmit({ token: this.#token, features, ...(resume && { resume }) });
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(data);
    socket.onclose = ({ code, reason }) => socket === this.#socket && this.#lost(code, reason);
    socket.onerror = () => {}; // a close follows
  }

  #transmit(frame) {
    try {
      this.#socket?.send(JSON.stringify(frame));
    } catch {
      // It is closing. Its close follows.
    }
  }

  // Gives up a socket that does not answer: its close may take minutes.
  #drop() {
    const socket = this.#end();
    if (socket.terminate) socket.terminate(); // of the package ws, whose close would wait
    else socket.close();
    this.#lost(0, "no_answer");
  }

  #lost(code, reason) {
    this.#end();
    if (code === 1009) this.#tooLong();
    this.#ended();
    if (code === 3403) return this.#stop(code, reason, new ChatError("banned", "the platform has banned the user"));
    if (code === 3409) return this.#stop(code, reason, new ChatError("replaced", "a newer connection took the place"));
    if (reason === "user_erased") return this.#stop(code, reason, new ChatError(reason, "the user was erased"));
    if (code === 3401) {
      this.#token = undefined;
      const error = new ChatError("token", `the server refused the token: ${reason || code}`);
      const last = typeof this.#options.token === "string"; // there is no other
      if (last || ++this.#refusals > 1) this.#emit("error", error);
      if (last) return this.#stop(code, reason, error);
    }
    const kind = [1012, 1013].includes(code) ? code : 0;
    const fails = this.#fails[kind] ?? 0;
    this.#fails[kind] = fails + 1;
    const retryIn = delay(code, fails, this.#refusals, this.#options.base, this.#options.cap);
    this.#after("reconnect", retryIn, () => this.#open());
    this.#set("offline", { code, reason, retryIn });
  }

  // Notes how the connection went, and that what it has not answered may be stored or not.
  #ended() {
    if (this.#loginAt && Date.now() - this.#loginAt >= stableTime) {
      this.#fails = {};
      this.#refusals = 0;
    }
    this.#loginAt = 0;
    for (const item of this.#queue.values()) {
      item.unsure ||= item.sent;
      item.sent = false;
    }
  }

  // After silence: a ping without an answer means that the connection is dead, whatever the socket says.
  #quiet() {
    this.#after("quiet", this.#options.ping, () => this.#ask());
  }
  #ask() {
    this.#askedAt = Date.now();
    this.#transmit({ type: "ping" });
    this.#after("quiet", this.#options.ping, () => this.#drop());
  }

  #receive(data) {
    let frame;
    try {
      frame = parse(data);
    } catch {
      return; // not of this protocol
    }
    if (this.state === "online") this.#quiet();
    switch (frame?.type) {
      case "system_message":
        if (frame.online_friends) return this.#login(frame);
        return frame.from === "admin" ? this.#arrive(frame) : this.#failed(frame);
      case "pong":
        this.#clock(frame.time);
      // fallthrough: it may tell the place
      case "chat_message":
      case "invite_game":
      case "read_mark":
        return this.#arrive(frame);
      case "send_status":
        return this.#status(String(frame.from_id), frame.status === "online", frame.time);
      case "token_expiring": // at once if the token lives shortly: so it only plans
        return Date.parse(frame.expires_at) < this.#expires || this.#planRenewal(frame.expires_at);
      case "token_renewed":
        return this.#planRenewal(frame.expires_at);
    }
  }

  #login(frame) {
    const { time, online_friends, recovered, recovered_from, token_expires_at } = frame;
    const user = String(frame.to_id);
    if (this.user !== undefined && this.user !== user) this.#forget();
    this.user = user;
    this.#clear("dead");
    this.#loginAt = Date.now();
    this.#roundTrip = Infinity;
    this.#clock(time);
    const since = this.#seen;
    if (since && recovered !== true) this.#held = [frame];
    else {
      this.#began ||= Date.parse(time);
      this.#pass(frame);
    }
    const epoch = this.#epoch;
    this.#set("online");
    this.#ready?.resolve();
    this.#ready = undefined;
    const online = online_friends.map(String);
    for (const friend of [...this.onlineFriends]) if (!online.includes(friend)) this.#status(friend, false, time);
    for (const friend of online) this.#status(friend, true, time);
    if (epoch !== this.#epoch) return; // a listener closed the client
    this.#quiet();
    this.#planRenewal(token_expires_at);
    this.#pump();
    if (this.#held) this.#catchUp(this.#held, since, recovered_from ?? time);
  }

  // Another user logged in with this client: nothing of the one before may be used.
  #forget() {
    this.#rejectAll(new ChatError("closed", "another user logged in"));
    this.onlineFriends.clear();
    this.#shown.clear();
    this.#resume = undefined;
    this.#seen = this.#began = 0;
  }

  #status(user, online, time) {
    if (this.onlineFriends.has(user) === online) return;
    this.onlineFriends[online ? "add" : "delete"](user);
    this.#emit("status", { user, online, time: new Date(time) });
  }

  // --- What is shown ---

  #arrive(frame) {
    if (String(frame.from_id) === this.user) {
      const item = this.#itemOf(frame.id, String(frame.to_id), frame.client_msg_id);
      if (item) this.#settle(item, undefined, entryOf(Object.assign(frame, { client_msg_id: item.clientId }), item.to, !!frame.replayed));
    }
    if (!this.#held) return this.#show(frame);
    this.#held.push(frame);
    if (this.#held.length > heldFrames) this.#endHole(this.#held, [], false, this.#seen, this.#held[0].time);
  }

  #show(frame) {
    const { type, id, message_id: messageId, unread, replayed } = frame;
    if (type !== "pong" && this.#isNew(id)) {
      const reader = String(frame.from_id);
      const mine = reader === this.user;
      const partner = mine ? String(frame.to_id) : reader;
      const entry = type !== "read_mark" && entryOf(frame, partner, !!replayed);
      this.#emit(entry.type ?? "readMark", entry || {
        type: "readMark", id, ...date("time", frame.time), reader, mine, partner, messageId, ...(unread >= 0 && { unread }), replayed: !!replayed,
      });
    }
    this.#pass(frame);
  }

  #isNew(id) {
    if (this.#shown.has(id)) return false;
    if (id) this.#shown.add(id);
    if (this.#shown.size > shownIds) this.#shown.delete(this.#shown.values().next().value);
    return true;
  }

  // Everything up to this frame was shown.
  #pass({ resume, time }) {
    if (resume) this.#resume = resume;
    this.#seen = Math.max(this.#seen, Date.parse(time) || 0);
    if (this.#options.storage && this.#socket && !this.#timers.save) this.#after("save", 1_000, () => this.#write(true));
  }

  // Reads from the history what came since then. Live frames wait in held. The place moves only afterwards: if the
  // connection breaks meanwhile, the next one finds the same hole.
  async #catchUp(held, since, until) {
    const missed = [];
    let filled = this.#options.catchUp;
    try {
      if (filled) await this.#readSince(Math.max(since - lateness, this.#began - 10_000), missed, held);
      filled &&= !missed.behind;
    } catch (error) {
      filled = false;
      if (held === this.#held && error.status !== 404) this.#emit("error", error); // 404: the server keeps no history
    }
    if (held === this.#held) this.#endHole(held, missed, filled, since, until);
  }

  async #readSince(floor, missed, held) {
    for await (const page of this.conversations({ limit: 100 })) {
      missed.behind ||= page.behind;
      for (const { partner, last, time } of page) {
        if (time < floor || held !== this.#held) return;
        if (this.#shown.has(last.id)) continue;
        missed.push(...(await this.#readBack(partner, floor, missed.length, held)));
      }
    }
  }
  // Returns the entries behind the last one that was shown, oldest first.
  async #readBack(partner, floor, read, held) {
    const entries = [];
    for await (const page of this.history(partner, { limit: 100 }))
      for (const entry of page) {
        if (this.#shown.has(entry.id) || entry.time < floor || held !== this.#held) return entries.reverse();
        if (entries.push(entry) + read > catchUpEntries) throw new ChatError("too_much", "too much was missed to read it all");
      }
    return entries.reverse();
  }

  #endHole(held, missed, filled, since, until) {
    for (const entry of missed) if (this.#isNew(entry.id)) this.#emit(entry.type, { ...entry, replayed: true });
    this.#emit("gap", { since: new Date(since), until: new Date(until), filled });
    if (held !== this.#held) return; // a listener closed the client
    this.#held = undefined;
    this.#pass(held.shift());
    for (const frame of held) this.#show(frame);
  }

  async #load() {
    const { storage } = this.#options;
    if (!storage || this.#key) return;
    const { user_id, sub } = claims(this.#token);
    this.#key = `chatting.${this.#base.host}.${user_id ?? sub ?? ""}`;
    try {
      const kept = JSON.parse(await storage.get(this.#key));
      if (this.#seen || !(kept?.seen > 0)) return;
      this.user = kept.user;
      this.#resume = kept.resume;
      this.#seen = kept.seen;
    } catch {
      // It cannot be read: begin anew.
    }
  }
  #write(due = this.#timers.save) {
    this.#clear("save");
    if (!due) return;
    const value = JSON.stringify({ user: this.user, resume: this.#resume, seen: this.#seen });
    const put = async () => this.#options.storage.set(this.#key, value);
    put().catch((error) => this.#emit("error", new ChatError("storage", error?.message)));
  }

  // --- Sending ---

  async send(to, text, options) {
    if (typeof text !== "string") throw new ChatError("bad_message", "the text is no string: send(user, text)");
    return this.#submit(to, { message: text.toWellFormed?.() ?? text }, options);
  }
  invite(to, options) {
    return this.#submit(to, { type: "invite_game", status: "invite" }, options);
  }
  accept(invite) {
    return this.#answer(invite, "accept");
  }
  decline(invite) {
    return this.#answer(invite, "decline");
  }
  cancel(invite) {
    return this.#answer(invite, "cancel");
  }
  #answer({ partner, roomId }, status) {
    return this.#submit(partner, { type: "invite_game", status, room_id: roomId });
  }

  async #submit(user, content, { clientId = uuid(), timeout = this.#options.timeout } = {}) {
    const to = userId(user);
    const same = this.#queue.get(clientId);
    if (same?.to === to) return same.promise;
    if (same || this.#queue.size >= this.#options.maxQueue) throw new ChatError("queue_full", "too much has no answer", { clientId });
    const item = { to, clientId, frame: { target_id: to, ...content, client_msg_id: clientId }, tries: 0, notBefore: 0 };
    item.promise = new Promise((resolve, reject) => Object.assign(item, { resolve, reject }));
    const late = () => this.#settle(item, new ChatError("timeout", "no answer in time"));
    if (timeout < Infinity) item.timer = timer(timeout, late);
    this.#queue.set(clientId, item);
    this.#pump();
    return item.promise;
  }

  #settle(item, error, entry) {
    this.#queue.delete(item.clientId);
    clearTimeout(item.timer);
    if (error) item.reject(new ChatError(error.code, error.message, { clientId: item.clientId }));
    else item.resolve(entry);
    this.#pump();
  }
  #rejectAll(error) {
    const all = [...this.#queue.values()];
    this.#queue.clear();
    for (const item of all) this.#settle(item, error);
  }

  // What waits for the event. What comes from the history has lost its name, but its id is made of that.
  #itemOf(id, to, name) {
    if (name) return this.#queue.get(name)?.to === to ? this.#queue.get(name) : undefined;
    for (const item of this.#queue.values()) if (item.to === to && id === (item.id ??= eventId(this.user, item.frame))) return item;
  }
  // An entry of the history, with its name if this client waits for it.
  #recognized(entry) {
    const item = entry.mine && this.user && this.#itemOf(entry.id, entry.to, entry.clientId);
    if (item) this.#settle(item, undefined, Object.assign(entry, { clientId: item.clientId }));
    return entry;
  }

  // Sends what may be sent. To each user one frame is under way at a time. So the order of the calls is kept, even if a
  // frame is refused for now or sent again after a reconnect.
  #pump() {
    if (this.state !== "online" || !this.#socket) return;
    const now = Date.now();
    const busy = new Set();
    let soonest = Infinity;
    for (const item of this.#queue.values()) {
      if (busy.has(item.to)) continue;
      busy.add(item.to);
      if (item.sent) continue;
      const at = Math.max(item.notBefore, this.#pausedUntil);
      if (at > now) soonest = Math.min(soonest, at);
      else this.#transmit(((item.sent = true), item.frame));
    }
    if (soonest < Infinity) this.#after("pump", soonest - now, () => this.#pump());
  }

  #failed({ code, error: sentence, client_msg_id, retry_after_ms: wait = 0 }) {
    const error = new ChatError(code, sentence);
    const item = this.#queue.get(client_msg_id);
    if (wait) this.#pausedUntil = Date.now() + wait;
    // An answer to what was settled otherwise is of no use. A ping that was too much is followed by another.
    if (!item) return client_msg_id || code === "rate_limited" || this.#emit("error", error);
    // Sent before, it may be stored: then "offline" says nothing about it, and an echo comes as soon as the target is back.
    const later = ["unavailable", "unconfirmed", ...(item.unsure ? ["no_user_or_offline", "mailbox_full"] : [])];
    if (!later.includes(code) && !wait) return this.#settle(item, error);
    item.sent = false;
    item.unsure ||= code === "unconfirmed";
    item.notBefore = Date.now() + wait + upTo(Math.min(5_000, 250 * 2 ** ++item.tries));
    this.#pump();
  }

  // The server does not say which frame was too long. If one was, then the longest.
  #tooLong() {
    const size = ({ frame }) => new Blob([JSON.stringify(frame)]).size;
    const [longest] = [...this.#queue.values()].filter(({ sent }) => sent).sort((a, b) => size(b) - size(a));
    if (longest) this.#settle(longest, new ChatError("too_long", "longer than the server allows"));
  }

  // --- Tokens and time ---

  // Calls at the same time share one.
  #newToken() {
    const { token } = this.#options;
    const ask = async () => {
      try {
        return (this.#token = (typeof token === "function" ? await token() : token) || null);
      } catch (error) {
        throw new ChatError("token", `the token function failed: ${error?.message ?? error}`);
      } finally {
        this.#asking = undefined;
      }
    };
    return (this.#asking ??= ask());
  }

  #planRenewal(expiry) {
    this.#expires = expiry ? Date.parse(expiry) : (claims(this.#token).exp ?? 0) * 1_000;
    const left = this.#expires - this.serverTime();
    if (left > 0 && typeof this.#options.token === "function") this.#after("renew", left - Math.min(renewTime, left / 3), () => this.#renew());
  }
  async #renew() {
    this.#clear("renew");
    const epoch = this.#epoch;
    const old = this.#token;
    let token;
    try {
      token = await this.#newToken();
    } catch (error) {
      if (epoch === this.#epoch) this.#emit("error", error);
    }
    this.#token ??= old;
    if (epoch !== this.#epoch) return;
    const left = this.#expires - this.serverTime();
    if (token && token !== old) {
      this.#transmit({ token });
      this.#planRenewal();
    } else if (left > 1_000) this.#after("renew", left / 2, () => this.#renew());
  }

  // The answer with the shortest way tells the server's clock best.
  #clock(time) {
    const now = Date.now();
    if (now - this.#askedAt > this.#roundTrip) return;
    this.#roundTrip = now - this.#askedAt;
    this.#offset = Date.parse(time) - (now + this.#askedAt) / 2;
  }
  serverTime() {
    return new Date(Date.now() + this.#offset);
  }
  secondsLeft({ expiresAt = 0 }) {
    return Math.max(0, Math.ceil((expiresAt - this.serverTime()) / 1_000));
  }

  // --- REST ---

  async *history(partner, { limit = 50, before, after } = {}) {
    const id = userId(partner);
    const read = ({ messages }) => messages.map((frame) => this.#recognized(entryOf(frame, id)));
    yield* this.#pages(`messages/?target_id=${id}&limit=${limit}`, after ? "after" : "before", after ?? before, read);
  }
  async *conversations({ limit = 50 } = {}) {
    const one = ({ id, last_message, time, unread }) => ({
      partner: String(id), last: entryOf(last_message, String(id)), ...date("time", time), unread,
    });
    yield* this.#pages(`conversations/?limit=${limit}`, "before", undefined, (page) => page.conversations.map(one));
  }
  async *#pages(path, name, next, read) {
    do {
      const page = await this.#request("GET", path + (next ? `&${name}=${encodeURIComponent(next)}` : ""));
      const entries = read(page);
      if (page.behind) entries.behind = true;
      if (entries.length || page.behind) yield entries;
      next = page.next;
    } while (next);
  }
  async markRead(partner, messageId) {
    const { unread } = await this.#request("PUT", `conversations/${userId(partner)}/read/`, messageId ? { message_id: messageId } : {});
    return { unread };
  }
  async invites() {
    const { invites } = await this.#request("GET", "invites/");
    return invites.map((frame) => entryOf(frame, String(String(frame.from_id) === this.user ? frame.to_id : frame.from_id)));
  }
  block(user) {
    return this.#add("blockedusers", user);
  }
  unblock(user) {
    return this.#remove("blockedusers", user);
  }
  blocked() {
    return this.#list("blockedusers");
  }
  addFriend(user) {
    return this.#add("friends", user);
  }
  async removeFriend(user) {
    await this.#remove("friends", user);
    this.onlineFriends.delete(userId(user));
  }
  friends() {
    return this.#list("friends");
  }
  async isOnline(user) {
    return (await this.#unless(404, "GET", `is-online/?id=${userId(user)}`))?.is_online ?? false;
  }

  async #list(name) {
    return (await this.#request("GET", `${name}/`)).map(({ id }) => String(id));
  }
  async #add(name, user) {
    await this.#request("POST", `${name}/`, { target_id: userId(user) });
  }
  // 400: not in the list, or an earlier try took it out.
  async #remove(name, user) {
    await this.#unless(400, "DELETE", `${name}/?target_id=${userId(user)}`);
  }
  async #unless(status, method, path) {
    try {
      return await this.#request(method, path);
    } catch (error) {
      if (error.status !== status) throw error;
    }
  }

  // All requests may be repeated: none of them does more the second time.
  async #request(method, path, body) {
    const controller = new AbortController();
    this.#requests.add(controller);
    try {
      for (let tries = 1, renewed = false; ; tries++) {
        const token = this.#token ?? (await this.#newToken());
        controller.signal.throwIfAborted();
        if (!token) throw new ChatError("token", "there is no token");
        const { answer, error, wait } = await this.#try(controller.signal, requestTime * tries, token, method, path, body);
        if (!error) return answer;
        if (error.status === 401 && !renewed && typeof this.#options.token === "function") {
          renewed = true;
          if (this.#token === token) this.#token = undefined;
        } else if (wait === undefined || tries >= requestTries) throw error;
        else await pause(Math.min(wait, 10_000) + upTo(250 * 2 ** tries), controller.signal);
      }
    } finally {
      this.#requests.delete(controller);
    }
  }

  // Returns the answer; or the error, with how long to wait if another try may succeed.
  async #try(closed, limit, token, method, path, body) {
    const headers = { Authorization: `Bearer ${token}`, ...(body && { "Content-Type": "application/json" }) };
    const signal = AbortSignal.any([closed, AbortSignal.timeout(limit)]);
    // The server redirects nobody. Whatever else answers must not lead the token away.
    const request = { method, headers, body: body && JSON.stringify(body), cache: "no-store", redirect: "error", signal };
    let response;
    let text;
    try {
      response = await (this.#options.fetch ?? fetch)(new URL(`api/chatting/${path}`, this.#base), request);
      text = await response.text();
    } catch (error) {
      closed.throwIfAborted();
      return { error: new ChatError("network", `${method} ${path}: ${error.message}`), wait: 0 };
    }
    const { status } = response;
    let answer;
    try {
      answer = text ? parse(text) : undefined;
      if (response.ok) return { answer };
    } catch {
      // A proxy answered.
    }
    const sentence = answer?.detail ?? Object.values(answer ?? {}).flat()[0] ?? `status ${status}`;
    const error = new ChatError(answer?.code ?? "http", `${method} ${path}: ${sentence}`, { status });
    return { error, wait: [429, 502, 503, 504].includes(status) ? 1_000 * response.headers.get("Retry-After") || 0 : undefined };
  }
}
