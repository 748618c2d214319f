// Tests of client.js against a scripted socket and a scripted fetch, on a clock of their own: node --test.
// test/clients runs the client against the real server, with nodes killed under it.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, mock, test } from "node:test";
import { Chat, ChatError } from "./client.js";

const start = Date.parse("2026-01-02T03:04:05.000Z");
const iso = (ms) => new Date(ms).toISOString();
const now = () => iso(Date.now());

// Lets everything run that waits for a promise. setImmediate is the real one.
const idle = async () => {
  for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
};
const passes = async (ms) => {
  mock.timers.tick(ms);
  await idle();
};

class Socket {
  static all = [];
  sent = [];
  constructor(url) {
    this.url = url;
    Socket.all.push(this);
  }
  send(text) {
    this.sent.push(JSON.parse(text));
  }
  close(code) {
    this.closed = code ?? "without a code";
  }
  says(frame) {
    this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }
  ends(code, reason = "") {
    this.onclose({ code, reason });
  }
  take() {
    return this.sent.splice(0);
  }
}
const last = () => Socket.all.at(-1);

let chats = [];
let random = 0.5;
let rest; // (method, path, body, headers) → [status, body, headers] or an Error

beforeEach(() => {
  Socket.all = [];
  chats = [];
  random = 0.5;
  rest = () => [404, { code: "not_found", detail: "Not found." }];
  mock.timers.enable({ apis: ["setTimeout", "Date"], now: start });
  mock.method(Math, "random", () => random);
});
afterEach(() => {
  for (const { chat } of chats) chat.close();
  mock.timers.reset();
  mock.restoreAll();
});

async function fetching(url, request) {
  const { method, body, headers, signal, redirect } = request;
  signal.throwIfAborted();
  const answer = await rest(method, url.pathname.replace("/api/chatting/", "") + url.search, body && JSON.parse(body), headers);
  if (answer instanceof Error) throw answer;
  const [status, content, more = {}] = answer;
  if (status === 307) {
    if (redirect === "error") throw new TypeError("fetch failed");
    return fetching(new URL(more.Location, url), request);
  }
  return new Response(status === 204 || content === undefined ? undefined : typeof content === "string" ? content : JSON.stringify(content), { status, headers: more });
}

// A client whose events are written down, in `said`.
function made(options) {
  const chat = new Chat({ url: "http://chat.example", token: () => "t1", WebSocket: Socket, fetch: fetching, ...options });
  const said = [];
  for (const kind of ["message", "system", "invite", "readMark", "status", "state", "gap", "error"]) chat.on(kind, (event) => said.push([kind, event]));
  const of = (kind) => said.filter(([is]) => is === kind).map(([, event]) => event);
  const it = { chat, said, of, texts: () => of("message").map(({ text }) => text), states: () => of("state").map(({ state }) => state) };
  chats.push(it);
  return it;
}
const answer = (more) => ({ type: "system_message", message: "You have successfully logged", online_friends: [], to_id: 41, time: now(), ...more });
async function logIn(more) {
  last().onopen();
  last().says(answer(more));
  await idle();
  return last();
}
async function online(options, more) {
  const it = made(options);
  it.chat.connect();
  await idle();
  it.socket = await logIn(more);
  it.login = it.socket.take()[0];
  return it;
}
let count = 0;
const uuid = () => `00000000-0000-4000-8000-${String(++count).padStart(12, "0")}`;
const chatFrame = (from, to, message, more) => ({ type: "chat_message", message, from_id: from, to_id: to, time: now(), id: uuid(), ...more });
// What the server answers to a frame of user 41.
const echo = ({ target_id, message, client_msg_id }, more) => chatFrame(41, Number(target_id), message, { client_msg_id, ...more });
const refusal = (code, { target_id, client_msg_id }, more) => ({ type: "system_message", error: "A sentence.", code, from_id: target_id, to_id: 41, client_msg_id, time: now(), ...more });

// --- Connecting ---

test("logs in with its features, and says what it does", async () => {
  const it = made();
  assert.equal(it.chat.state, "closed");
  const connected = it.chat.connect();
  await idle();
  assert.equal(last().url, "ws://chat.example/ws/chatting/");
  const socket = await logIn();
  await connected;
  assert.deepEqual(socket.sent, [{ token: "t1", features: ["invites", "resume", "read_marks", "receipts", "token_renewal"] }]);
  assert.deepEqual(it.states(), ["connecting", "online"]);
  assert.equal(it.chat.user, "41");
  await it.chat.connect(); // connected already
});

test("addresses", async () => {
  for (const [url, want] of [
    ["https://a.example", "wss://a.example/ws/chatting/"],
    ["wss://a.example/chat", "wss://a.example/chat/ws/chatting/"],
    ["ws://a.example:1/x/?q#f", "ws://a.example:1/x/ws/chatting/"],
    ["ws://a.example:1/ws/chatting/", "ws://a.example:1/ws/chatting/"], // as the log of a server names it
    ["wss://a.example/x/ws/chatting", "wss://a.example/x/ws/chatting/"],
  ]) {
    made({ url }).chat.connect();
    await idle();
    assert.equal(last().url, want);
  }
  assert.throws(() => made({ url: "ftp://a.example" }), { code: "bad_url" });
  assert.throws(() => made({ url: undefined }), { code: "bad_url" }); // loaded from a file, and there is no page
});

test("what cannot work is refused at once", async () => {
  const { WebSocket } = globalThis;
  delete globalThis.WebSocket; // as in Node 20
  try {
    assert.throws(() => made({ WebSocket: undefined }), { code: "no_websocket", message: /package ws/ });
    globalThis.WebSocket = Socket;
    made({ WebSocket: undefined });
  } finally {
    delete globalThis.WebSocket;
    if (WebSocket) globalThis.WebSocket = WebSocket;
  }
  const { chat, socket } = await online();
  assert.throws(() => chat.on("mesage", () => {}), { code: "bad_event", message: /mesage.*message, system/ });
  assert.throws(() => chat.on("toString", () => {}), { code: "bad_event" });
  for (const text of [undefined, null, 304, {}]) await assert.rejects(chat.send(42, text), { code: "bad_message" });
  chat.send(42, "").catch(() => {});
  assert.deepEqual(socket.take().map(({ message }) => message), [""]);
});

test("what came from the log is shown once, in order, with its kind", async () => {
  const { socket, said, chat } = await online();
  const frame = chatFrame(42, 41, "<b>hi</b>");
  socket.says(frame);
  socket.says({ ...frame, replayed: true });
  socket.says({ type: "system_message", from: "admin", message: "round 2", to_id: 41, room_id: "r", opponent_id: 43, time: now(), id: "s" });
  socket.says({ type: "invite_game", from_id: 42, to_id: 41, status: "invite", room_id: "q", expires_at: iso(start + 60_000), time: now(), id: "i" });
  socket.says({ type: "read_mark", from_id: 41, to_id: 42, message_id: frame.id, unread: 0, time: now(), id: "r1" });
  socket.says({ type: "read_mark", from_id: 42, to_id: 41, message_id: frame.id, time: now(), id: "r2" });
  socket.says({ type: "something_new", id: "n" });
  socket.says("no JSON");
  const time = new Date(start);
  const shared = { time, replayed: false };
  assert.deepEqual(said.filter(([kind]) => kind !== "state"), [
    ["message", { type: "message", id: frame.id, ...shared, partner: "42", from: "42", to: "41", mine: false, text: "<b>hi</b>" }],
    ["system", { type: "system", id: "s", ...shared, partner: "0", to: "41", text: "round 2", roomId: "r", opponent: "43" }],
    ["invite", { type: "invite", id: "i", ...shared, partner: "42", from: "42", to: "41", mine: false, status: "invite", roomId: "q", expiresAt: new Date(start + 60_000) }],
    ["readMark", { type: "readMark", id: "r1", ...shared, reader: "41", mine: true, partner: "42", messageId: frame.id, unread: 0 }],
    ["readMark", { type: "readMark", id: "r2", ...shared, reader: "42", mine: false, partner: "42", messageId: frame.id }],
  ]);
  assert.equal(chat.state, "online");
});

test("ids above 2^53 stay exact, and digits in a text stay a text", async () => {
  const { socket, of, chat } = await online();
  socket.says(`{"type":"chat_message","message":"1234567890123456789 \\"9007199254740993\\"","from_id":9007199254740993,"to_id":41,"time":"${now()}","id":"b"}`);
  assert.equal(of("message")[0].from, "9007199254740993");
  assert.equal(of("message")[0].text, '1234567890123456789 "9007199254740993"');
  for (const id of [9007199254740993n, "9007199254740993", " 7 ", 2 ** 53, -1, 1.5, "x", null, ""]) chat.send(id, "hi").catch(() => {});
  await idle();
  assert.deepEqual(socket.take().map(({ target_id }) => target_id), ["9007199254740993"]);
  for (const id of [" 7 ", 2 ** 53, -1, 1.5, "x", null, "", "1".repeat(20)]) await assert.rejects(chat.send(id, "hi"), { code: "bad_user" });
});

test("long numbers that are no whole ones stay numbers", async () => {
  const { socket, of } = await online();
  const numbers = ["0.1234567890123456789", "1e1234567890123456", "1234567890123456.5e-1234567890123456", "-1234567890123456789.25E+1", "12345678901234567e0"];
  for (const x of numbers) socket.says(`{"type":"chat_message","message":"${x}","from_id":42,"to_id":41,"time":"${now()}","id":"${x}","x":[${x}]}`);
  assert.deepEqual(of("message").map(({ text }) => text), numbers);
});

// With a time that grows with the square of the length this would take hours.
test("a frame is read in a time that grows with its length", async () => {
  const { socket, of } = await online();
  const digits = "1".repeat(1_000_000);
  socket.says(`{"type":"chat_message","message":"hi","from_id":42,"to_id":41,"time":"${now()}","id":"x","x":${digits}.5}`);
  socket.says(`${digits.slice(0, 16)}${'\\"'.repeat(500_000)}`); // no JSON
  assert.equal(of("message").length, 1);
});

test("of what was shown it remembers the newest 8,192 ids", async () => {
  const { socket, texts } = await online();
  const frames = Array.from({ length: 8_193 }, (_, i) => chatFrame(42, 41, String(i)));
  for (const frame of frames) socket.says(frame);
  socket.says(frames[1]);
  assert.equal(texts().length, 8_193);
  socket.says(frames[0]);
  assert.equal(texts().length, 8_194);
});

test("a listener that fails keeps nothing from the others", async () => {
  const { socket, chat, texts } = await online();
  const thrown = [];
  mock.method(globalThis, "queueMicrotask", (then) => {
    try {
      then();
    } catch (error) {
      thrown.push(error.message);
    }
  });
  const off = chat.on("message", () => {
    throw new Error("of the listener");
  });
  const heard = [];
  chat.on("message", ({ text }) => heard.push(text));
  socket.says(chatFrame(42, 41, "one"));
  off();
  socket.says(chatFrame(42, 41, "two"));
  assert.deepEqual([thrown, heard, texts()], [["of the listener"], ["one", "two"], ["one", "two"]]);
});

test("status events tell what changed, after a reconnect too", async () => {
  const { socket, of, chat } = await online({}, { online_friends: [42, 43] });
  socket.says({ type: "send_status", from_id: 43, to_id: 41, status: "offline", time: now() });
  socket.says({ type: "send_status", from_id: 43, to_id: 41, status: "offline", time: now() });
  socket.ends(1006);
  await passes(1_000);
  await logIn({ online_friends: [44], recovered: true });
  assert.deepEqual(of("status").map(({ user, online }) => [user, online]), [["42", true], ["43", true], ["43", false], ["42", false], ["44", true]]);
  assert.deepEqual([...chat.onlineFriends], ["44"]);
});

// --- Sending ---

test("send returns with the echo, after its event", async () => {
  const { socket, chat, of } = await online();
  const sent = chat.send(42, "hello");
  const [frame] = socket.take();
  assert.match(frame.client_msg_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual({ ...frame, client_msg_id: 0 }, { target_id: "42", message: "hello", client_msg_id: 0 });
  let done = false;
  chat.on("message", () => assert.equal(done, false));
  sent.then(() => (done = true));
  socket.says(echo(frame));
  const message = await sent;
  assert.deepEqual(message, of("message")[0]);
  assert.deepEqual([message.mine, message.partner, message.clientId], [true, "42", frame.client_msg_id]);
  assert.equal(chat.unanswered, 0);
});

test("without crypto.randomUUID, as on a page without TLS, names are UUIDs too", async () => {
  const { socket, chat } = await online();
  const { randomUUID } = crypto;
  Object.defineProperty(crypto, "randomUUID", { value: undefined, configurable: true });
  chat.send(42, "hello").catch(() => {});
  Object.defineProperty(crypto, "randomUUID", { value: randomUUID, configurable: true });
  assert.match(socket.take()[0].client_msg_id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
});

test("messages to one user go one after the other, to different users at once", async () => {
  const { socket, chat } = await online();
  const sent = [chat.send(42, "1"), chat.send(42, "2"), chat.send(43, "3")];
  const first = socket.take();
  assert.deepEqual(first.map(({ message }) => message), ["1", "3"]);
  socket.says(echo(first[0]));
  const [second] = socket.take();
  assert.equal(second.message, "2");
  socket.says(echo(first[1]));
  socket.says(echo(second));
  await Promise.all(sent);
});

test("every error that another try cannot mend rejects with its code", async () => {
  const { socket, chat } = await online();
  for (const code of ["bad_json", "bad_frame", "bad_target", "bad_message", "too_long", "no_user_or_offline", "mailbox_full", "invite_ended", "not_invited", "rate_limited", "a_later_one"]) {
    const sent = chat.send(42, code);
    const [frame] = socket.take();
    socket.says(refusal(code, frame));
    await assert.rejects(sent, (error) => error instanceof ChatError && error.code === code && error.clientId === frame.client_msg_id);
  }
  await passes(4_000);
  assert.deepEqual(socket.take(), []);
});

test("what is refused for now is sent again under its name, before what came after it", async () => {
  for (const [code, more, after] of [
    ["unavailable", {}, 250],
    ["unconfirmed", {}, 250],
    ["rate_limited", { retry_after_ms: 700 }, 950],
  ]) {
    const { socket, chat, texts } = await online();
    const sent = [chat.send(42, "1"), chat.send(42, "2")];
    const [frame] = socket.take();
    socket.says(refusal(code, frame, more));
    await passes(after - 1);
    assert.deepEqual(socket.take(), [], code);
    await passes(1);
    assert.deepEqual(socket.take(), [frame], code);
    socket.says(echo(frame));
    socket.says(echo(socket.take()[0]));
    await Promise.all(sent);
    assert.deepEqual(texts(), ["1", "2"]);
  }
});

test("an echo that comes late, after unconfirmed, settles the message", async () => {
  const { socket, chat } = await online();
  const sent = chat.send(42, "1");
  const [frame] = socket.take();
  socket.says(refusal("unconfirmed", frame));
  socket.says(echo(frame));
  await sent;
  await passes(4_000);
  assert.deepEqual(socket.take(), []);
});

test("offline says nothing of a message that was sent before: it is tried on, and never under another name", async () => {
  const it = await online({ timeout: 60_000 });
  const sent = it.chat.send(42, "1");
  const [frame] = it.socket.take();
  it.socket.ends(1006);
  await passes(1_000);
  const socket = await logIn({ recovered: true });
  for (const code of ["no_user_or_offline", "mailbox_full", "no_user_or_offline"]) {
    assert.deepEqual(socket.take().at(-1), frame);
    socket.says(refusal(code, frame));
    await passes(4_000);
  }
  socket.says(echo(socket.take().at(-1)));
  await sent;
  // The same after unconfirmed, on one connection. But what was never sent before is not stored.
  const again = assert.rejects(it.chat.send(42, "2"), { code: "timeout" });
  const [second] = socket.take().filter(({ message }) => message);
  socket.says(refusal("unconfirmed", second));
  socket.says(refusal("no_user_or_offline", second));
  for (let i = 0; i < 15; i++) {
    await passes(4_000);
    socket.says({ type: "pong", time: now() });
  }
  await again;
});

test("a limit of the connection stops all sending for as long as it says", async () => {
  const { socket, chat } = await online();
  chat.send(42, "1").catch(() => {});
  socket.says(refusal("rate_limited", socket.take()[0], { retry_after_ms: 1_000 }));
  chat.send(43, "2").catch(() => {});
  assert.deepEqual(socket.take(), []);
  await passes(1_000);
  assert.deepEqual(socket.take().map(({ message }) => message), ["2"]);
});

test("what has no answer in time rejects, and may be sent again under its name", async () => {
  const { socket, chat } = await online({ timeout: 3_000 });
  const sent = chat.send(42, "1");
  const rejected = assert.rejects(sent, { code: "timeout" });
  const [frame] = socket.take();
  await passes(3_000);
  await rejected;
  const { clientId } = await sent.catch((error) => error);
  const again = chat.send(42, "1", { clientId });
  assert.equal(chat.send(42, "1", { clientId }) instanceof Promise, true);
  assert.deepEqual(socket.take(), [frame]); // once, although asked twice
  socket.says(echo(frame));
  await again;
});

test("a text that is no Unicode is sent as what everybody would read", async () => {
  const { socket, chat } = await online();
  chat.send(42, "a\ud800b").catch(() => {});
  assert.equal(socket.take()[0].message, "a\ufffdb");
});

test("the queue is bounded", async () => {
  const { chat } = await online({ maxQueue: 2 });
  chat.send(42, "1").catch(() => {});
  chat.send(42, "2").catch(() => {});
  await assert.rejects(chat.send(42, "3"), { code: "queue_full" });
  assert.equal(chat.unanswered, 2);
});

test("what was sent before the connection waits for it, and after a reconnect goes out again in order", async () => {
  const it = made();
  const sent = [it.chat.send(42, "1"), it.chat.send(42, "2"), it.chat.send(43, "3")];
  it.chat.connect();
  await idle();
  const first = (await logIn()).take().slice(1);
  assert.deepEqual(first.map(({ message }) => message), ["1", "3"]);
  last().ends(1006);
  await passes(1_000);
  const socket = await logIn({ recovered: true });
  assert.deepEqual(socket.take().slice(1), first);
  // The first had reached the log: it was replayed, and the echo is a repeat.
  const logged = echo(first[0], { replayed: true });
  socket.says(logged);
  socket.says({ ...logged, replayed: undefined });
  socket.says(echo(first[1]));
  const second = socket.take();
  assert.deepEqual(second.map(({ message }) => message), ["2"]);
  socket.says(echo(second[0]));
  await Promise.all(sent);
  assert.deepEqual(it.texts(), ["1", "3", "2"]);
});

test("an error without a message is told; one of a message that is settled is not", async () => {
  const { socket, of, chat } = await online();
  socket.says({ type: "system_message", error: "A sentence.", code: "unavailable", to_id: 41, time: now() });
  socket.says(refusal("rate_limited", {}, { retry_after_ms: 10 })); // a ping
  socket.says(refusal("no_user_or_offline", { target_id: "42", client_msg_id: "settled" }));
  assert.deepEqual(of("error").map(({ code }) => code), ["unavailable"]);
  const warned = mock.method(console, "warn", () => {});
  const quiet = new Chat({ url: "http://chat.example", token: () => Promise.reject(new Error("x")), WebSocket: Socket });
  quiet.connect().catch(() => {});
  await idle();
  quiet.close();
  assert.equal(warned.mock.callCount(), 1);
  assert.equal(chat.state, "online");
});

test("another device's echo settles nothing of this one", async () => {
  const { socket, chat } = await online();
  chat.send(42, "1", { clientId: "m1" }).catch(() => {});
  socket.says(chatFrame(43, 41, "x", { client_msg_id: "m1" }));
  socket.says(chatFrame(41, 43, "x", { client_msg_id: "m1" }));
  assert.equal(chat.unanswered, 1);
});

// --- Close codes ---

// The bounds of the first, second and fourth wait after a code, in milliseconds, with the default options.
const waits = {
  1000: [500, 1_000, 4_000],
  1001: [500, 1_000, 4_000],
  1005: [500, 1_000, 4_000],
  1006: [500, 1_000, 4_000],
  1011: [500, 1_000, 4_000],
  1009: [500, 1_000, 4_000],
  1012: [3_000, 6_000, 24_000],
  1013: [2_000, 4_000, 16_000],
  3401: [0, 2_000, 8_000],
  4000: [500, 1_000, 4_000],
};
for (const [code, want] of Object.entries(waits))
  test(`close code ${code}: random waits up to ${want}`, async () => {
    const it = await online();
    const most = [];
    for (let i = 0; i < 4; i++) {
      random = 1;
      last().ends(Number(code), "some_reason");
      const { retryIn, ...more } = it.of("state").at(-1);
      assert.deepEqual(more, { state: "offline", code: Number(code), reason: "some_reason" });
      most.push(retryIn);
      const before = Socket.all.length;
      if (retryIn) {
        await passes(retryIn - 1);
        assert.equal(Socket.all.length, before);
      }
      await passes(1);
      assert.equal(Socket.all.length, before + 1);
      last().onopen();
    }
    assert.deepEqual([most[0], most[1], most[3]], want);
  });

for (const code of [1002, 1003, 1007, 1008])
  test(`close code ${code}: a long wait`, async () => {
    const it = await online();
    for (const [chance, wait] of [[0, 15_000], [1, 30_000]]) {
      random = chance;
      last().ends(code);
      assert.equal(it.of("state").at(-1).retryIn, wait);
      await passes(wait);
      last().onopen();
    }
  });

test("a node that starts is waited for briefly, however long the one before it was away", async () => {
  const it = await online();
  random = 1;
  for (const [code, most] of [[1006, 500], [1006, 1_000], [1006, 2_000], [1006, 4_000], [1013, 2_000], [1013, 4_000], [1012, 3_000], [1001, 8_000]]) {
    last().ends(code);
    assert.equal(it.of("state").at(-1).retryIn, most);
    await passes(most);
    last().onopen();
  }
});

test("a connection that lived for a while makes waits begin anew", async () => {
  const it = await online();
  random = 1;
  for (let i = 0; i < 5; i++) {
    last().ends(1006);
    await passes(30_000);
    last().onopen();
  }
  last().says(answer());
  await passes(4_999); // not long enough
  last().ends(1006);
  assert.equal(it.of("state").at(-1).retryIn, 16_000);
  await passes(30_000);
  last().onopen();
  last().says(answer());
  await passes(5_000);
  last().ends(1006);
  assert.equal(it.of("state").at(-1).retryIn, 500);
});

test("no wait is longer than the cap", async () => {
  const it = await online({ reconnect: { base: 100, cap: 1_000 } });
  random = 1;
  for (let i = 0; i < 40; i++) {
    last().ends(1006);
    assert.ok(it.of("state").at(-1).retryIn <= 1_000);
    await passes(1_000);
  }
  assert.equal(Socket.all.length, 41);
});

test("close code 3401: asks for a new token, at once, then ever later", async () => {
  let tokens = 0;
  const it = await online({ token: async () => `t${++tokens}` });
  last().ends(3401, "token_expired");
  await passes(0);
  assert.equal(Socket.all.length, 2);
  last().onopen();
  assert.equal(last().take()[0].token, "t2");
  assert.deepEqual(it.of("error"), []); // that a token expires is no error
  last().ends(3401, "token_refused");
  assert.equal(it.of("error")[0].code, "token");
  await passes(it.of("state").at(-1).retryIn);
  last().onopen();
  assert.equal(last().take()[0].token, "t3");
});

test("close code 3401 to a token that is a plain string: closed", async () => {
  const it = made({ token: "t1" });
  const connected = it.chat.connect();
  await idle();
  last().onopen();
  last().ends(3401, "token_refused");
  await assert.rejects(connected, { code: "token" });
  assert.deepEqual(it.of("state").at(-1), { state: "closed", code: 3401, reason: "token_refused" });

  // One that expires later too: no promise tells it.
  const later = await online({ token: "t1" });
  last().ends(3401, "token_expired");
  assert.deepEqual([later.chat.state, later.of("error").map(({ code }) => code)], ["closed", ["token"]]);
});

test("close code 3403: closed, as the user is banned", async () => {
  const it = await online();
  const sent = it.chat.send(42, "1");
  last().says({ type: "system_message", error: "You are banned.", code: "banned", to_id: 41, time: "2026-01-02T03:04:05.678Z", reason: "fraud" });
  last().ends(3403, "banned");
  await assert.rejects(sent, { code: "banned" });
  assert.deepEqual(it.of("state").at(-1), { state: "closed", code: 3403, reason: "banned" });
  await passes(600_000);
  assert.equal(Socket.all.length, 1);
});

test("close code 3409: closed, until the application wants it", async () => {
  const it = await online();
  const sent = it.chat.send(42, "1");
  last().ends(3409, "replaced");
  await assert.rejects(sent, { code: "replaced" });
  assert.equal(it.chat.state, "closed");
  await passes(600_000);
  assert.equal(Socket.all.length, 1);
  it.chat.connect();
  await idle();
  assert.equal(Socket.all.length, 2);
});

test("an erased user: closed", async () => {
  const it = await online();
  last().ends(3401, "user_erased");
  assert.deepEqual(it.of("state").at(-1), { state: "closed", code: 3401, reason: "user_erased" });
});

test("close code 1009: the longest message is given up, the others go out again", async () => {
  const { socket, chat } = await online();
  const short = chat.send(43, "short");
  const long = chat.send(42, "é".repeat(60_000));
  chat.send(44, "x".repeat(100_000)).catch(() => {}); // shorter in bytes
  socket.ends(1009, "too_long");
  await assert.rejects(long, { code: "too_long" });
  await passes(1_000);
  const frames = (await logIn({ recovered: true })).take().slice(1);
  assert.deepEqual(frames.map(({ target_id }) => target_id), ["43", "44"]);
  last().says(echo(frames[0]));
  await short;
});

test("what waited behind a message that was too long was never sent: offline is an answer to it", async () => {
  const { socket, chat } = await online();
  const long = assert.rejects(chat.send(42, "x".repeat(70_000)), { code: "too_long" });
  const next = assert.rejects(chat.send(42, "next"), { code: "no_user_or_offline" });
  socket.ends(1009, "too_long");
  await long;
  await passes(1_000);
  const [, frame] = (await logIn({ recovered: true })).take();
  last().says(refusal("no_user_or_offline", frame));
  await next;
});

test("a token function that fails is called again; null closes the client", async () => {
  const tokens = [() => Promise.reject(new Error("of the application")), () => "t1", () => null];
  const it = made({ token: () => tokens.shift()() });
  const connected = it.chat.connect();
  await idle();
  assert.equal(it.of("error")[0].code, "token");
  assert.match(it.of("error")[0].message, /of the application/);
  await passes(1_000);
  await logIn();
  await connected;
  last().ends(3401, "token_expired");
  await passes(0);
  assert.deepEqual(it.of("state").at(-1), { state: "closed", code: 0, reason: "logged_out" });
});

test("a connection that cannot be opened, or does not answer the login, is tried again", async () => {
  let works = false;
  class Broken extends Socket {
    constructor(url) {
      if (!works) throw new Error("refused by the page's policy");
      super(url);
    }
  }
  const it = made({ WebSocket: Broken });
  it.chat.connect();
  await idle();
  assert.equal(it.of("error")[0].code, "network");
  works = true;
  await passes(1_000);
  last().onopen();
  await passes(15_000);
  assert.deepEqual(it.of("state").at(-1), { state: "offline", code: 0, reason: "no_answer", retryIn: 500 });
});

// --- Dead connections ---

test("pings after 5 s of silence; dead after 5 more, and the old socket counts no more", async () => {
  const it = await online();
  await passes(4_999);
  it.socket.says({ type: "send_status", from_id: 42, to_id: 41, status: "online", time: now() });
  await passes(4_999);
  assert.deepEqual(it.socket.take(), []);
  await passes(1);
  assert.deepEqual(it.socket.take(), [{ type: "ping" }]);
  it.socket.says({ type: "pong", time: now() });
  await passes(5_000);
  assert.deepEqual(it.socket.take(), [{ type: "ping" }]);
  await passes(5_000);
  assert.deepEqual(it.of("state").at(-1), { state: "offline", code: 0, reason: "no_answer", retryIn: 250 });
  assert.ok(it.socket.closed);
  it.socket.says(chatFrame(42, 41, "from the dead"));
  it.socket.ends(1006);
  await passes(250);
  assert.equal(Socket.all.length, 2);
  assert.deepEqual(it.texts(), []);
});

test("a socket of the package ws is ended at once; one that opens too late is not used", async () => {
  class Terminable extends Socket {
    terminate() {
      this.closed = "terminated";
    }
  }
  const it = made({ WebSocket: Terminable });
  it.chat.connect();
  await idle();
  const late = last();
  await passes(15_000);
  assert.equal(late.closed, "terminated");
  await passes(1_000);
  assert.equal(Socket.all.length, 2);
  late.onopen();
  assert.deepEqual([late.sent, last().sent], [[], []]);
});

test("retry connects at once, or checks the connection", async () => {
  const { socket, chat } = await online();
  chat.retry();
  assert.deepEqual(socket.take(), [{ type: "ping" }]);
  socket.ends(1013);
  chat.retry();
  await idle();
  assert.equal(Socket.all.length, 2);
  await passes(4_000);
  assert.equal(Socket.all.length, 2); // the wait was over
});

// Runs a test as in a page. It gets the listeners of the page by their event.
async function inPage(run) {
  const heard = {};
  const target = {
    addEventListener: (kind, listener) => (heard[kind] = listener),
    removeEventListener: (kind, listener) => assert.equal(heard[kind], listener) ?? delete heard[kind],
  };
  Object.assign(globalThis, target, { document: { ...target, hidden: false } });
  try {
    await run(heard);
  } finally {
    for (const name of ["document", "addEventListener", "removeEventListener"]) delete globalThis[name];
  }
}

test("a page that is shown again, or a network that is back, connects at once", () =>
  inPage(async (heard) => {
    const { socket, chat } = await online();
    assert.deepEqual(Object.keys(heard).sort(), ["online", "pagehide", "pageshow", "visibilitychange"]);
    socket.ends(1013);
    document.hidden = true;
    heard.visibilitychange();
    await idle();
    assert.equal(Socket.all.length, 1);
    document.hidden = false;
    heard.visibilitychange();
    await idle();
    assert.equal(Socket.all.length, 2);
    last().ends(1006);
    heard.online();
    await idle();
    assert.equal(Socket.all.length, 3);
    chat.close();
    assert.deepEqual(heard, {});
  }));

test("a page that is left and kept by the browser is offline; when the user goes back, it takes up where it stopped", () =>
  inPage(async (heard) => {
    const kept = new Map();
    const storage = { get: (key) => kept.get(key), set: (key, value) => void kept.set(key, value) };
    const { socket, chat, of } = await online({ storage }, { resume: "p0" });
    heard.pagehide({ persisted: false }); // it is thrown away: the browser ends its connections
    assert.equal(socket.closed, undefined);
    assert.equal(kept.size, 1);
    heard.pageshow({ persisted: false }); // as after each load
    await idle();
    assert.equal(Socket.all.length, 1);

    const sent = chat.send(42, "1");
    const [frame] = socket.take();
    heard.pagehide({ persisted: true });
    assert.equal(socket.closed, 1000);
    assert.deepEqual(of("state").at(-1), { state: "offline", code: 0, reason: "page_left" });
    await passes(20_000);
    assert.equal(Socket.all.length, 1);
    heard.pageshow({ persisted: true });
    heard.visibilitychange();
    await idle();
    assert.equal(Socket.all.length, 2);
    const back = await logIn({ recovered: true });
    assert.equal(back.sent[0].resume, "p0");
    assert.deepEqual(back.sent[1], frame);
    back.says(refusal("no_user_or_offline", frame)); // it may be stored
    back.says(echo(frame));
    await sent;

    // Left while it waits to connect, and while it connects.
    back.ends(1006);
    heard.pagehide({ persisted: true });
    await passes(60_000);
    assert.equal(Socket.all.length, 2);
    heard.pageshow({ persisted: true });
    await idle();
    heard.pagehide({ persisted: true });
    assert.deepEqual([Socket.all.length, last().closed, chat.state], [3, 1000, "offline"]);
    last().onopen();
    assert.deepEqual(last().sent, []);
  }));

// --- Resume ---

test("names the place of the last frame that was shown: of messages, pongs, and the login", async () => {
  const { socket, texts, of } = await online({}, { resume: "p0" });
  const steps = [
    ["p0", () => {}],
    ["p1", (socket) => socket.says(chatFrame(42, 41, "one", { resume: "p1" }))],
    ["p2", (socket) => socket.says({ type: "pong", time: now(), resume: "p2" })],
    ["p3", (socket) => socket.says(chatFrame(42, 41, "two", { resume: "p3", replayed: true }))],
  ];
  let at = socket;
  for (const [place, step] of steps) {
    step(at);
    at.ends(1012);
    await passes(of("state").at(-1).retryIn);
    at = await logIn({ recovered: true });
    assert.equal(at.take()[0].resume, place);
  }
  assert.deepEqual([texts(), of("gap"), of("message").map(({ replayed }) => replayed)], [["one", "two"], [], [false, true]]);
});

// The history of user 41: what rest answers for pages of one entry.
function historyOf(conversations) {
  const asked = [];
  rest = (method, path) => {
    asked.push(path);
    const query = new URL(path, "http://x").searchParams;
    const at = query.get("before");
    if (path.startsWith("conversations/")) {
      const all = Object.entries(conversations).map(([id, frames]) => ({ id: Number(id), last_message: frames[0], time: frames[0].time, unread: 0 }));
      const from = at ? Number(at) : 0;
      return [200, { conversations: all.slice(from, from + 1), next: from + 1 < all.length ? String(from + 1) : null }];
    }
    const frames = conversations[query.get("target_id")];
    const from = at ? frames.findIndex(({ id }) => id === at) + 1 : 0;
    return [200, { messages: frames.slice(from, from + 1), next: from + 1 < frames.length ? frames[from].id : null }];
  };
  return asked;
}

for (const [how, first, second] of [
  ["the place is too far back", { resume: "p0" }, { resume: "p9", recovered: false, recovered_from: iso(start + 20_000) }],
  ["the server cannot resume", {}, {}],
])
  test(`${how}: what was missed is read from the history, before what comes live`, async () => {
    const it = await online({}, first);
    const known = chatFrame(42, 41, "known");
    it.socket.says(known);
    it.socket.ends(1006);
    await passes(10_000);
    const a = [chatFrame(42, 41, "a2"), chatFrame(41, 42, "a1"), known, chatFrame(42, 41, "before the first login", { time: iso(start - 11_000) })];
    const b = [chatFrame(43, 41, "b1"), chatFrame(43, 41, "before", { time: iso(start - 11_000) })];
    const old = [chatFrame(44, 41, "old", { time: iso(start - 86_400_000) })];
    const asked = historyOf({ 42: a, 43: b, 44: old });
    last().onopen();
    const opened = Date.now();
    last().says(answer(second));
    last().says(chatFrame(42, 41, "live", second.resume && { resume: "p10" }));
    last().says({ ...a[0] }); // live too
    assert.deepEqual(it.texts(), ["known"]);
    await idle();
    assert.deepEqual(it.texts(), ["known", "a1", "a2", "b1", "live"]);
    const pages = (partner) => asked.filter((path) => path.includes(`target_id=${partner}`)).length;
    assert.deepEqual([pages(42), pages(43), pages(44)], [3, 2, 0]); // up to what is known, or too old
    assert.deepEqual(it.of("message").slice(1, 4).map(({ replayed }) => replayed), [true, true, true]);
    assert.deepEqual(it.of("gap"), [{ since: new Date(start), until: new Date(second.recovered_from ?? opened), filled: true }]);
    last().ends(1006);
    await passes(10_000);
    last().onopen();
    assert.equal(last().take()[0].resume, second.resume && "p10");
  });

test("a connection that breaks while the history is read leaves the hole to the next one", async () => {
  const it = await online({}, { resume: "p0" });
  it.socket.ends(1006);
  await passes(10_000);
  let release;
  rest = () => new Promise((resolve) => (release = resolve));
  await logIn({ resume: "p5", recovered: false, recovered_from: now() });
  const live = chatFrame(42, 41, "live", { resume: "p6" });
  last().says(live);
  last().says({ type: "pong", time: now(), resume: "p7" });
  await idle();
  last().ends(1006);
  release([200, { conversations: [], next: null }]);
  await passes(10_000);
  historyOf({ 42: [live, chatFrame(42, 41, "missed", { time: iso(start + 1) })] });
  await logIn({ resume: "p8", recovered: false, recovered_from: now() });
  assert.equal(last().take()[0].resume, "p0");
  assert.deepEqual(it.texts(), ["missed", "live"]);
  assert.equal(it.of("gap").length, 1);
});

test("an echo while the history is read settles its message, which is shown in its place", async () => {
  const it = await online();
  it.socket.ends(1006);
  await passes(10_000);
  let release;
  rest = () => new Promise((resolve) => (release = resolve));
  await logIn();
  const sent = it.chat.send(42, "mine");
  last().says(echo(last().take().at(-1)));
  await sent;
  assert.deepEqual(it.texts(), []);
  release([200, { conversations: [], next: null }]);
  await idle();
  assert.deepEqual(it.texts(), ["mine"]);
});

// The ids are those that domain.MessageID, InviteID and InviteEndID make for user 41, partner 42 and the name: the tests of domain have the
// first two as well.
const uuid5 = (kind, name) => {
  const sum = createHash("sha1").update("9b1d3c52704e4a868f2b51c06de734a9", "hex").update(`${kind}\0${name}`).digest();
  sum[6] = (sum[6] & 15) | 80;
  sum[8] = (sum[8] & 63) | 128;
  return sum.toString("hex", 0, 16).replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};
const inviteFrame = (status, more) => ({ type: "invite_game", from_id: 41, to_id: 42, status, room_id: "q", time: now(), id: uuid(), ...more });
const answered = (status) => ({
  what: `an answer (${status})`,
  call: (chat) => chat[status]({ partner: "42", roomId: "q" }),
  id: (name) => uuid5("invite end", `${uuid5(`invite ${status}`, uuid5("invite client_msg_id", `41:42:${name}`))}/q`),
  frame: (more) => inviteFrame(status, more),
});
const named = [
  {
    what: "a message", call: (chat) => chat.send(42, "mine", { clientId: "m1" }), id: () => "7ef081cc-5c3d-5da9-958a-643849697c3d",
    frame: (more) => chatFrame(41, 42, "mine", more),
  },
  {
    what: "an invite", call: (chat) => chat.invite(42, { clientId: "m1" }), id: () => "addc2f4f-cee7-5740-bdab-cedf0f7e07cb",
    frame: (more) => inviteFrame("invite", more),
  },
  {
    what: "a message with a long name", call: (chat) => chat.send(42, "mine", { clientId: "~".repeat(64) }),
    id: () => uuid5("client_msg_id", `41:42:${"~".repeat(64)}`), frame: (more) => chatFrame(41, 42, "mine", more),
  },
  ...["accept", "decline", "cancel"].map(answered),
];

for (const { what, call, id, frame } of named) {
  const begun = async () => {
    const it = await online({}, { resume: "p0" });
    const sent = call(it.chat);
    const name = it.socket.take()[0].client_msg_id;
    it.socket.ends(1006);
    await passes(10_000);
    return { it, sent, name, own: id(name) };
  };
  test(`${what} without its name, in a replay from the history, settles what was sent`, async () => {
    const { it, sent, name, own } = await begun();
    await logIn({ resume: "p1", recovered: true });
    last().says(frame({ id: "00000000-0000-5000-8000-000000000001", replayed: true })); // of another device
    last().says(frame({ id: own, replayed: true }));
    const entry = await sent;
    assert.deepEqual([entry.id, entry.clientId, entry.replayed], [own, name, true]);
    assert.deepEqual(it.of(entry.type).map(({ clientId }) => clientId), [undefined, name]);
    assert.equal(it.chat.unanswered, 0);
  });
  test(`${what} that the client finds in the history settles what was sent`, async () => {
    const { it, sent, name, own } = await begun();
    historyOf({ 42: [frame({ id: own })] });
    await logIn({ resume: "p1", recovered: false, recovered_from: now() });
    const entry = await sent;
    assert.deepEqual([entry.id, entry.clientId], [own, name]);
    assert.deepEqual(it.of(entry.type).map(({ clientId }) => clientId), [name]);
    // The server echoes what was sent again meanwhile.
    last().says(frame({ id: own, client_msg_id: name }));
    assert.equal(it.of(entry.type).length, 1);
  });
}

test("a history that is behind says so, and fills no gap", async () => {
  const it = await online({}, { resume: "p0" });
  it.socket.ends(1006);
  await passes(10_000);
  const missed = chatFrame(42, 41, "missed", { time: iso(start + 1) });
  const asked = historyOf({ 42: [missed] });
  const complete = rest;
  rest = async (...request) => {
    const [status, body] = await complete(...request);
    return [status, { ...body, behind: true }];
  };
  await logIn({ resume: "p1", recovered: false, recovered_from: now() });
  assert.deepEqual(it.texts(), ["missed"]);
  assert.deepEqual(it.of("gap").map(({ filled }) => filled), [false]);
  assert.notEqual(asked.length, 0);
  rest = () => [200, { messages: [], next: null, behind: true }];
  const { value } = await it.chat.history(42).next();
  assert.deepEqual([value.length, value.behind], [0, true]);
});

test("a gap that cannot be filled is told", async () => {
  const long = Array.from({ length: 2_001 }, (_, i) => chatFrame(42, 41, String(i)));
  for (const [how, answering, options, errors] of [
    ["no history", () => [404, { code: "not_found", detail: "Not found." }], {}, []],
    ["broken", () => [500, "<html>"], {}, ["http"]],
    ["too much", (method, path) => [200, path.startsWith("messages/") ? { messages: long, next: null } : { conversations: [{ id: 42, last_message: long[0], time: now(), unread: 9 }], next: null }], {}, ["too_much"]],
    ["not wanted", () => assert.fail("asked"), { catchUp: false }, []],
  ]) {
    const it = await online(options);
    it.socket.ends(1006);
    await passes(1_000);
    rest = answering;
    last().onopen();
    last().says(answer());
    last().says(chatFrame(42, 41, "live"));
    await idle();
    assert.deepEqual(it.of("gap").map(({ filled }) => filled), [false], how);
    assert.deepEqual([it.texts(), it.of("error").map(({ code }) => code)], [["live"], errors], how);
  }
});

test("live frames that wait for the history are bounded, and none is lost", async () => {
  const it = await online();
  it.socket.ends(1006);
  await passes(1_000);
  rest = () => new Promise(() => {});
  await logIn();
  for (let i = 0; i < 10_001; i++) last().says(chatFrame(42, 41, String(i)));
  assert.deepEqual([it.of("gap").map(({ filled }) => filled), it.texts().length, it.texts().at(-1)], [[false], 10_001, "10000"]);
});

test("a store takes the place over a reload, each user its own", async () => {
  const kept = new Map();
  const storage = { get: async (key) => kept.get(key), set: (key, value) => void kept.set(key, value) };
  const token = (user) => `x.${btoa(JSON.stringify({ user_id: user }))}.x`;
  const it = await online({ storage, token: token(41) }, { resume: "p0" });
  it.socket.says(chatFrame(42, 41, "one", { resume: "p1" }));
  assert.equal(kept.size, 0);
  await passes(1_000);
  assert.equal(JSON.parse(kept.get("chatting.chat.example.41")).resume, "p1");
  it.socket.says(chatFrame(42, 41, "two", { resume: "p2" }));
  it.chat.close();
  assert.equal(JSON.parse(kept.get("chatting.chat.example.41")).resume, "p2");
  assert.equal((await online({ storage, token: token(41) }, { recovered: true })).login.resume, "p2");
  assert.equal((await online({ storage, token: token(40) }, { to_id: 40 })).login.resume, undefined);
  // After a reload too, what the server cannot replay is a gap.
  const again = await online({ storage, token: token(41) }, { recovered: false, recovered_from: now() });
  assert.equal(again.of("gap").length, 1);
});

test("a store that fails keeps nobody from chatting", async () => {
  const fails = () => {
    throw new Error("quota");
  };
  for (const storage of [{ get: fails, set: fails }, { get: () => "{", set: async () => fails() }]) {
    const it = await online({ storage });
    await passes(1_000);
    assert.deepEqual([it.chat.state, it.of("error").map(({ code }) => code)], ["online", ["storage"]]);
  }
});

test("another user with the same client gets nothing of the one before", async () => {
  let user = 41;
  const it = await online({ token: () => `x.${btoa(JSON.stringify({ user_id: user }))}.x` }, { resume: "p0", online_friends: [42] });
  const rejected = assert.rejects(it.chat.send(42, "of 41"), { code: "closed" });
  it.socket.ends(3401, "token_revoked");
  user = 40;
  await passes(0);
  const socket = await logIn({ to_id: 40 });
  await rejected;
  assert.deepEqual([socket.take().length, it.chat.user, it.of("gap")], [1, "40", []]);
  assert.equal(it.chat.onlineFriends.size, 0);
});

// --- Tokens ---

const jwt = (name, seconds) => `${name}.${btoa(JSON.stringify({ exp: (start + seconds * 1_000) / 1_000 }))}.x`;

test("a token is renewed before it expires: as the login says, as the token says, when the server warns", async () => {
  for (const [how, first, more, at] of [
    ["the login says", "opaque", { token_expires_at: iso(start + 600_000) }, 525_000],
    ["the token says", jwt("a", 600), {}, 525_000],
    ["it lives shortly", jwt("a", 30), {}, 20_000],
  ]) {
    mock.timers.setTime(start);
    const tokens = [first, "second"];
    const it = await online({ token: async () => tokens.shift() }, more);
    for (let left = at - 1; left > 0; left -= 4_000) {
      await passes(Math.min(left, 4_000));
      it.socket.says({ type: "pong", time: now() });
    }
    it.socket.take();
    await passes(1);
    assert.deepEqual(it.socket.take(), [{ token: "second" }], how);
    it.socket.says({ type: "token_renewed", to_id: 41, expires_at: iso(Date.now() + 600_000), time: now() });
    it.chat.close();
  }
});

test("a warning plans a renewal, and never makes a loop", async () => {
  let tokens = 0;
  const it = await online({ token: () => `t${++tokens}` });
  const warns = (expires) => it.socket.says({ type: "token_expiring", to_id: 41, expires_at: iso(expires), time: now() });
  const renewed = (expires) => it.socket.says({ type: "token_renewed", to_id: 41, expires_at: iso(expires), time: now() });
  const takesTokens = () => it.socket.take().filter(({ token }) => token).map(({ token }) => token);
  // Tokens that live for 6 s are warned of at once, again and again.
  for (let i = 0; i < 3; i++) {
    const expires = Date.now() + 6_000;
    if (i) renewed(expires);
    warns(expires);
    warns(expires);
    await passes(3_999);
    assert.deepEqual(takesTokens(), []);
    await passes(1);
    assert.deepEqual(takesTokens(), [`t${i + 2}`]);
  }
  renewed(Date.now() + 600_000);
  warns(Date.now() + 2_000); // of the token before
  await passes(4_000);
  assert.deepEqual(takesTokens(), []);
});

test("a token that cannot be renewed now stays until the server ends it, and is asked for again", async () => {
  let calls = 0;
  const it = await online({ token: () => (++calls === 2 ? Promise.reject(new Error("down")) : "same") }, { token_expires_at: iso(start + 15_000) });
  await passes(4_000);
  it.socket.says({ type: "pong", time: now() });
  await passes(4_000);
  it.socket.says({ type: "pong", time: now() });
  await passes(2_000);
  assert.deepEqual([calls, it.of("error").map(({ code }) => code)], [2, ["token"]]);
  it.socket.says({ type: "pong", time: now() });
  await passes(2_500); // half of what is left
  assert.equal(calls, 3);
  assert.ok(!it.socket.take().some(({ token }) => token));
  it.socket.ends(3401, "token_expired");
  await passes(0);
  last().onopen();
  assert.deepEqual([calls, last().take()[0].token], [4, "same"]);
});

test("a token that has expired meanwhile is not used; one without a successor stays in use", async () => {
  const tokens = [jwt("a", 10), "second", null];
  const it = await online({ token: () => tokens.shift(), reconnect: { base: 20_000 } }, {});
  it.socket.ends(1006);
  await passes(10_000);
  last().onopen();
  assert.equal(last().take()[0].token, "second");
  last().says(answer({ token_expires_at: iso(Date.now() + 9_000) }));
  await passes(4_000);
  last().says({ type: "pong", time: now() });
  await passes(2_000);
  assert.deepEqual(tokens, []); // it was asked, and there is none
  rest = (method, path, body, headers) => [200, [{ id: headers.Authorization === "Bearer second" ? 7 : 0 }]];
  assert.deepEqual(await it.chat.blocked(), ["7"]);
});

test("expiries far away set no timer that fires at once", async () => {
  const { setTimeout } = globalThis;
  const waits = [];
  globalThis.setTimeout = (then, ms) => (waits.push(ms), setTimeout(then, ms));
  try {
    await online({ token: () => jwt("a", 10 * 365 * 86_400) });
  } finally {
    globalThis.setTimeout = setTimeout;
  }
  assert.equal(Math.max(...waits), 2 ** 31 - 1);
});

// --- Invites ---

test("invites, answers, and what is left of the time by the server's clock", async () => {
  const ahead = 5_000; // of the server
  const it = made();
  it.chat.connect();
  await idle();
  last().onopen();
  last().says(answer({ time: iso(Date.now() + ahead) }));
  await idle();
  const socket = last();
  socket.take();
  const inviting = it.chat.invite(42);
  const [frame] = socket.take();
  assert.deepEqual({ ...frame, client_msg_id: 0 }, { target_id: "42", type: "invite_game", status: "invite", client_msg_id: 0 });
  const { client_msg_id } = frame;
  const expires = Date.now() + ahead + 60_000;
  socket.says({ type: "invite_game", from_id: 41, to_id: 42, status: "invite", room_id: "q", expires_at: iso(expires), time: now(), id: "i1", client_msg_id });
  const invite = await inviting;
  assert.equal(it.chat.secondsLeft(invite), 60);
  await passes(1_500);
  assert.equal(it.chat.secondsLeft(invite), 59);
  assert.equal(it.chat.secondsLeft({ ...invite, expiresAt: undefined }), 0);
  const cancelling = it.chat.cancel(invite);
  const [cancel] = socket.take();
  assert.deepEqual({ ...cancel, client_msg_id: 0 }, { target_id: "42", type: "invite_game", status: "cancel", room_id: "q", client_msg_id: 0 });
  socket.says(refusal("invite_ended", cancel));
  await assert.rejects(cancelling, { code: "invite_ended" });
  for (const status of ["accept", "decline"]) {
    const answering = it.chat[status]({ partner: "43", roomId: "z" });
    const [sent] = socket.take();
    assert.deepEqual([sent.target_id, sent.status, sent.room_id], ["43", status, "z"]);
    socket.says({ type: "invite_game", from_id: 41, to_id: 43, status, room_id: "z", time: now(), id: status, client_msg_id: sent.client_msg_id });
    assert.equal((await answering).status, status);
  }
  const many = it.chat.invite(44);
  socket.says(refusal("rate_limited", socket.take()[0])); // 32 are pending: no waiting helps
  await assert.rejects(many, { code: "rate_limited" });
});

// --- REST ---

test("requests and what comes of them", async () => {
  const { chat } = await online();
  const asked = [];
  const message = chatFrame(42, 41, "x");
  const answers = {
    "GET blockedusers/": [200, [{ id: 7 }, { id: 9 }]],
    "GET friends/": [200, "[{\"id\":9007199254740993}]"],
    "POST blockedusers/": [201, { target_id: 7 }],
    "POST friends/": [201, { target_id: 7 }],
    "DELETE friends/?target_id=7": [200, undefined],
    "DELETE blockedusers/?target_id=7": [400, { target_id: ["차단되지 않은 사용자입니다."] }],
    "GET is-online/?id=42": [200, { id: 42, is_online: true }],
    "GET is-online/?id=43": [404, { error: "User not found" }],
    "PUT conversations/42/read/": [200, { id: 42, unread: 3 }],
    "GET invites/": [200, { invites: [{ type: "invite_game", from_id: 42, to_id: 41, status: "invite", room_id: "q", expires_at: now(), time: now(), id: "i" }] }],
    "GET messages/?target_id=42&limit=50": [200, { messages: [message], next: message.id }],
    [`GET messages/?target_id=42&limit=50&before=${message.id}`]: [200, { messages: [], next: null }],
    "GET messages/?target_id=42&limit=9&after=a%2Fb": [200, { messages: [message], next: null }],
    "GET conversations/?limit=50": [200, { conversations: [{ id: 0, last_message: { type: "system_message", from: "admin", message: "m", to_id: 41, time: now(), id: "s" }, time: now(), unread: 1 }], next: null }],
  };
  rest = (method, path, body, headers) => {
    asked.push([method, path, body]);
    assert.equal(headers.Authorization, "Bearer t1");
    return answers[`${method} ${path}`] ?? assert.fail(`${method} ${path}`);
  };
  assert.deepEqual(await chat.blocked(), ["7", "9"]);
  assert.deepEqual(await chat.friends(), ["9007199254740993"]);
  await chat.block(7);
  await chat.unblock("7"); // although it was not blocked
  await chat.addFriend(7n);
  await chat.removeFriend(7);
  assert.deepEqual([await chat.isOnline(42), await chat.isOnline(43)], [true, false]);
  assert.deepEqual(await chat.markRead(42, message.id), { unread: 3 });
  const [invite] = await chat.invites();
  assert.deepEqual([invite.partner, invite.mine, invite.roomId], ["42", false, "q"]);
  const pages = [];
  for await (const page of chat.history(42)) pages.push(page);
  assert.deepEqual(pages.map((page) => page.map(({ text, partner, mine }) => [text, partner, mine])), [[["x", "42", false]]]);
  assert.equal((await chat.history(42, { limit: 9, after: "a/b" }).next()).value.length, 1);
  const { value: conversations } = await chat.conversations().next();
  assert.deepEqual([conversations[0].partner, conversations[0].unread, conversations[0].last.text], ["0", 1, "m"]);
  assert.deepEqual(asked.filter(([method]) => method === "POST" || method === "PUT").map(([, , body]) => body), [{ target_id: "7" }, { target_id: "7" }, { message_id: message.id }]);
  await assert.rejects(chat.isOnline("x"), { code: "bad_user" });
});

test("a redirect leads no token anywhere", async () => {
  const { chat } = await online();
  const asked = [];
  rest = (method, path) => {
    asked.push(path);
    return path === "friends/" ? [307, undefined, { Location: "/elsewhere" }] : [200, []];
  };
  const refused = assert.rejects(chat.friends(), { code: "network" });
  for (let i = 0; i < 4; i++) await idle().then(() => passes(20_000));
  await refused;
  assert.deepEqual([...new Set(asked)], ["friends/"]);
});

test("a request is made again where that may help", async () => {
  let tokens = 0;
  const { chat } = await online({ token: () => `t${++tokens}` });
  const answers = [[401, { detail: "no" }], [429, { code: "rate_limited", detail: "Slower." }, { "Retry-After": "2" }], new TypeError("fetch failed"), [200, []]];
  const used = [];
  const limits = mock.method(AbortSignal, "timeout");
  rest = (method, path, body, headers) => (used.push(headers.Authorization), answers.shift());
  const blocked = chat.blocked();
  await idle();
  assert.deepEqual(used, ["Bearer t1", "Bearer t2"]);
  await passes(1_999);
  assert.equal(used.length, 2);
  await passes(501);
  assert.equal(used.length, 3);
  await passes(1_000);
  assert.deepEqual(await blocked, []);
  assert.deepEqual(limits.mock.calls.map(({ arguments: [ms] }) => ms), [5_000, 10_000, 15_000, 20_000]); // the first connection may be dead
  for (const [answering, want] of [
    [[401, { detail: "no" }], { code: "http", status: 401 }],
    [[400, { target_id: ["해당 id가 존재하지 않습니다."] }], { code: "http", status: 400, message: /해당/ }],
    [[409, { code: "conflict", detail: "Not now." }], { code: "conflict", status: 409 }],
    [[503, { code: "unavailable", detail: "Away." }], { code: "unavailable", status: 503 }],
    [[502, "<html>"], { code: "http", status: 502 }],
    [[200, "<html>"], { code: "http", status: 200 }],
    [new TypeError("fetch failed"), { code: "network" }],
  ]) {
    rest = () => answering;
    const refused = assert.rejects(chat.block(7), want);
    for (let i = 0; i < 6; i++) await passes(5_000);
    await refused;
  }
});

// --- The end ---

test("close settles everything", async () => {
  const { chat, socket } = await online();
  rest = () => [503, { code: "unavailable", detail: "Away." }];
  const all = [chat.send(42, "1"), chat.blocked(), chat.history(42).next()].map((promise) => assert.rejects(promise, { code: "closed" }));
  await idle();
  chat.close();
  await Promise.all(all);
  assert.equal(socket.closed, 1000);
  assert.equal(chat.unanswered, 0);
  await passes(600_000);
  assert.equal(Socket.all.length, 1);

  const other = made();
  const connected = assert.rejects(other.chat.connect(), { code: "closed" });
  await idle();
  other.chat.close();
  other.chat.close();
  await connected;
  last().onopen(); // too late
  last().says(answer());
  last().ends(1006);
  await passes(600_000);
  assert.deepEqual([other.states(), last().sent], [["connecting", "closed"], []]);
});

test("close leaves no timer", async () => {
  const { setTimeout, clearTimeout } = globalThis;
  const live = new Set();
  globalThis.setTimeout = (then, ms) => {
    const timer = setTimeout(() => (live.delete(timer), then()), ms);
    return live.add(timer) && timer;
  };
  globalThis.clearTimeout = (timer) => (live.delete(timer), clearTimeout(timer));
  try {
    const storage = { get: () => null, set: () => {} };
    const { chat, socket } = await online({ storage }, { token_expires_at: iso(start + 1e6), resume: "p0" });
    chat.send(42, "hello").catch(() => {});
    rest = () => [503, ""];
    chat.blocked().catch(() => {});
    await idle();
    assert.equal(live.size, 5); // silence, renewal, store, message, request
    socket.ends(1006);
    assert.equal(live.size, 4); // store, message, request, reconnect
    chat.close();
    await idle();
    assert.equal(live.size, 0);
  } finally {
    Object.assign(globalThis, { setTimeout, clearTimeout });
  }
});

test("after close it connects again, where it stopped", async () => {
  const { chat } = await online({}, { resume: "p0" });
  chat.close();
  chat.connect();
  await idle();
  assert.equal((await logIn({ recovered: true })).take()[0].resume, "p0");
});

test("a listener may close the client at any time", async () => {
  for (const kind of ["state", "status", "message", "gap"]) {
    const it = made({ catchUp: false });
    it.chat.on(kind, ({ state }) => (!state || state === "online") && it.chat.close());
    it.chat.connect();
    await idle();
    await logIn({ online_friends: [42] });
    last().says(chatFrame(42, 41, "x"));
    last().ends(1006);
    await passes(1_000);
    last().onopen();
    last().says(answer());
    await passes(60_000);
    assert.equal(it.chat.state, "closed", kind);
  }
});

test("closed while it waits: nothing comes afterwards", async () => {
  let give;
  const it = made({ token: () => new Promise((resolve) => (give = resolve)) });
  it.chat.connect();
  await idle();
  it.chat.close();
  give("t1");
  await idle();
  assert.equal(Socket.all.length, 0);

  const other = await online({}, { resume: "p0" });
  other.chat.on("gap", () => other.chat.close());
  other.socket.ends(1006);
  await passes(1_000);
  rest = () => [500, ""];
  last().onopen();
  last().says(answer({ recovered: false, resume: "p1" }));
  last().says(chatFrame(42, 41, "live", { resume: "p2" }));
  await idle();
  assert.deepEqual([other.texts(), other.chat.state], [[], "closed"]);
  other.chat.connect();
  await idle();
  last().onopen();
  assert.equal(last().take()[0].resume, "p0");
});

test("the module has nothing that a strict policy of a page forbids", () => {
  const source = readFileSync(new URL("client.js", import.meta.url), "utf8");
  assert.doesNotMatch(source, /innerHTML|eval\(|new Function|document\.write|localStorage/);
});
