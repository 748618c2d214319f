"""What Schemathesis cannot know of the server: who its users are, and where it takes more than the document promises."""

import schemathesis

# The users of the test, but for the one whose token it bears: a user who names itself is refused. All of them are online.
OTHERS = range(2, 8)
OF_OTHERS = {
    "block": "target_id",
    "unblock": "target_id",
    "isBlocked": "target_id",
    "addFriend": "target_id",
    "removeFriend": "target_id",
    "isOnline": "id",
    "getMessages": "target_id",
    "sendSystemMessage": "target_id",
}


def operation_of(case):
    return case.operation.definition.raw.get("operationId")


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@schemathesis.hook
def filter_case(context, case):
    """Leave out what the document cannot say, and bad requests that are carried out for clients of the original server."""
    operation = operation_of(case)
    if operation == "isBlocked":  # without a target it is getBlocked, the same path with a slash
        return "target_id" in (case.query or {})
    if operation == "getMessages" and {"before", "after"} <= set(case.query or {}):
        return False  # one or the other
    if operation == "markRead" and case.body is None:  # null counts as no body
        return False
    if operation == "announce" and isinstance(case.body, dict):  # one or the other
        return (case.body.get("to") is None) != (case.body.get("user_ids") is None)
    if operation == "getActivity" and (case.query or {}).get("texts") in (True, "true"):  # which needs the others
        return {"actor", "reason"} <= set(case.query)
    if operation == "sendSystemMessage" and isinstance(case.body, dict):
        # A number counts as its text, a type that is no text as none, and without the type the game does not count.
        game = case.body.get("type") == "invite_game"
        return not (
            is_number(case.body.get("message"))
            or is_number(case.body.get("room_id"))
            or not isinstance(case.body.get("type", ""), (str, type(None)))
            or not game and ("room_id" in case.body or "opponent_id" in case.body)
        )
    return True


def known(value):
    """Return the id of a user who exists for one that somebody could have, and anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63 or value in OTHERS:
        return value
    return OTHERS[value % len(OTHERS)]


@schemathesis.hook
def map_case(context, case):
    """Let ids be those of users who exist."""
    name = OF_OTHERS.get(operation_of(case))
    if operation_of(case) == "moderate" and isinstance(case.body, dict):
        # Whoever is banned, or whose connections end, is of no more use to the other operations.
        user = case.body.get("user_id")
        if isinstance(user, int) and not isinstance(user, bool) and 1 <= user < 2**63:
            case.body["user_id"] = 100 + user % 100
    strings = "string_ids" in (case.query or {})
    for fields in (case.query, case.body):
        if isinstance(fields, dict) and name in fields:
            value = fields[name]
            if strings and isinstance(value, str) and value.isdecimal() and value.isascii():
                fields[name] = str(known(int(value)))
            else:
                fields[name] = known(value)
    return case
