package moderation_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"chatting/application/moderation"
	"chatting/domain"
	"chatting/test/porttest"
)

// doings is what a test says of users.
type doings struct {
	facts moderation.Facts
	done  []moderation.Done
	more  bool
	since time.Time

	audited              []domain.Inspection
	failAudit, failFacts error
}

func (d *doings) FactsOf(context.Context, domain.UserID, int) (moderation.Facts, error) {
	return d.facts, d.failFacts
}

func (d *doings) CountDone(_ context.Context, _ domain.UserID, since time.Time, _ int) (moderation.Counts, error) {
	d.since = since
	return moderation.Counts{Messages: 3, Invites: 1}, nil
}

func (d *doings) Done(_ context.Context, _ domain.UserID, _ *moderation.Mark, entries, _ int) ([]moderation.Done, bool, error) {
	return d.done[:min(entries, len(d.done))], d.more, nil
}

func (d *doings) AppendInspection(inspection domain.Inspection, done func(error)) {
	d.audited = append(d.audited, inspection)
	done(d.failAudit)
}

func (d *doings) Online(domain.UserID) bool { return true }

func newActivity(t *testing.T) (*doings, *moderation.LookAtActivity) {
	t.Helper()
	_, acts := newActs()
	d := &doings{done: []moderation.Done{{Mark: moderation.Mark{ID: domain.EventID{2}}}, {Mark: moderation.Mark{ID: domain.EventID{1}}}}}
	return d, &moderation.LookAtActivity{
		Moderate: acts, Facts: d, Done: d, Online: d, Audit: d, Now: func() time.Time { return porttest.SomeTime },
		NewID: func() domain.EventID { return domain.EventID{7} },
	}
}

func TestWhatAUserDidIsToldWithoutAWordInTheAudit(t *testing.T) {
	d, look := newActivity(t)
	d.more = true
	d.facts.BlockedBy = 4
	a, err := look.Execute(t.Context(), moderation.ActivityQuery{User: 201, Limit: 1})
	if err != nil || a.Messages != 3 || a.Invites != 1 || a.BlockedBy != 4 || !a.Online || len(a.Events) != 1 || a.Next == nil ||
		a.Next.ID != (domain.EventID{2}) || !d.since.Equal(a.At.Add(-24*time.Hour)) {
		t.Errorf("%+v since %v, %v", a, d.since, err)
	}
	if len(d.audited) != 0 {
		t.Errorf("the audit has %v", d.audited)
	}
	d.more = false
	if a, err = look.Execute(t.Context(), moderation.ActivityQuery{User: 201, Limit: 5}); err != nil || a.Next != nil || len(a.Events) != 2 {
		t.Errorf("the last page is %+v, %v", a, err)
	}
}

func TestNobodyGetsTextsThatTheAuditDoesNotKnowOf(t *testing.T) {
	d, look := newActivity(t)
	query := moderation.ActivityQuery{User: 201, Limit: 1, Texts: true, Actor: "alice", Reason: "a report"}
	if _, err := look.Execute(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	want := []domain.Inspection{{ID: domain.EventID{7}, User: 201, Reason: "a report", Actor: "alice", Time: porttest.SomeTime.UTC().Truncate(time.Millisecond)}}
	if !slices.Equal(d.audited, want) {
		t.Errorf("the audit has %+v, want %+v", d.audited, want)
	}
	d.failAudit = porttest.ErrRefused
	if a, err := look.Execute(t.Context(), query); domain.CodeOf(err) != domain.CodeUnavailable || len(a.Events) != 0 {
		t.Errorf("without the audit: %+v, %v", a, err)
	}
	for name, change := range map[string]func(*moderation.ActivityQuery){
		"no reason": func(q *moderation.ActivityQuery) { q.Reason = " " }, "no actor": func(q *moderation.ActivityQuery) { q.Actor = "" },
	} {
		wrong := query
		change(&wrong)
		if _, err := look.Execute(t.Context(), wrong); domain.CodeOf(err) != domain.CodeBadAct {
			t.Errorf("%s: %v", name, err)
		}
	}
}
