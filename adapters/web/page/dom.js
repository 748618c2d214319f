// What the parts of the page share about elements. Text only ever becomes text: nothing here makes HTML of it.

export const $ = id => document.getElementById(id);

/** Makes an element. Functions among the properties are listeners; false and undefined leave an attribute out. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Sets a text, and only if it differs: what did not change is not announced again. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Tells people who do not see the page what happened. */
export function announce(text) {
  $("announce").textContent = text.slice(0, 300);
}

/** Makes the children of a list those of the items, in their order. Nodes of items that were there stay the same nodes. */
export function sync(list, items, key, make, update) {
  const before = list.nodes ?? new Map(), now = new Map(), focused = document.activeElement;
  let next = list.firstElementChild;
  for (const item of items) {
    const name = key(item), node = before.get(name) ?? make(item);
    now.set(name, node);
    update(node, item);
    if (node === next) next = next.nextElementSibling;
    else list.insertBefore(node, next);
  }
  while (next) {
    const gone = next;
    next = next.nextElementSibling;
    gone.remove();
  }
  list.nodes = now;
  // A node that is moved loses the focus.
  if (focused !== document.activeElement && list.contains(focused)) focused.focus({ preventScroll: true });
}

/** Has the arrow keys move between the rows of a list, of which only the current one is a tab stop. */
export function rove(list) {
  const rows = () => [...list.children];
  const stop = row => {
    for (const other of rows()) {
      for (const button of other.querySelectorAll("button")) button.tabIndex = other === row ? 0 : -1;
    }
  };
  list.addEventListener("focusin", event => stop(event.target.closest("li")));
  list.addEventListener("keydown", event => {
    const all = rows(), at = all.indexOf(event.target.closest("li"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined || !all[to]) return;
    event.preventDefault();
    all[to].querySelector("button").focus();
  });
  // Called after the rows changed: one of them has to be a tab stop.
  return () => {
    const all = rows();
    stop(all.find(row => row.contains(document.activeElement)) ?? all.find(row => row.querySelector("[aria-current]")) ?? all[0]);
  };
}

export const nameOf = user => user === "0" ? "Platform" : `User ${user}`;

/** Shows a user's number, or that it ends so, on a colour of its own. */
export function avatar(node, user) {
  say(node, user === "0" ? "★" : user.length > 3 ? `…${user.slice(-2)}` : user);
  node.style.setProperty("--hue", Number(user.slice(-6)) * 67 % 360);
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });

export const timeOf = date => clock.format(date);
export const dayOf = date => day.format(date);
export const whenOf = date => date.toDateString() === new Date().toDateString() ? clock.format(date) : short.format(date);

/** A countdown: 0:43. */
export const leftOf = seconds => `${Math.floor(seconds / 60)}:${String(Math.ceil(seconds) % 60).padStart(2, "0")}`;

/** What went wrong, for people. */
export function reasonOf(error) {
  if (error.code === "text_refused") return error.message;
  return {
    no_user_or_offline: "This user is offline or unknown. The server keeps nothing for users who are offline.",
    mailbox_full: "Too many messages wait for this user already.",
    too_long: "The text is too long: at most 64 KiB.",
    rate_limited: "That was too much at once. Try again in a moment.",
    timeout: "No answer from the server.",
    closed: "The connection was closed.",
    queue_full: "Too many messages wait to be sent.",
    unavailable: "A part of the server is away.",
    unconfirmed: "The server could not confirm it.",
    invite_ended: "The invite has ended.",
    bad_user: "This is no number of a user.",
    network: "The server cannot be reached.",
    limit: "The list is full.",
  }[error.code] ?? (error.status === 400 ? "Nobody has this number yet." : `It did not work: ${error.message}`);
}
