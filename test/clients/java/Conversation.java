import java.util.List;
import java.util.UUID;
import org.openapitools.client.*;
import org.openapitools.client.api.*;
import org.openapitools.client.model.*;

/** Has the conversation that clients_test.go describes, and prints what it learns. Arguments: URL, token, platform's token, message's id. */
public class Conversation {
    public static void main(String[] arguments) throws ApiException {
        ApiClient client = new ApiClient();
        client.updateBaseUri(arguments[0]);
        client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + arguments[1]));

        BlocksApi blocks = new BlocksApi(client);
        blocks.block(new Target().targetId(2L));
        System.out.println("blocked: " + ids(blocks.getBlocked()) + " " + blocks.isBlocked(2L).getIsBlocked());
        blocks.unblock(2L);
        System.out.println("unblocked: " + ids(blocks.getBlocked()) + " " + blocks.isBlocked(2L).getIsBlocked());
        FriendsApi friends = new FriendsApi(client);
        friends.addFriend(new Target().targetId(2L));
        System.out.println("friends: " + ids(friends.getFriends()));
        friends.removeFriend(2L);
        System.out.println("no friends: " + ids(friends.getFriends()));
        System.out.println("online: " + new PresenceApi(client).isOnline(2L).getIsOnline());
        try {
            blocks.isBlocked(99L);
        } catch (ApiException refused) {
            System.out.println("refused: " + refused.getCode());
        }

        ApiClient platform = new ApiClient();
        platform.updateBaseUri(arguments[0]);
        platform.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + arguments[2]));
        System.out.println("sent: " + said(new Frame(new PlatformApi(platform).sendSystemMessage(
            new SystemMessageRequest().targetId(1L).message("round 2").type("invite_game").roomId("room 7").opponentId(2L), null))));

        HistoryApi history = new HistoryApi(client);
        System.out.println("unread: " + history.markRead(2L, new ReadRequest().messageId(UUID.fromString(arguments[3]))).getUnread());
        MessagePage page = history.getMessages(2L, null, null, 2);
        System.out.println("next: " + (page.getNext() != null));
        for (Frame frame : page.getMessages()) {
            System.out.println("message: " + said(frame));
        }
        for (Frame frame : history.getMessages(2L, page.getNext(), null, null).getMessages()) {
            System.out.println("message: " + said(frame));
        }
        // The generated class has the name of this one.
        for (org.openapitools.client.model.Conversation of : history.getConversations(null, null).getConversations()) {
            if (of.getId() == 2) {
                System.out.println("conversation: " + of.getId() + " " + said(of.getLastMessage()));
            }
        }
        System.out.println("status: " + new HealthApi(client).ready().getStatus().getValue());
    }

    static List<Long> ids(List<User> users) {
        return users.stream().map(User::getId).toList();
    }

    static String said(Frame frame) {
        Object one = frame.getActualInstance();
        if (one instanceof ChatMessage m) {
            return "chat_message " + m.getFromId() + " " + m.getToId() + " " + m.getMessage();
        }
        if (one instanceof InviteGame i) {
            return "invite_game " + i.getFromId() + " " + i.getToId() + " " + i.getStatus().getValue() + " " + (i.getRoomId() != null);
        }
        SystemMessage s = (SystemMessage) one;
        return "system_message " + s.getToId() + " " + s.getMessage() + " " + s.getRoomId() + " " + s.getOpponentId();
    }
}
