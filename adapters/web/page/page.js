// Where the page begins: signing in, and what belongs to neither pane.

import { Chat } from "/client.js";
import { $, announce, nameOf, say } from "./dom.js";
import { showLists } from "./lists.js";
import { Model } from "./model.js";
import { showTalk } from "./talk.js";
import { keepUnsent } from "./unsent.js";

// Each window is a user of its own: sessionStorage ends with the window, and other windows do not see it.
const kept = sessionStorage, KEY = "chatting.token", OFFERED = "chatting.offered", REFUSED = "chatting.refused", NOTIFY = "chatting.notify";
const trial = "trial" in document.documentElement.dataset;

if (kept.getItem(KEY)) start(kept.getItem(KEY));
else enter();
takeToken();
addEventListener("hashchange", takeToken);

/** Takes a token from #token=… and out of the address, which is seen, kept and copied. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token")?.trim();
  if (token) {
    history.replaceState(history.state, "", location.pathname);
    kept.setItem(OFFERED, token); // until there is an answer, whatever reloads the page
  }
  if (kept.getItem(OFFERED)) ask(kept.getItem(OFFERED));
}

/** Asks whether to use a token of the address. Anybody may have made the link, and would read what is written as its user. */
function ask(token) {
  const held = kept.getItem(KEY), user = userOf(token);
  if (token === held) return kept.removeItem(OFFERED);
  say($("ask-title"), user ? `Sign in as user ${user}?` : "Sign in with the token of this link?");
  say($("ask-yes"), user ? `Sign in as user ${user}` : "Sign in");
  say($("ask-no"), !held ? "Do not sign in" : userOf(held) ? `Stay user ${userOf(held)}` : "Stay who I am");
  $("ask-yes").onclick = () => {
    kept.setItem(KEY, token);
    kept.removeItem(OFFERED);
    history.replaceState(null, ""); // it names a chat of the user before
    location.reload();
  };
  if (!$("ask").open) $("ask").showModal();
  $("ask-yes").focus();
}

$("ask-no").addEventListener("click", () => $("ask").close());
$("ask").addEventListener("close", () => kept.removeItem(OFFERED)); // by the Escape key too

/** The user whose token it says it is, undefined for another text. The server decides. */
function userOf(token) {
  try {
    const claims = atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"));
    const { user_id, sub } = JSON.parse(claims.replace(/:\s*(\d{16,19})\s*(?=[,}])/g, ':"$1"')); // a number here has 53 bits
    return /^\d{1,19}$/.exec(user_id ?? sub)?.[0];
  } catch {
    return undefined;
  }
}

/** Shows how to become a user. */
function enter() {
  history.replaceState(null, ""); // it names a chat of the user before
  $("enter").hidden = false;
  $("trial").hidden = !trial;
  say($("sign-in-title"), trial ? "Or sign in with a token" : "Sign in with a token");
  if (kept.getItem(REFUSED)) say($("enter-error"), "The token was refused or has expired. Sign in again.");
  kept.removeItem(REFUSED);
  $(trial ? "become" : "token").focus();
}

$("sign-in").addEventListener("submit", event => {
  event.preventDefault();
  begin($("token").value.trim());
});

$("become").addEventListener("click", async () => {
  $("become").disabled = true;
  say($("enter-error"), "");
  try {
    const answer = await fetch("/trial/users", { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
    if (!answer.ok) throw new Error(answer.status === 429 ? "Too many users at once. Try again in a moment." : `The server makes no users for this address (${answer.status}).`);
    begin((await answer.json()).token);
  } catch (error) {
    say($("enter-error"), error.message);
  } finally {
    $("become").disabled = false;
  }
});

function begin(token) {
  kept.setItem(KEY, token);
  $("token").value = "";
  start(token);
}

/** Chats as the user of a token, until the page is left or the server refuses the token. */
function start(token) {
  $("enter").hidden = true;
  $("app").hidden = false;
  const chat = new Chat({ token });
  chat.on("state", ({ state, code }) => {
    if (state !== "closed" || code !== 3401) return;
    kept.setItem(REFUSED, "1"); // to be told after the reload, which forgets all of this user
    kept.removeItem(KEY);
    location.reload();
  });
  const model = new Model(chat);
  model.trial = trial;
  const forgetUnsent = keepUnsent(model);
  const lists = showLists(model, partner => visit(partner, true));
  const talk = showTalk(model, lists.answer, leave);

  /** Opens a conversation. The browser's way back leads to the lists. */
  function visit(partner, byHand) {
    if (byHand) history[model.open ? "replaceState" : "pushState"]({ partner }, "");
    model.open = partner;
    $("app").classList.add("talking");
    talk.open(partner);
    model.changed();
  }

  function leave() {
    if (history.state?.partner) history.back();
  }

  addEventListener("popstate", () => {
    const partner = history.state?.partner;
    if (partner) return visit(partner);
    const left = model.open;
    model.open = null;
    $("app").classList.remove("talking");
    model.dispatchEvent(new Event("change"));
    const row = document.querySelector(`#side [role=tabpanel]:not([hidden]) .row[tabindex="0"]`);
    (left && row || $("start-id")).focus();
  });

  notifications(model, visit);
  $("second").hidden = !trial;
  $("sign-out").addEventListener("click", () => {
    chat.close();
    forgetUnsent();
    kept.clear();
    history.replaceState(null, "");
    location.reload();
  });
  chat.connect().then(() => { if (history.state?.partner) visit(history.state.partner); }, () => {});
}

/** Shows what others write while nobody looks at the page, if the user asked for that. */
function notifications(model, visit) {
  const button = $("notify");
  const on = () => kept.getItem(NOTIFY) === "1" && Notification.permission === "granted";
  const draw = () => button.setAttribute("aria-pressed", on());
  if (!("Notification" in window) || !isSecureContext) {
    button.hidden = true;
    return;
  }
  button.addEventListener("click", async () => {
    const wanted = !on();
    kept.setItem(NOTIFY, wanted ? "1" : "0");
    if (wanted && await Notification.requestPermission() !== "granted") announce("The browser does not allow notifications for this page.");
    draw();
  });
  model.addEventListener("heard", ({ detail: entry }) => {
    if (!document.hidden || !on() || entry.replayed) return;
    const body = entry.type === "invite" ? "invites you to a game" : entry.text.slice(0, 200);
    const shown = new Notification(nameOf(entry.partner), { body, tag: `chatting.${entry.partner}` });
    shown.onclick = () => {
      window.focus();
      visit(entry.partner, true);
      shown.close();
    };
  });
  draw();
}
