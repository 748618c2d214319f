// The left side: who one is, the lists, and above both panes the invites that wait for an answer.

import { $, announce, avatar, el, leftOf, nameOf, reasonOf, rove, say, sync, whenOf } from "./dom.js";

const tabs = ["chats", "friends", "blocked"];

/** How many rows are shown at first, and how many more each time somebody scrolls to the end. */
const STEP = 100;

/** Draws the lists whenever the model changes. open opens the conversation with a user. */
export function showLists(model, open) {
  const { chat } = model, lists = {}, settle = {};
  let tab = "chats", shown = STEP;

  for (const name of tabs) {
    lists[name] = $(`panel-${name}`).querySelector("ul");
    settle[name] = rove(lists[name]);
    $(`tab-${name}`).addEventListener("click", () => choose(name));
  }
  $("tab-chats").parentElement.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length]);
    $(`tab-${tab}`).focus();
  });

  function choose(name) {
    tab = name;
    for (const other of tabs) {
      const chosen = other === name;
      $(`tab-${other}`).setAttribute("aria-selected", chosen);
      $(`tab-${other}`).tabIndex = chosen ? 0 : -1;
      $(`panel-${other}`).hidden = !chosen;
    }
    say($("start").querySelector("button"), { chats: "Chat", friends: "Add", blocked: "Block" }[name]);
    say($("side-error"), "");
    draw();
  }

  $("start").addEventListener("submit", async event => {
    event.preventDefault();
    const input = $("start-id"), user = input.value.trim().replace(/^0+(?=.)/, "");
    say($("side-error"), "");
    if (!/^[1-9][0-9]{0,18}$/.test(user)) return say($("side-error"), "The number of a user has digits only.");
    if (tab === "chats") open(user);
    else if (user === chat.user) return say($("side-error"), "This is your own number.");
    else await attempt(() => model.put(tab, user, true), `${nameOf(user)} was added.`);
    input.value = "";
  });

  async function attempt(action, done) {
    try {
      await action();
      announce(done);
    } catch (error) {
      say($("side-error"), reasonOf(error));
    }
  }

  /** Shows more rows, or reads more conversations, near the end of the list. A page may bring nothing new, so it looks again. */
  function fillChats() {
    const { scrollTop, scrollHeight, clientHeight } = $("panel-chats");
    if (!clientHeight || scrollTop + clientHeight < scrollHeight - 400) return;
    if (shown < model.conversations.size) {
      shown += STEP;
      model.changed();
    } else if (model.state.state === "online" && !model.listTrouble) {
      model.moreConversations();
    }
  }
  $("panel-chats").addEventListener("scroll", fillChats, { passive: true });

  const row = user => el("button", { type: "button", class: "row", click: () => open(user) },
    el("span", { class: "avatar", "aria-hidden": true }),
    el("span", { class: "body" },
      el("span", { class: "line" }, el("span", { class: "name" }), el("time", {})),
      el("span", { class: "line" }, el("span", { class: "last" }), el("span", { class: "badge", hidden: true }, el("span"), el("span", { class: "unseen" }, " unread")))));

  function fill(node, user, last, time, unread) {
    const at = name => node.querySelector(name);
    avatar(at(".avatar"), user);
    say(at(".name"), nameOf(user));
    say(at(".last"), last);
    say(at("time"), time ? whenOf(time) : "");
    at("time").hidden = !time;
    at(".badge").hidden = !unread;
    say(at(".badge").firstChild, unread > 999 ? "999+" : String(unread));
    const current = model.open === user;
    if (current) at(".row").setAttribute("aria-current", "true");
    else at(".row").removeAttribute("aria-current");
  }

  function drawChats() {
    sync(lists.chats, model.sorted().slice(0, shown), talk => talk.partner, talk => el("li", {}, row(talk.partner)),
      (node, talk) => fill(node, talk.partner, summary(talk), talk.time, talk.unread));
    say($("panel-chats").querySelector(".empty"), model.conversations.size ? "" : model.listTrouble && !model.allListed ? "The chats could not be read." : !model.allListed ? "Loading…" :
      "No chats yet. Type the number of a user above. " +
      (model.trial ? `You are number ${chat.user}: open a second window, become another user there, and write to ${chat.user}.` : ""));
  }

  function drawUsers(name, users, last, act, done, empty) {
    sync(lists[name], users, user => user,
      user => el("li", {}, row(user), el("button", {
        type: "button", class: "quiet", "aria-label": `${act} ${nameOf(user)}`,
        click: () => attempt(() => model.put(name, user, false), `${nameOf(user)} ${done}`),
      }, act)),
      (node, user) => fill(node, user, last(user), null, 0));
    say($(`panel-${name}`).querySelector(".empty"), users.length ? "" : empty);
  }

  const presence = user => chat.onlineFriends.has(user) ? "Online" : "Offline";

  function draw() {
    drawState();
    drawInvites();
    const friends = [...model.watchesFriends ? model.friends : chat.onlineFriends].sort((a, b) => chat.onlineFriends.has(b) - chat.onlineFriends.has(a));
    if (tab === "chats") {
      drawChats();
      fillChats();
    }
    if (tab === "friends") {
      drawUsers("friends", friends, presence, "Remove", "was removed.", model.watchesFriends ?
        "You see here when your friends come and go. Add one by number." : "Your platform keeps the friends. You see them when they come.");
      for (const [user, node] of lists.friends.nodes) {
        node.querySelector(".last").classList.toggle("on", chat.onlineFriends.has(user));
        node.lastChild.hidden = !model.watchesFriends;
      }
    }
    if (tab === "blocked") drawUsers("blocked", model.blocked, () => "Blocked", "Unblock", "may write again.", "You block nobody.");
    settle[tab]();
    const unread = model.unread();
    count("chats", unread > 999 ? "999+" : unread);
    count("friends", friends.filter(user => chat.onlineFriends.has(user)).length);
    count("blocked", model.blocked.length);
    document.title = (unread ? `(${unread}) ` : "") + (chat.user ? `${nameOf(chat.user)} · chatting` : "chatting");
  }

  const count = (name, n) => say($(`tab-${name}`).querySelector(".count"), n ? String(n) : "");

  let wasOnline;
  function drawState() {
    if (chat.user) {
      say($("me"), nameOf(chat.user));
      avatar($("me-avatar"), chat.user);
    }
    const { state, code, retryIn, at } = model.state, online = state === "online";
    const seconds = retryIn === undefined ? 0 : Math.ceil((at + retryIn - Date.now()) / 1000);
    say($("state-text"), {
      online: "Connected", connecting: "Connecting…",
      offline: seconds > 0 ? `Offline, next try in ${seconds} s` : "Offline, trying again…",
      closed: code === 3409 ? "Another window took over" : "Not connected",
    }[state]);
    $("state").className = online ? "on" : state === "connecting" ? "" : "bad";
    $("retry").hidden = state !== "offline" && state !== "closed";
    say($("retry"), state === "closed" ? "Connect" : "Try now");
    if (wasOnline !== undefined && wasOnline !== online) announce(online ? "Connected again." : "The connection was lost.");
    if (online || wasOnline !== undefined) wasOnline = online;
  }
  $("retry").addEventListener("click", () => model.state.state === "closed" ? chat.connect() : chat.retry());

  function drawInvites() {
    const offers = model.pending(false).filter(invite => invite.partner !== model.open); // which shows its own
    $("invites").hidden = !offers.length;
    sync($("invites").firstElementChild, offers, invite => invite.roomId, invite => el("li", {},
      el("p", {}, `${nameOf(invite.from)} invites you to a game. `, el("span", { class: "left" })),
      el("div", { class: "tools" },
        el("button", { type: "button", class: "primary", click: () => answer("accept", invite) }, "Accept"),
        el("button", { type: "button", click: () => answer("decline", invite) }, "Decline"))),
    (node, invite) => say(node.querySelector(".left"), leftOf(chat.secondsLeft(invite))));
  }

  /** Answers an invite, or takes back an own one. */
  async function answer(how, invite) {
    try {
      await chat[how](invite);
    } catch (error) {
      announce(reasonOf(error));
      if (error.code === "invite_ended") model.offers.delete(invite.roomId);
      else say($("side-error"), reasonOf(error));
    }
    model.changed();
  }

  // Countdowns, and nothing while there are none.
  setInterval(() => {
    if (model.offers.size || model.state.state === "offline") model.changed();
  }, 1000);
  model.addEventListener("change", draw);
  choose(tab);
  return { answer };
}

/** The last entry of a conversation in a line. */
function summary({ last }) {
  if (last.type !== "invite") return (last.mine ? "You: " : "") + last.text;
  return { invite: "An invite to a game", cancel: "The invite was taken back", accept: "The invite was accepted", decline: "The invite was declined", expired: "The invite expired" }[last.status];
}
