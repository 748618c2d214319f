"""Has the conversation that clients_test.go describes, and prints what it learns. Arguments: URL, token, platform's token, message's id."""

import importlib
import pkgutil
import sys
import uuid

import api
from api import AuthenticatedClient
from api.api.blocks import block, get_blocked, is_blocked, unblock
from api.api.friends import add_friend, get_friends, remove_friend
from api.api.health import ready
from api.api.history import get_conversations, get_messages, mark_read
from api.api.platform import send_system_message
from api.api.presence import is_online
from api.models import ChatMessage, InviteGame, ReadRequest, SystemMessage, SystemMessageRequest, Target

# What is not used below has to be good Python, too.
for module in pkgutil.walk_packages(api.__path__, "api."):
    importlib.import_module(module.name)

url, token, platform_token, message_id = sys.argv[1:]
user = AuthenticatedClient(base_url=url, token=token)
platform = AuthenticatedClient(base_url=url, token=platform_token)


def ids(users):
    return [user.id for user in users]


def bare(boolean):
    return str(boolean).lower()


def said(frame):
    match frame:
        case ChatMessage():
            return f"chat_message {frame.from_id} {frame.to_id} {frame.message}"
        case InviteGame():
            return f"invite_game {frame.from_id} {frame.to_id} {frame.status.value} {bare(bool(frame.room_id))}"
        case SystemMessage():
            return f"system_message {frame.to_id} {frame.message} {frame.room_id} {frame.opponent_id}"
    raise TypeError("an unknown frame")


block.sync(client=user, body=Target(target_id=2))
print("blocked:", ids(get_blocked.sync(client=user)), bare(is_blocked.sync(client=user, target_id=2).is_blocked))
assert unblock.sync_detailed(client=user, target_id=2).status_code == 200
print("unblocked:", ids(get_blocked.sync(client=user)), bare(is_blocked.sync(client=user, target_id=2).is_blocked))
add_friend.sync(client=user, body=Target(target_id=2))
print("friends:", ids(get_friends.sync(client=user)))
remove_friend.sync_detailed(client=user, target_id=2)
print("no friends:", ids(get_friends.sync(client=user)))
print("online:", bare(is_online.sync(client=user, id=2).is_online))
print("refused:", is_blocked.sync_detailed(client=user, target_id=99).status_code.value)

request = SystemMessageRequest(target_id=1, message="round 2", type_="invite_game", room_id="room 7", opponent_id=2)
print("sent:", said(send_system_message.sync(client=platform, body=request)))

print("unread:", mark_read.sync(2, client=user, body=ReadRequest(message_id=uuid.UUID(message_id))).unread)
page = get_messages.sync(client=user, target_id=2, limit=2)
print("next:", bare(page.next_ is not None))
for frame in page.messages + get_messages.sync(client=user, target_id=2, before=page.next_).messages:
    print("message:", said(frame))
for conversation in get_conversations.sync(client=user).conversations:
    if conversation.id == 2:
        print("conversation:", conversation.id, said(conversation.last_message))
print("status:", ready.sync(client=user).status.value)
