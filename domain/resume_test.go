package domain_test

import (
	"encoding/base64"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"chatting/domain"
)

var (
	resumeKey = domain.ResumeKey{1, 2, 3}
	resumeAt  = time.UnixMilli(1_770_000_000_123).UTC()
)

func tokenOf(seal domain.ResumeSeal, next ...int64) string {
	return seal.Token(domain.ResumePoint{Time: resumeAt, Next: next}.Append(nil))
}

func TestAResumeTokenBringsBackItsPoint(t *testing.T) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	for _, next := range [][]int64{
		{0}, {0, 0, 7}, {5, 3, 1 << 40}, {math.MaxInt64}, {math.MaxInt64 - 1<<40 + 1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64},
	} {
		got, ok := seal.Open(tokenOf(seal, next...), len(next))
		if !ok || !got.Time.Equal(resumeAt) || !slices.Equal(got.Next, next) {
			t.Errorf("%v came back as %v, %v", next, got, ok)
		}
	}
}

func TestAResumeTokenOfOffsetsThatAreTooFarApartMissesNothing(t *testing.T) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	got, ok := seal.Open(tokenOf(seal, 7, math.MaxInt64), 2)
	if !ok || got.Next[0] != 7 || got.Next[1] != 7+1<<40-1 {
		t.Errorf("came back as %v, %v", got, ok)
	}
}

func TestAResumeTokenIsShortAndHarmless(t *testing.T) {
	next := make([]int64, 64)
	for p := range next {
		next[p] = 1<<62 + int64(p)<<34
	}
	token := tokenOf(domain.NewResumeSeal(resumeKey, math.MaxInt64), next...)
	if len(token) > 512 || strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		t.Errorf("a token of %d characters: %s", len(token), token)
	}
}

// The log moves when somebody blocks the user, or reads without a receipt. The user's client must not see that it did, and not
// that it did not.
func TestAResumeTokenTellsItsClientNothing(t *testing.T) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	first, again, moved := tokenOf(seal, 9, 300), tokenOf(seal, 9, 300), tokenOf(seal, 1<<39, 1<<39+1<<38)
	if first == again {
		t.Errorf("the same point has the same token: %s", first)
	}
	if len(first) != len(again) || len(first) != len(moved) {
		t.Errorf("lengths %d, %d and %d", len(first), len(again), len(moved))
	}
	for _, other := range []string{again, moved} {
		same := 0
		for i := range other {
			if other[i] == first[i] {
				same++
			}
		}
		if same > len(first)/3 {
			t.Errorf("%s and %s have %d characters in common", first, other, same)
		}
	}
}

func TestAResumeTokenThatIsNotOursIsRefused(t *testing.T) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	good := tokenOf(seal, 9, 300)
	if _, ok := seal.Open(good, 2); !ok {
		t.Fatal("a good token is refused")
	}
	notSealed := append([]byte{2}, domain.ResumePoint{Time: resumeAt, Next: []int64{9, 300}}.Append(make([]byte, 12))...)
	for what, token := range map[string]string{
		"empty": "", "no base64": "!", "cut": good[:len(good)-1], "longer": good + "AA", "padded": good + "=",
		"text": "resume please, thank you", "huge": strings.Repeat("A", 1<<16), "zeros": strings.Repeat("A", len(good)),
		"with ends of lines": good[:len(good)-2] + "\r\n", "with more ends of lines": good + "\n",
		"not sealed, version 1":     "AfOFdjC4AZt8cJquAAAAAA",
		"not sealed, of our length": base64.RawURLEncoding.EncodeToString(append(notSealed, make([]byte, 16)...)),
		"another user's":            tokenOf(domain.NewResumeSeal(resumeKey, 202), 9, 300),
		"another installation's":    tokenOf(domain.NewResumeSeal(domain.ResumeKey{1, 2, 4}, 201), 9, 300),
		"fewer partitions":          tokenOf(seal, 9),
		"more partitions":           tokenOf(seal, 9, 9, 9),
		"a negative offset":         tokenOf(seal, -9, 9),
		"a sum beyond":              seal.Token(slices.Concat(make([]byte, 6), []byte{0x7f}, slices.Repeat([]byte{0xff}, 17))),
		"a shorter point":           seal.Token(make([]byte, 6)),
	} {
		if point, ok := seal.Open(token, 2); ok {
			t.Errorf("%s: taken as %v", what, point)
		}
	}
}

func TestAResumeTokenIsRefusedIfAnyOfItIsChanged(t *testing.T) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	good, err := base64.RawURLEncoding.DecodeString(tokenOf(seal, 9, 300))
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		for bit := range 8 {
			changed := slices.Clone(good)
			changed[i] ^= 1 << bit
			if point, ok := seal.Open(base64.RawURLEncoding.EncodeToString(changed), 2); ok {
				t.Errorf("bit %d of byte %d: taken as %v", bit, i, point)
			}
		}
	}
}

// FuzzOpenResumeToken opens tokens that a client made up, which are all refused, and points that were sealed in some other way.
func FuzzOpenResumeToken(f *testing.F) {
	seal := domain.NewResumeSeal(resumeKey, 201)
	f.Add(tokenOf(domain.NewResumeSeal(resumeKey, 202), 9, 300, 1<<39), domain.ResumePoint{Time: resumeAt, Next: []int64{1, 2, 3}}.Append(nil))
	f.Add("AfOFdjC4AZt8cJquAAAAAA", []byte{})
	f.Add("", make([]byte, 29))
	f.Fuzz(func(t *testing.T, token string, sealed []byte) {
		if point, ok := seal.Open(token, 3); ok {
			t.Errorf("%q was taken as %v", token, point)
		}
		point, ok := seal.Open(seal.Token(sealed), 3)
		if ok && (len(point.Next) != 3 || slices.Min(point.Next) < 0) {
			t.Errorf("%x was taken as %v", sealed, point)
		}
	})
}

func BenchmarkResumeToken(b *testing.B) {
	for _, partitions := range []int{1, 12, 64} {
		b.Run(strconv.Itoa(partitions)+" partitions", func(b *testing.B) {
			seal, point := domain.NewResumeSeal(resumeKey, 201), domain.ResumePoint{Time: resumeAt, Next: make([]int64, partitions)}
			encoded := point.Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				seal.Token(encoded)
			}
		})
	}
}

func BenchmarkNewResumeSeal(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		domain.NewResumeSeal(resumeKey, 201)
	}
}
