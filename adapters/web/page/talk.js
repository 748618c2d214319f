// The right side: one conversation. Of a long one only a window is in the document, and it moves as one scrolls.

import { $, avatar, dayOf, el, leftOf, nameOf, reasonOf, say, sync, timeOf } from "./dom.js";

/** How many entries are in the document at a time, and by how many the window moves. */
const WINDOW = 240, STEP = 80;
/** How near to an end of the window it moves, in pixels. */
const NEAR = 500;

/** Draws the open conversation whenever the model changes. answer is that of the lists. close is called when it was left. */
export function showTalk(model, answer, close) {
  const { chat } = model, scroller = $("log"), list = $("messages"), text = $("text");
  // The window begins at the entry number from. While it sticks, it ends with the last entry.
  let from = 0, sticks = true, unreadFrom = null, lastSeen;

  const entries = () => model.log(model.open).shown();

  function open(partner) {
    const log = model.log(partner), conversation = model.conversations.get(partner);
    $("nothing").hidden = true;
    $("open").hidden = false;
    list.replaceChildren();
    list.nodes = undefined;
    [sticks, lastSeen] = [true, undefined];
    // Counted from the end: what is older may not be read yet.
    unreadFrom = conversation?.unread ? { count: conversation.unread } : null;
    avatar($("partner-avatar"), partner);
    say($("partner"), nameOf(partner));
    scroller.setAttribute("aria-label", `Messages with ${nameOf(partner)}`);
    $("say").hidden = $("acts").hidden = partner === "0";
    $("read-only").hidden = partner !== "0";
    text.value = log.draft;
    grow();
    draw();
    if (log.entries.length < STEP) log.older();
    focus();
  }

  /** Goes to where one writes. On a touch screen that would bring the keyboard up. */
  function focus() {
    if (model.open !== "0" && !matchMedia("(pointer: coarse)").matches) text.focus();
    else scroller.focus();
  }

  function draw() {
    const partner = model.open;
    if (!partner) {
      $("open").hidden = true;
      $("nothing").hidden = false;
      return;
    }
    drawHead(partner);
    drawFailed(partner);
    const log = model.log(partner), all = entries(), anchor = sticks ? null : firstVisible();
    placeUnread(log);
    const again = place(all, log);
    sync(list, rows(all.slice(from, from + WINDOW), all[from - 1], log), row => row.key, make, update);
    say($("earlier"), log.loading ? "Loading earlier messages…" : log.trouble || (log.complete && from === 0 ? all.length ? "This is the beginning." : "Nothing was said yet." : ""));
    if (sticks) scroller.scrollTop = scroller.scrollHeight;
    else if (anchor?.node.isConnected) scroller.scrollTop += anchor.node.getBoundingClientRect().top - anchor.top;
    $("newest").hidden = sticks;
    const newer = sticks ? 0 : log.entries.slice(log.entries.findLastIndex(entry => entry.key === lastSeen) + 1).filter(entry => !entry.mine).length;
    say($("newest"), newer ? `${newer} new ${newer === 1 ? "message" : "messages"}` : "Newest messages");
    if (sticks) lastSeen = log.entries.at(-1)?.key;
    if (sticks && !document.hidden) model.markRead();
    if (scroller.scrollHeight <= scroller.clientHeight + NEAR && !log.trouble) log.older();
    if (again) model.changed();
  }

  /** Decides where the window begins. Returns whether it has to move further. */
  function place(all, log) {
    if (sticks) {
      from = Math.max(0, all.length - WINDOW);
      return false;
    }
    // It follows its first entry, in front of which there may be more now.
    from = Math.max(0, all.findIndex(entry => entry.key === list.firstKey));
    const { scrollTop, scrollHeight, clientHeight } = scroller, was = from;
    if (scrollTop < NEAR && from > 0) from = Math.max(0, from - STEP);
    else if (scrollTop < NEAR && !log.trouble) log.older();
    else if (scrollHeight - clientHeight - scrollTop < NEAR) from = Math.max(from, Math.min(from + STEP, all.length - WINDOW));
    return from !== was;
  }

  /** The message that stays where it is while others come and go. Days do not count: they move to their first message. */
  function firstVisible() {
    const top = scroller.getBoundingClientRect().top;
    for (const node of list.querySelectorAll("[data-id]")) {
      const box = node.getBoundingClientRect();
      if (box.bottom > top) return { node, top: box.top };
    }
    return null;
  }

  function placeUnread(log) {
    if (!unreadFrom || unreadFrom.key) return;
    let left = unreadFrom.count;
    for (let i = log.entries.length - 1; i >= 0; i--) {
      const entry = log.entries[i];
      if (!entry.mine && entry.type !== "invite" && --left === 0) unreadFrom.key = entry.key;
    }
  }

  /** The entries with what stands between them: days, and where the unread ones begin. */
  function rows(part, before, log) {
    const made = [];
    const lastMine = log.entries.findLast(entry => entry.mine && entry.type === "message");
    const read = log.readUpTo ? log.entries.findLastIndex(entry => entry.id === log.readUpTo) : -1;
    const lastRead = log.entries.findLast((entry, i) => i <= read && entry.mine && entry.type === "message");
    const apart = (a, b) => a.mine !== b.mine || a.type !== b.type || b.time - a.time > 300000 || a.time.toDateString() !== b.time.toDateString();
    list.firstKey = part[0]?.key;
    for (const [i, entry] of part.entries()) {
      const newDay = !before || before.time.toDateString() !== entry.time.toDateString();
      if (newDay) made.push({ key: `day ${entry.time.toDateString()}`, note: dayOf(entry.time) });
      if (unreadFrom?.key === entry.key) made.push({ key: "unread", note: "New", unread: true });
      const told = entry === lastRead ? "Read" : entry === lastMine ? "Sent" : "";
      // Of several in a row that failed for the same reason only the last one says it.
      const next = part[i + 1], why = entry.state === "failed" && next?.trouble !== entry.trouble ? entry.trouble : "";
      made.push({ key: entry.key, entry, first: !before || apart(before, entry), last: !next || apart(entry, next), told, why });
      before = entry;
    }
    return made;
  }

  function make({ key, note, unread, entry }) {
    if (note) return el("li", { class: unread ? "note new" : "note" }, note);
    if (entry.type === "invite" && entry.status !== "invite") return el("li", { class: "note" }, ending(entry));
    const node = el("li", { "data-id": key },
      el("span", { class: "unseen" }, entry.mine ? "You: " : `${nameOf(model.open)}: `),
      entry.type === "invite" ? offer(entry) : el("span", { class: "bubble" }, entry.text),
      el("p", { class: "meta" }, el("time", { datetime: entry.time.toISOString() }, timeOf(entry.time)), el("span", {}), el("span", {})),
      el("p", { class: "trouble" }));
    if (sticks && Date.now() - entry.time < 5000) node.classList.add("fresh");
    return node;
  }

  function update(node, { entry, first, last, told, why }) {
    if (!entry || node.classList.contains("note")) return;
    for (const [name, on] of Object.entries({ msg: true, mine: entry.mine, first, sending: entry.state === "sending", failed: entry.state === "failed" })) {
      node.classList.toggle(name, !!on);
    }
    const [time, state, acts] = node.querySelector(".meta").children;
    say(time, timeOf(entry.time));
    time.parentElement.classList.toggle("unseen", !last && !told && !entry.state);
    say(state, entry.state === "sending" ? " · Sending…" : entry.state === "failed" ? " · Not sent" : told && ` · ${told}`);
    say(node.querySelector(".trouble"), why);
    if (entry.state !== "failed") acts.replaceChildren();
    else if (!acts.hasChildNodes()) acts.append(act("sendAgain", "Send again", entry), act("discard", "Discard", entry));
    if (entry.type === "invite") {
      const pending = model.offers.has(entry.roomId) && chat.secondsLeft(entry) > 0;
      for (const button of node.querySelectorAll(".bubble button")) button.hidden = !pending;
      say(node.querySelector(".left"), pending ? leftOf(chat.secondsLeft(entry)) : "");
    }
  }

  /** Makes a button of a message that failed. The button goes when it is used, so the focus must not stay there. */
  function act(what, label, item) {
    return el("button", { type: "button", class: "quiet", click: () => {
      model[what](model.open, item);
      focus();
    } }, label);
  }

  function drawFailed(partner) {
    const failed = model.log(partner).failed().length;
    $("failed").hidden = failed < 2;
    say($("failed-count"), `${failed} messages not sent`);
  }
  $("send-all").addEventListener("click", () => {
    sticks = true;
    for (const item of model.log(model.open).failed()) model.sendAgain(model.open, item);
    focus();
  });

  /** An invite with what can be done with it. */
  function offer(invite) {
    const act = (how, label) => el("button", { type: "button", click: () => answer(how, invite) }, label);
    return el("span", { class: "bubble offer" },
      invite.mine ? "You invited to a game." : `${nameOf(invite.from)} invites you to a game.`, el("span", { class: "left" }),
      ...invite.mine ? [act("cancel", "Take back")] : [act("accept", "Accept"), act("decline", "Decline")]);
  }

  function ending(entry) {
    const who = entry.mine ? "You" : nameOf(entry.from);
    return {
      accept: `${who} accepted the invite. Room ${entry.roomId}`, decline: `${who} declined the invite.`,
      cancel: `${who} took the invite back.`, expired: "The invite expired.",
    }[entry.status];
  }

  function drawHead(partner) {
    const friend = model.friends.includes(partner), blocked = model.blocked.includes(partner), online = chat.onlineFriends.has(partner);
    const own = partner === chat.user;
    const told = partner === "0" ? "System messages" : own ? "Notes to yourself" : blocked ? "You block this user" :
      online ? "Online" : friend ? "Offline" : "Presence is shown for friends";
    if ($("presence").dataset.told !== told) {
      $("presence").dataset.told = told;
      $("presence").replaceChildren(el("span", { class: online ? "dot on" : "dot", "aria-hidden": true }), told);
    }
    $("presence").firstChild.hidden = !friend && !online || blocked || own; // the friends may come later than who is online
    say($("friend"), friend ? "Remove friend" : "Add friend");
    say($("block"), blocked ? "Unblock" : "Block");
    $("friend").hidden = own || !model.watchesFriends;
    $("block").hidden = $("invite").hidden = own;
  }

  const onClick = (button, action) => $(button).addEventListener("click", async () => {
    $(button).disabled = true;
    try {
      await action(model.open);
      say($("side-error"), "");
    } catch (error) {
      fail(reasonOf(error));
    } finally {
      $(button).disabled = false;
      $(button).focus();
    }
  });
  onClick("friend", user => model.put("friends", user, !model.friends.includes(user)));
  onClick("block", user => model.put("blocked", user, !model.blocked.includes(user)));
  onClick("invite", user => chat.invite(user));

  /** Shows above what is being written that something did not work; the next key takes it away. */
  function fail(sentence) {
    say($("talk-error"), sentence);
  }

  scroller.addEventListener("scroll", () => {
    const { scrollTop, scrollHeight, clientHeight } = scroller, below = scrollHeight - clientHeight - scrollTop, stuck = sticks;
    sticks = from + WINDOW >= entries().length && below < 40;
    if (sticks !== stuck || !sticks && (scrollTop < NEAR || below < NEAR)) model.changed();
  }, { passive: true });

  $("newest").addEventListener("click", () => {
    sticks = true;
    draw();
    scroller.focus();
  });
  new ResizeObserver(() => { if (sticks) scroller.scrollTop = scroller.scrollHeight; }).observe(scroller);

  function grow() {
    text.style.height = "auto";
    text.style.height = `${text.scrollHeight + 2}px`;
  }
  text.addEventListener("input", () => {
    fail("");
    model.log(model.open).draft = text.value;
    grow();
  });
  text.addEventListener("keydown", event => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || matchMedia("(pointer: coarse)").matches) return;
    event.preventDefault();
    $("say").requestSubmit();
  });
  $("say").addEventListener("submit", event => {
    event.preventDefault();
    if (!text.value.trim()) return;
    sticks = true;
    unreadFrom = null;
    model.say(model.open, text.value);
    text.value = model.log(model.open).draft = "";
    grow();
    text.focus();
  });

  $("back").addEventListener("click", close);
  $("open").addEventListener("keydown", event => { if (event.key === "Escape") close(); });
  document.addEventListener("visibilitychange", () => model.changed());
  model.addEventListener("change", draw);
  return { open };
}
