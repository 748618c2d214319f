package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"chatting/application"
	"chatting/application/blocks"
	"chatting/application/history"
	"chatting/application/past"
	"chatting/application/replay"
	"chatting/domain"
	"chatting/test/sqltest"
)

var errFault = errors.New("a fault")

// newFaulty opens the database a second time, through one connection whose steps call before.
func newFaulty(t *testing.T, d testDB, before func(step string) error) *Store {
	t.Helper()
	s := d.open(t)
	sqltest.Break(t, s.db, d.url, before)
	return s
}

// call is a call of the store, and what it returns on the database of newCalls.
type call struct {
	name string
	do   func(context.Context, *Store) (any, error)
	want any
	// again is what the call returns, or the error or code that it fails with, once another one has done the same: want unless
	// it is set.
	again any
	// commits is how many transactions the call is made of, if they are several: a repetition completes them.
	commits int
}

// newCalls fills a database and returns calls of the store, each of which finds the database as the ones before left it.
func newCalls(t *testing.T, s *Store) []call {
	t.Helper()
	y := sqltest.NewStory(t, s.Projections, s.Blocks)
	for user := domain.UserID(1); user <= 5; user++ {
		sqltest.NoError(t, s.Users.Remember(t.Context(), user))
	}
	old, first, last := y.TellAt(sqltest.Chat(1, 2), sqltest.Time.Add(-1)), y.Tell(sqltest.Chat(1, 2)), y.Tell(sqltest.Chat(1, 2))
	y.Tell(sqltest.Chat(3, 2))
	sqltest.Set(t, s.Blocks, sqltest.Change(2, 9, true))
	for _, pair := range [][2]domain.UserID{{2, 3}, {3, 4}, {3, 2}, {5, 2}} {
		add(t, s, pair[0], pair[1], 10)
	}
	wantOwned(t, s, "begun", printA, sqltest.Time)
	sqltest.NoError(t, s.Idempotency.Complete(t.Context(), "begun", 200, []byte("done")))
	places := func(offset int64) []domain.Place {
		return []domain.Place{{Generation: 1, Offset: offset}}
	}
	sqltest.NoError(t, s.Cursors.SaveCursors(t.Context(), map[domain.UserID][]domain.Place{domain.System: places(0)}))
	own := LogIdentity{TopicPrefix: "p", ClusterID: "c"}
	nine := blocks.Pair{Blocker: 2, Target: 9}
	pending, err := s.Blocks.PendingOf(t.Context(), 2, 9)
	sqltest.NoError(t, err)
	blocked := pending[0]
	end := y.At
	to := func(offset int64) history.Projection {
		moved := end
		moved.Next.Offset = offset
		return moved
	}
	elsewhere := func(partition int) history.Projection {
		return history.Projection{Next: domain.Place{Generation: 1, Partition: partition}, Last: -1}
	}
	batch := history.ProjectionBatch{From: end, To: to(7), Supersedes: map[int64]int64{4: 3}, Events: []history.ProjectedEvent{
		{Offset: 4, Event: blocked},
		{Offset: 5, Event: domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(9, 2)}, Frame: []byte("{}")},
		{Offset: 6, Event: domain.Event{ID: sqltest.NewEventID(), Time: sqltest.Time, Body: sqltest.Chat(1, 2)}, Frame: []byte("{}")},
	}}
	ids := func(list []history.Entry, err error) (any, error) {
		var ids []domain.EventID
		for _, entry := range list {
			ids = append(ids, entry.ID)
		}
		return ids, err
	}
	type users = []domain.UserID
	return []call{
		{"Ping", func(ctx context.Context, s *Store) (any, error) { return nil, s.Ping(ctx) }, nil, nil, 0},
		{"Blocks", func(ctx context.Context, s *Store) (any, error) { return s.Blocks.Blocks(ctx, 2) },
			[]blocks.Entry{{Target: 9, Blocked: true, Version: 1, Pending: true}}, nil, 0},
		{"IsBlocked", func(ctx context.Context, s *Store) (any, error) { return s.Blocks.IsBlocked(ctx, 2, 9) }, true, nil, 0},
		{"BlockersAmong", func(ctx context.Context, s *Store) (any, error) {
			return s.Blocks.BlockersAmong(ctx, 9, users{1, 2, 3})
		}, users{2}, nil, 0},
		{"StoredBlocks", func(ctx context.Context, s *Store) (any, error) { return s.Projections.StoredBlocks(ctx) }, []blocks.Stored{
			{State: blocks.State{Pair: nine, Blocked: true, Version: 1}, Pending: 1},
		}, nil, 0},
		{"Versions", func(ctx context.Context, s *Store) (any, error) {
			versions, err := s.Blocks.Versions(ctx, nine)
			versions.EventOf = nil // a function
			return versions, err
		}, blocks.GivenVersions{
			Newest: 1, Events: map[int64]domain.EventID{1: blocked.ID}, Places: map[int64]domain.Place{},
		}, nil, 0},
		{"VersionsOf", func(ctx context.Context, s *Store) (any, error) {
			versions, err := s.Blocks.VersionsOf(ctx, []blocks.Pair{nine, {Blocker: 9, Target: 2}})
			return versions[nine].Newest + int64(len(versions)), err
		}, int64(2), nil, 0},
		{"ErasedBefore", func(ctx context.Context, s *Store) (any, error) { return s.Erasures.ErasedBefore(ctx, users{1, 2}) },
			map[domain.UserID]map[int]int64{}, nil, 0},
		{"PendingOf", func(ctx context.Context, s *Store) (any, error) { return s.Blocks.PendingOf(ctx, 2, 9) }, pending, nil, 0},
		{"Pending", func(ctx context.Context, s *Store) (any, error) {
			return s.Blocks.Pending(ctx, sqltest.Time.Add(1e9), 9)
		}, pending, nil, 0},
		{"Friends", func(ctx context.Context, s *Store) (any, error) { return s.Friends.Friends(ctx, 2) }, users{3}, nil, 0},
		{"Known", func(ctx context.Context, s *Store) (any, error) { return s.Users.Known(ctx, 1) }, true, nil, 0},
		{"LoginFacts", func(ctx context.Context, s *Store) (any, error) {
			facts, err := s.Users.LoginFacts(ctx, users{2}, true)
			if err != nil {
				return facts, err
			}
			return facts[0].Friends, nil
		}, users{3}, nil, 0},
		{"Messages", func(ctx context.Context, s *Store) (any, error) {
			list, more, err := s.History.Messages(ctx, 2, 1, nil, sqltest.AtMost(2))
			if more != (err == nil) {
				t.Errorf("more %t beside the error %v", more, err)
			}
			return ids(list, err)
		}, []domain.EventID{last, first}, nil, 0},
		{"Messages before", func(ctx context.Context, s *Store) (any, error) {
			list, _, err := s.History.Messages(ctx, 1, 2, &first, sqltest.AtMost(2))
			return ids(list, err)
		}, []domain.EventID{old}, nil, 0},
		{"Conversations", func(ctx context.Context, s *Store) (any, error) {
			list, more, err := s.History.Conversations(ctx, 2, nil, sqltest.AtMost(1))
			if more != (err == nil) {
				t.Errorf("more %t beside the error %v", more, err)
			}
			var partners users
			for _, of := range list {
				partners = append(partners, of.Partner)
			}
			return partners, err
		}, users{3}, nil, 0},
		{"Sees", func(ctx context.Context, s *Store) (any, error) { return s.History.Sees(ctx, 2, 1, first) }, true, nil, 0},
		{"Unread", func(ctx context.Context, s *Store) (any, error) { return s.ReadMarks.Unread(ctx, 2, 1) }, 3, nil, 0},
		{"Cursor", func(ctx context.Context, s *Store) (any, error) { return s.Cursors.Cursor(ctx, domain.System) }, places(0), nil, 0},
		{"Waiting", func(ctx context.Context, s *Store) (any, error) {
			senders, ends, err := s.Undelivered.Waiting(ctx, 2, places(1), places(4), 10)
			if (ends == nil) != (err != nil) {
				t.Errorf("ends %v beside the error %v", ends, err)
			}
			return senders, err
		}, []replay.WaitingSender{{Sender: 1, Place: places(1)[0]}, {Sender: 3, Place: places(3)[0]}}, nil, 0},
		{"Stretches", func(ctx context.Context, s *Store) (any, error) {
			lists, err := s.Undelivered.Stretches(ctx, 2, []replay.ConversationStretch{{Sender: 1, From: places(1)[0], To: places(4)[0]}}, 10)
			if err != nil {
				return lists, err
			}
			return ids(lists[0], err)
		}, []domain.EventID{first, last}, nil, 0},
		{"Recent", func(ctx context.Context, s *Store) (any, error) {
			return s.Undelivered.Recent(ctx, 2, places(2), sqltest.Time, 10)
		}, []domain.EventID{first}, nil, 0},
		{"StoredOf", func(ctx context.Context, s *Store) (any, error) {
			messages, bytes, err := s.Undelivered.StoredOf(ctx, 1, 2, 10)
			return [2]int64{int64(messages), bytes}, err
		}, [2]int64{3, 3 * int64(len(sqltest.Frame(domain.Event{})))}, nil, 0},
		{"HasMessage", func(ctx context.Context, s *Store) (any, error) { return s.Undelivered.HasMessage(ctx, 2, 1, first) }, true, nil, 0},
		{"FirstPlaces", func(ctx context.Context, s *Store) (any, error) {
			return s.Undelivered.FirstPlaces(ctx, 2, []past.Named{{ID: first, Sender: 1}, {ID: first, Sender: 3}})
		}, past.Firsts{
			Places: map[domain.EventID]domain.Place{first: places(1)[0]}, Changes: map[domain.UserID]int64{1: 0, 3: 0},
		}, nil, 0},
		{"SentFrame", func(ctx context.Context, s *Store) (any, error) { return s.Undelivered.SentFrame(ctx, 2, 1, first) }, sqltest.Frame(domain.Event{ID: first}), nil, 0},
		{"Projections", func(ctx context.Context, s *Store) (any, error) { return s.Projections.Projections(ctx) }, []history.Projection{end}, nil, 0},
		{"Projected", func(ctx context.Context, s *Store) (any, error) { return s.Projections.Projected(ctx, 1) }, places(4), nil, 0},
		{"Beats", func(ctx context.Context, s *Store) (any, error) { return s.Installation.Beats(ctx) }, int64(0), nil, 0},
		{"Log", func(ctx context.Context, s *Store) (any, error) { return s.Installation.Log(ctx, own) }, own, nil, 0},

		{"ClaimLog", func(ctx context.Context, s *Store) (any, error) { return s.Installation.ClaimLog(ctx, own) }, own, nil, 0},
		{"Beat", func(ctx context.Context, s *Store) (any, error) { return nil, s.Installation.Beat(ctx) }, nil, nil, 0},
		{"SetBlocked", func(ctx context.Context, s *Store) (any, error) {
			return s.Blocks.SetBlocked(ctx, sqltest.Change(1, 3, true))
		}, true, false, 0},
		{"unblocking", func(ctx context.Context, s *Store) (any, error) {
			return s.Blocks.SetBlocked(ctx, sqltest.Change(1, 3, false))
		}, true, false, 0},
		{"MarkPublished", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Blocks.MarkPublished(ctx, []domain.EventID{blocked.ID})
		}, nil, nil, 0},
		{"AddFriend", func(ctx context.Context, s *Store) (any, error) { return s.Friends.AddFriend(ctx, 2, 4, 2) }, true, false, 0},
		{"RemoveFriend", func(ctx context.Context, s *Store) (any, error) { return s.Friends.RemoveFriend(ctx, 2, 4) }, true, false, 0},
		{"Remember", func(ctx context.Context, s *Store) (any, error) { return nil, s.Users.Remember(ctx, 77) }, nil, nil, 0},
		{"RememberAll", func(ctx context.Context, s *Store) (any, error) { return nil, s.Users.RememberAll(ctx, users{78, 79}) }, nil, nil, 0},
		{"MarkRead", func(ctx context.Context, s *Store) (any, error) { return s.ReadMarks.MarkRead(ctx, 2, 1, &first) }, true, nil, 0},
		{"MarkRead all", func(ctx context.Context, s *Store) (any, error) { return s.ReadMarks.MarkRead(ctx, 2, 1, nil) }, true, nil, 0},
		{"SaveCursors", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Cursors.SaveCursors(ctx, map[domain.UserID][]domain.Place{2: places(1)})
		}, nil, nil, 0},
		{"PartitionCount", func(ctx context.Context, s *Store) (any, error) { return s.Installation.PartitionCount(ctx, "p", 4) }, 4, nil, 0},
		{"Begin", func(ctx context.Context, s *Store) (any, error) {
			return s.Idempotency.Begin(ctx, "begun", printA, sqltest.Time)
		},
			&StoredResponse{Status: 200, Body: []byte("done")}, nil, 0},
		{"Begin anew", func(ctx context.Context, s *Store) (any, error) {
			return s.Idempotency.Begin(ctx, "new", printA, sqltest.Time)
		},
			(*StoredResponse)(nil), domain.CodeKeyInProgress, 0},
		{"Complete", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Idempotency.Complete(ctx, "new", 201, nil)
		}, nil, nil, 0},
		{"Abandon", func(ctx context.Context, s *Store) (any, error) { return nil, s.Idempotency.Abandon(ctx, "new") }, nil, nil, 0},
		{"Project", func(ctx context.Context, s *Store) (any, error) { return nil, s.Projections.Project(ctx, batch) },
			nil, history.ErrProjectionMoved, 0},
		{"MoveProjection", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Projections.MoveProjection(ctx, to(7), to(20), []blocks.State{
				{Pair: blocks.Pair{Blocker: 8, Target: 9}, Blocked: true, Version: 3},
			})
		}, nil, history.ErrProjectionMoved, 0},
		// Of partitions that a log had before.
		{"MoveProjection 1", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Projections.MoveProjection(ctx, history.Projection{}, elsewhere(1), nil)
		}, nil, history.ErrProjectionMoved, 0},
		{"MoveProjection 2", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Projections.MoveProjection(ctx, history.Projection{}, elsewhere(2), nil)
		}, nil, history.ErrProjectionMoved, 0},
		{"Expire", func(ctx context.Context, s *Store) (any, error) { return s.History.Expire(ctx, sqltest.Time, 1) }, 1, 0, 0},
		{"EraseUser", func(ctx context.Context, s *Store) (any, error) {
			unblocked, known, err := s.Eraser.EraseUser(ctx, application.Erasure{
				User: 2, At: sqltest.Time, Ends: []int64{20}, Projected: []domain.Place{to(20).Next},
			})
			if err != nil {
				return unblocked, err
			}
			return fmt.Sprint(unblocked, known), nil
		}, "[9] true", "[] false", 4},
		{"ForgetCursors", func(ctx context.Context, s *Store) (any, error) { return nil, s.Cursors.ForgetCursors(ctx) }, nil, nil, 0},
		{"BeginMove", func(ctx context.Context, s *Store) (any, error) { return nil, s.Installation.BeginMove(ctx) }, nil, nil, 0},
		{"MoveToLog", func(ctx context.Context, s *Store) (any, error) {
			return nil, s.Installation.MoveToLog(ctx, LogMove{To: own, Generation: 2, Ends: []int64{5, 6}})
		}, nil, nil, 0},
	}
}

// allTables returns what is in the tables.
func allTables(t *testing.T, s *Store) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{
		"users", "blocks", "outbox", "friends", "friend_lists", "messages", "block_changes", "projections", "erasures",
		"conversation_marks", "read_mark_events", "delivered_cursors", "idempotency_keys", "topic_partitions", "installation", "server_beats",
	} {
		rows, err := s.db.Reader.QueryxContext(t.Context(), "SELECT * FROM "+table+" ORDER BY 1, 2")
		sqltest.NoError(t, err)
		for rows.Next() {
			row, err := rows.SliceScan()
			sqltest.NoError(t, err)
			fmt.Fprintln(&all, table, row)
		}
		sqltest.NoError(t, errors.Join(rows.Err(), rows.Close())) //nolint:sqlclosecheck // the next table is read on the same connection
	}
	return all.String()
}

var faultContract = map[string]func(*testing.T, testDB){
	"WhicheverStepFailsTheCallFailsAndChangesNothing": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		failing, steps, began := 0, 0, false
		s := newFaulty(t, d, func(step string) error {
			began = began || step == "begin"
			if steps++; steps == failing {
				return errFault
			}
			return nil
		})
		defer func() { sqltest.NoError(t, s.Close()) }()
		for _, call := range newCalls(t, sound) {
			before := allTables(t, sound)
			for failing = 1; ; failing++ {
				steps, began = 0, false
				s.Blocks.secret.Store(nil)
				s.Users.known.Purge()
				s.Idempotency.purgeAt.Store(sqltest.Time.UnixMilli() + 1)
				got, err := call.do(t.Context(), s)
				if steps < failing {
					if err != nil || !reflect.DeepEqual(got, call.want) {
						t.Errorf("%s without a fault: %v, %v, want %v", call.name, got, err, call.want)
					}
					break
				}
				if !errors.Is(err, errFault) || domain.CodeOf(err) != domain.CodeInternal {
					t.Errorf("%s: a fault at step %d came to %v", call.name, failing, err)
				}
				if got != nil && !reflect.ValueOf(got).IsZero() {
					t.Errorf("%s: %v beside a fault at step %d", call.name, got, failing)
				}
				if !began || call.commits > 0 {
					continue
				}
				if after := allTables(t, sound); after != before {
					t.Fatalf("%s: a fault at step %d left\n%s\nafter\n%s", call.name, failing, after, before)
				}
			}
			if failing == 1 {
				t.Errorf("%s took no step that may fail", call.name)
			}
		}
	},
	"ACallThatIsTriedAgainReturnsWhatItFindsThen": func(t *testing.T, d testDB) {
		sound := d.migrated(t)
		var meanwhile func()
		conflict, commits := sqltest.ConflictOn(t, d.url), 0
		s := newFaulty(t, d, func(step string) error {
			switch step {
			case "commit":
				if commits--; commits == 0 {
					return conflict
				}
			case "rolled back":
				meanwhile()
			}
			return nil
		})
		defer func() { sqltest.NoError(t, s.Close()) }()
		for _, call := range newCalls(t, sound) {
			s.Users.known.Purge()
			s.Idempotency.purgeAt.Store(sqltest.Time.UnixMilli() + 1)
			sound.Idempotency.purgeAt.Store(sqltest.Time.UnixMilli() + 1)
			commits = max(call.commits, 1)
			meanwhile = func() {
				if got, err := call.do(t.Context(), sound); err != nil || !reflect.DeepEqual(got, call.want) {
					t.Errorf("%s meanwhile: %v, %v", call.name, got, err)
				}
			}
			got, err := call.do(t.Context(), s)
			if call.again != nil && commits > 0 {
				t.Errorf("%s was not tried again", call.name)
			}
			switch again := call.again.(type) {
			case error:
				if !errors.Is(err, again) {
					t.Errorf("%s again: %v, want %v", call.name, err, again)
				}
				continue
			case domain.Code:
				sqltest.WantCode(t, err, again)
				continue
			case nil:
				call.again = call.want
			}
			if err != nil || !reflect.DeepEqual(got, call.again) {
				t.Errorf("%s again: %v, %v, want %v", call.name, got, err, call.again)
			}
		}
		// A response that is not kept any more when the call is tried again is none.
		wantOwned(t, sound, "old", printA, sqltest.Time)
		sqltest.NoError(t, sound.Idempotency.Complete(t.Context(), "old", 200, nil))
		commits, meanwhile = 1, func() {
			sound.db.Writer.MustExecContext(t.Context(), "DELETE FROM idempotency_keys")
		}
		wantOwned(t, s, "old", printA, sqltest.Time)
	},
}
