// Has the conversation that clients_test.go describes, and prints what it learns. Arguments: URL, token, platform's
// token, message's id.
// The REST client and the frames of the socket are generated.
import createClient from 'openapi-fetch';
import WebSocket from 'ws';
import type { ChatMessage, ChatMessageEvent, ConversationEvent, ErrorFrame, Invite, InviteGame, LoggedIn, Login, Say, Socket } from './frames.js';
import type { components, paths } from './rest.js';

const [url, token, platformToken, messageID] = process.argv.slice(2) as [string, string, string, string];
const user = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });
const platform = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${platformToken}` } });

function ids(users: components['schemas']['Users'] | undefined): string {
  return `[${users?.map((user) => user.id).join(', ')}]`;
}

function said(frame: components['schemas']['Frame'] | undefined): string {
  switch (frame?.type) {
    case 'chat_message': {
      const text: string = frame.message;
      return `chat_message ${frame.from_id} ${frame.to_id} ${text}`;
    }
    case 'invite_game': {
      const status: 'invite' | 'cancel' | 'accept' | 'decline' | 'expired' = frame.status;
      return `invite_game ${frame.from_id} ${frame.to_id} ${status} ${frame.room_id !== undefined}`;
    }
    case 'system_message': {
      const text: string = frame.message;
      return `system_message ${frame.to_id} ${text} ${frame.room_id} ${frame.opponent_id}`;
    }
    default:
      throw new Error('an unknown frame');
  }
}

const blocks = '/api/chatting/blockedusers/', isBlocked = '/api/chatting/blockedusers', friends = '/api/chatting/friends/';
const of2 = { params: { query: { target_id: 2 } } };
await user.POST(blocks, { body: { target_id: 2 } });
console.log('blocked:', ids((await user.GET(blocks)).data), (await user.GET(isBlocked, of2)).data?.is_blocked);
await user.DELETE(blocks, of2);
console.log('unblocked:', ids((await user.GET(blocks)).data), (await user.GET(isBlocked, of2)).data?.is_blocked);
await user.POST(friends, { body: { target_id: 2 } });
console.log('friends:', ids((await user.GET(friends)).data));
await user.DELETE(friends, of2);
console.log('no friends:', ids((await user.GET(friends)).data));
console.log('online:', (await user.GET('/api/chatting/is-online/', { params: { query: { id: 2 } } })).data?.is_online);
console.log('refused:', (await user.GET(isBlocked, { params: { query: { target_id: 99 } } })).response.status);

const request = { target_id: 1, message: 'round 2', type: 'invite_game', room_id: 'room 7', opponent_id: 2 };
console.log('sent:', said((await platform.POST('/s2sapi/system-message/', { body: request })).data));

const read = await user.PUT('/api/chatting/conversations/{id}/read/', { params: { path: { id: 2 } }, body: { message_id: messageID } });
console.log('unread:', read.data?.unread);
const messages = '/api/chatting/messages/';
const first = await user.GET(messages, { params: { query: { target_id: 2, limit: 2 } } });
console.log('next:', first.data?.next != null);
const second = await user.GET(messages, { params: { query: { target_id: 2, before: first.data?.next ?? undefined } } });
for (const frame of [...(first.data?.messages ?? []), ...(second.data?.messages ?? [])]) {
  console.log('message:', said(frame));
}
for (const conversation of (await user.GET('/api/chatting/conversations/')).data?.conversations ?? []) {
  if (conversation.id === 2) {
    console.log('conversation:', conversation.id, said(conversation.last_message));
  }
}
console.log('status:', (await user.GET('/readyz')).data?.status);

// The socket. Another connection of the same user is in the test's hands; this one gets all frames as well.
const socket = new WebSocket(url.replace('http', 'ws') + '/ws/chatting/');
const inbox: Socket[] = [];
let arrived = () => {};
socket.on('message', (data) => {
  inbox.push(JSON.parse(data.toString()) as Socket);
  arrived();
});
socket.on('close', (code) => {
  console.error('closed', code);
  process.exit(1);
});
await new Promise((opened) => socket.on('open', opened));

// exchange sends a frame, if there is one, and returns the next that comes.
async function exchange<T extends Socket>(frame?: Login | Say | Invite): Promise<T> {
  if (frame) {
    socket.send(JSON.stringify(frame));
  }
  while (inbox.length === 0) {
    await new Promise<void>((resolve) => (arrived = resolve));
  }
  return inbox.shift() as T;
}

const login = await exchange<LoggedIn>({ token, features: ['invites'] });
const online: number[] = login.online_friends;
console.log('logged in:', login.to_id, online.length);
const echo = await exchange<ChatMessage>({ target_id: 2, message: 'hi 😀', client_msg_id: 'm1' });
const text: string = echo.message, name: string | undefined = echo.client_msg_id;
console.log('echo:', echo.type, echo.to_id, text, name);
const invite = await exchange<InviteGame>({ target_id: 2, type: 'invite_game', status: 'invite' });
const cancel = await exchange<InviteGame>({ target_id: 2, type: 'invite_game', status: 'cancel', room_id: invite.room_id });
console.log('invite:', invite.status, cancel.status, invite.room_id !== undefined && invite.room_id === cancel.room_id);
const refusal = await exchange<ErrorFrame>({ target_id: 99, message: 'x' });
const code: string = refusal.code;
console.log('error:', code, refusal.from_id);

// The topics are read by others; that their types compile is what is seen here.
const event = (received: ConversationEvent): string | undefined => {
  if (received.type !== 'chatting.chat_message.v1') {
    return undefined;
  }
  const message: ChatMessageEvent = received;
  const logged: string = message.data.message;
  return logged;
};
if (event({ type: 'chatting.user_blocked.v1' } as ConversationEvent) !== undefined) {
  throw new Error('a block says nothing');
}

socket.removeAllListeners('close');
socket.on('close', () => process.exit(0));
socket.close();
