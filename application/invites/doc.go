// Package invites is about invites to a game: the use case Invite, the register of what became of each invite by the log, and
// the part that ends those that nobody answered. domain.InviteRegister has the rules. Who is shown an invite is decided in delivery.
package invites
