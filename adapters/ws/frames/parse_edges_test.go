package frames

import (
	"errors"
	"testing"

	"chatting/application/port"
	"chatting/domain"
)

func TestATargetIsAnIntegerInWhateverWayItIsWritten(t *testing.T) {
	const most = 1<<63 - 1
	for raw, want := range map[string]domain.UserID{
		`7`: 7, `9`: 9, `10`: 10, `100`: 100, `1020`: 1020, `7.0`: 7, `7.000`: 7, `0.7e1`: 7, `0.007E3`: 7, `70e-1`: 7, `700e-2`: 7, `7e0`: 7, `7e+1`: 70, `1.5e1`: 15, `12.50E2`: 1250,
		`9223372036854775807`: most, `922337203685477580.7e1`: most, `9223372036854775807000e-3`: most, `1e18`: 1e18, `0.0000000000000000000007e22`: 7, `1000000000000000000`: 1e18,
		`"7"`: 7, `" 7 "`: 7, `"\t7\u00a0"`: 7, `"+7"`: 7, `"007"`: 7, `"9223372036854775807"`: most, `"\u0037"`: 7,
	} {
		if got, err := parseTarget([]byte(raw)); got != want || err != nil {
			t.Errorf("%s is %d, %v", raw, got, err)
		}
	}
	for raw, want := range map[string]error{
		`0`: ErrOffline, `-0`: ErrOffline, `0.0`: ErrOffline, `-7`: ErrOffline, `-7.0`: ErrOffline, `-70e-1`: ErrOffline, `0e5`: ErrOffline, `0e-5`: ErrOffline, `1e19`: ErrOffline,
		`9223372036854775808`: ErrOffline, `99999999999999999999`: ErrOffline, `1e400`: ErrOffline, `10e9223372036854775807`: ErrOffline, `1e99999999999999999999`: ErrOffline,
		`null`: ErrOffline, `"0"`: ErrOffline, `"-0"`: ErrOffline, `"-7"`: ErrOffline, `"9223372036854775808"`: ErrOffline, `"-9223372036854775809"`: ErrOffline,
		`1.5`: errBadTarget, `-1.5`: errBadTarget, `15e-1`: errBadTarget, `7e-1`: errBadTarget, `0.01e1`: errBadTarget, `10e-2`: errBadTarget, `1.5e-9223372036854775808`: errBadTarget,
		`1e-99999999999999999999`: errBadTarget, `""`: errBadTarget, `" "`: errBadTarget, `"+"`: errBadTarget, `"-"`: errBadTarget, `"+-7"`: errBadTarget, `"--7"`: errBadTarget, `"7-"`: errBadTarget,
		`"7.0"`: errBadTarget, `"7e0"`: errBadTarget, `"7 7"`: errBadTarget, `"x"`: errBadTarget, `"-x"`: errBadTarget, `true`: errBadTarget, `false`: errBadTarget, `[7]`: errBadTarget, `{"a":7}`: errBadTarget,
	} {
		if got, err := parseTarget([]byte(raw)); got != 0 || !errors.Is(err, want) {
			t.Errorf("%s is %d, %v, want %v", raw, got, err, want)
		}
	}
}

// Of several faults a frame has one answer, which names what the client can tell of the frame.
func TestOfSeveralFaultsOneIsAnswered(t *testing.T) {
	for sent, want := range map[string]domain.Code{
		`{"target_id":1.5,"message":5,"client_msg_id":5}`:                          domain.CodeBadTarget,
		`{"target_id":-1,"message":5,"client_msg_id":5}`:                           domain.CodeBadMessage,
		`{"target_id":-1,"message":"x","client_msg_id":5}`:                         domain.CodeBadMessage,
		`{"target_id":-1,"message":"x","client_msg_id":"n"}`:                       domain.CodeNoUserOrOffline,
		`{"target_id":-1,"type":"invite_game","status":"dance"}`:                   domain.CodeBadFrame,
		`{"target_id":-1,"type":"invite_game","status":"cancel","room_id":5}`:      domain.CodeBadFrame,
		`{"target_id":7,"type":"invite_game","status":"accept","room_id":["r"]}`:   domain.CodeBadFrame,
		`{"target_id":7,"type":"invite_game","status":"invite","room_id":5}`:       "",
		`{"target_id":7,"type":"invite_game","status":"cancel"}`:                   "",
		`{"target_id":7,"type":"invite_game","status":["invite"]}`:                 domain.CodeBadFrame,
		`{"token":"x","target_id":7}`:                                              domain.CodeBadFrame,
		`{"token":"x","type":"dance"}`:                                             domain.CodeBadFrame,
		`{"token":"x","message":"m"}`:                                              domain.CodeBadTarget,
		`{"token":"x","status":"invite"}`:                                          "",
		`{"target_id":7,"message":"\ud800","y":"\udc00"}`:                          domain.CodeBadMessage,
		`{"target_id":7,"message":"m","\ud800":1}`:                                 domain.CodeBadFrame,
		`{"target_id":7,"type":"invite_game","status":"invite","client_msg_id":5}`: domain.CodeBadMessage,
	} {
		got, err := Parse([]byte(sent), Features{port.FeatureInvites: {}})
		if code := domain.CodeOf(err); code != want || err != nil && (got.Kind != 0 || got.Target != 0) {
			t.Errorf("%s: %q, want %q; %+v", sent, code, want, got)
		}
	}
	got, _ := Parse([]byte(`{"target_id":" 7x ","message":"m","client_msg_id":"n"}`), nil)
	if string(got.SentTarget) != `" 7x "` || got.Name != "n" {
		t.Errorf("a refused frame is %+v", got)
	}
	got, _ = Parse([]byte(`{"token":"a\u0062"}`), nil)
	if got.Kind != Renewal || got.Token != "ab" {
		t.Errorf("a renewal is %+v", got)
	}
}

func TestALoginMayNotHaveHalfASurrogatePair(t *testing.T) {
	for _, sent := range []string{`{"token":"x\ud800"}`, `{"token":"x","y":"\udc00"}`} {
		if first, ok := ParseLogin([]byte(sent)); ok {
			t.Errorf("%s is a login with %q", sent, first.Token)
		}
	}
}
