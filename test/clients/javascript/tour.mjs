// Everything that the client can do, against a server: node tour.mjs ADDRESS SECRET S2S_TOKEN. SECRET signs tokens. It ends by
// itself, and prints ok, if all is as client.d.ts says.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Chat } from "./client/client.js";

const [address, secret, platform] = process.argv.slice(2);
const url = `http://${address}`;
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket;

const base64 = (value) => Buffer.from(value).toString("base64url");
function token(user, seconds = 3600) {
  const content = `${base64('{"alg":"HS256"}')}.${base64(`{"user_id":${user},"exp":${Math.floor(Date.now() / 1000) + seconds}}`)}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

// A client whose events can be waited for, each once, in their order.
function user(id, tokens = () => token(id)) {
  const chat = new Chat({ url, WebSocket, token: async () => tokens() });
  const came = {};
  const waits = {};
  for (const kind of ["message", "system", "invite", "readMark", "status", "state", "gap", "error"]) {
    came[kind] = [];
    chat.on(kind, (event) => {
      came[kind].push(event);
      waits[kind]?.();
    });
  }
  const next = async (kind) => {
    if (!came[kind].length)
      await new Promise((resolve, reject) => {
        const late = setTimeout(reject, 30_000, new Error(`user ${id} waits for ${kind}`));
        waits[kind] = () => (clearTimeout(late), resolve());
      });
    return came[kind].shift();
  };
  return { chat, came, next };
}

const a = user(1);
const b = user(2);
await a.chat.connect();

// Friends: whoever comes, and whoever is there when it is added.
await a.chat.addFriend(2);
assert.deepEqual(await a.chat.friends(), ["2"]);
await b.chat.connect();
const { user: who, online } = await a.next("status");
assert.deepEqual([who, online, [...a.chat.onlineFriends]], ["2", true, ["2"]]);
assert.deepEqual([await a.chat.isOnline(2), await a.chat.isOnline(77)], [true, false]);
await b.chat.addFriend(1);
assert.equal((await b.next("status")).user, "1");
await b.chat.removeFriend(1);
assert.deepEqual(await b.chat.friends(), []);

// Messages, also with an id that a number cannot hold.
const text = '<b>안녕</b> 1234567890123456789 "\\"';
const sent = await a.chat.send(2, text);
const [own, got] = [await a.next("message"), await b.next("message")];
assert.deepEqual(own, sent);
assert.deepEqual([got.id, got.text, got.from, got.mine, got.time], [sent.id, text, "1", false, sent.time]);
const large = "9007199254740993";
const c = user(large);
await c.chat.connect();
assert.equal(c.chat.user, large);
assert.equal((await a.chat.send(large, "to a large id")).to, large);
assert.equal((await c.next("message")).text, "to a large id");
assert.equal((await c.chat.send(1, "from a large id")).from, large);
await a.next("message");
assert.equal((await a.next("message")).from, large);
await assert.rejects(a.chat.send(77, "?"), { code: "no_user_or_offline" });
await assert.rejects(a.chat.send(2, "x".repeat(70_000)), { code: "too_long" });
await b.chat.connect(); // whatever the server did about it
await a.chat.connect();

// The history, in pages, and read marks.
for (let i = 0; i < 4; i++) await a.chat.send(2, String(i));
const pages = [];
for await (const page of b.chat.history(1, { limit: 2 })) pages.push(page.map(({ text }) => text));
assert.deepEqual(pages, [["3", "2"], ["1", "0"], [text]]);
const behind = await b.chat.history(1, { after: sent.id, limit: 3 }).next();
assert.deepEqual(behind.value.map(({ text }) => text), ["0", "1", "2"]);
const { value: conversations } = await a.chat.conversations().next();
assert.deepEqual(conversations.map(({ partner, unread, last }) => [partner, unread, last.text]), [["2", 0, "3"], [large, 1, "from a large id"]]);
assert.deepEqual(await b.chat.markRead(1, sent.id), { unread: 4 });
assert.deepEqual(await b.chat.markRead(1), { unread: 0 });
const marks = [await b.next("readMark"), await b.next("readMark")];
assert.deepEqual(marks.map(({ mine, partner, unread }) => [mine, partner, unread]), [[true, "1", 4], [true, "1", 0]]);
assert.equal(marks[0].messageId, sent.id);
const receipt = await a.next("readMark");
assert.deepEqual([receipt.mine, receipt.reader, receipt.partner, receipt.messageId, receipt.unread], [false, "2", "2", sent.id, undefined]);

// Blocks.
await b.chat.block(1);
assert.deepEqual(await b.chat.blocked(), ["1"]);
b.came.message.length = 0;
await a.chat.send(2, "not shown");
await b.chat.unblock(1);
await b.chat.unblock(1);
await a.chat.send(2, "shown");
assert.equal((await b.next("message")).text, "shown");

// Invites.
const invite = await a.chat.invite(2);
const invited = await b.next("invite");
assert.deepEqual([invited.roomId, invited.partner, invited.mine, invite.mine], [invite.roomId, "1", false, true]);
assert.ok(b.chat.secondsLeft(invited) > 50 && b.chat.secondsLeft(invited) <= 60);
assert.deepEqual((await b.chat.invites()).map(({ roomId, mine }) => [roomId, mine]), [[invite.roomId, false]]);
assert.deepEqual((await a.chat.invites()).map(({ roomId, mine }) => [roomId, mine]), [[invite.roomId, true]]);
assert.equal((await b.chat.accept(invited)).status, "accept");
await a.next("invite");
assert.deepEqual((({ status, roomId, mine }) => [status, roomId, mine])(await a.next("invite")), ["accept", invite.roomId, false]);
await assert.rejects(b.chat.decline(invited), { code: "invite_ended" });
assert.equal((await a.chat.cancel(await a.chat.invite(2))).status, "cancel");

// The platform.
const told = await fetch(`${url}/s2sapi/system-message/`, {
  method: "POST",
  headers: { Authorization: `Bearer ${platform}`, "Content-Type": "application/json" },
  body: JSON.stringify({ target_id: 2, message: "join", type: "invite_game", room_id: "r", opponent_id: 1 }),
});
assert.equal(told.status, 200);
assert.deepEqual((({ text, roomId, opponent, partner }) => [text, roomId, opponent, partner])(await b.next("system")), ["join", "r", "1", "0"]);

// A token is renewed on the connection: tokens that live for three seconds, and three of them.
let tokens = 0;
const d = user(4, () => (tokens++, token(4, 3)));
await d.chat.connect();
while (tokens < 4) await new Promise((resolve) => setTimeout(resolve, 50));
await d.chat.send(4, "to myself");
assert.deepEqual(d.came.state.map(({ state }) => state), ["connecting", "online"]);
assert.equal((await d.next("message")).partner, "4");

for (const { chat, came } of [a, b, c, d]) {
  assert.deepEqual([came.gap.filter(({ filled }) => !filled), came.error], [[], []]);
  chat.close();
  assert.equal(chat.unanswered, 0);
}
console.log("ok");
