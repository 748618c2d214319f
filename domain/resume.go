package domain

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"time"
)

// ResumePoint is where a client stopped: its connection was handed everything of its user that stands in the log before these
// offsets.
type ResumePoint struct {
	// Time is when the point was noted, with millisecond precision.
	Time time.Time
	// Next has one offset for each partition, in the order of their numbers.
	Next []int64
}

// A resume token is what a client keeps of a ResumePoint: the version, a nonce, and the point sealed with AES-256-GCM, in base64url.
// The client must learn nothing from it: the log moves also when somebody blocks the user, or reads without a receipt. So no two
// tokens are the same, and all of one log have one length.
//
// The point is its time in milliseconds, 6 bytes, the least offset, 8 bytes, and by how much each offset exceeds it, 5 bytes each.
// That makes 484 characters with 64 partitions.
const (
	// resumeVersion changes with the encoding. Version 1 was not sealed.
	resumeVersion    = 2
	resumeTimeBytes  = 6
	resumeLeastBytes = 8
	resumeMoreBytes  = 5
	resumeMostMore   = 1<<(8*resumeMoreBytes) - 1
	resumeSealBytes  = 12 + 16 // the nonce and the tag
)

var (
	resumeText = base64.RawURLEncoding.Strict()
	resumeHead = []byte{resumeVersion}
)

// ResumeTokenLength returns the length of the tokens of a log with so many partitions, in characters.
func ResumeTokenLength(partitions int) int {
	return resumeText.EncodedLen(1 + resumeSealBytes + resumePointBytes(partitions))
}

func resumePointBytes(partitions int) int {
	return resumeTimeBytes + resumeLeastBytes + partitions*resumeMoreBytes
}

// Append appends the point as ResumeSeal.Token takes it. An offset that exceeds the least one by 2^40 or more is taken as nearer:
// who takes up there is given more than it missed, never less.
func (p ResumePoint) Append(dst []byte) []byte {
	var millis [8]byte
	binary.BigEndian.PutUint64(millis[:], uint64(p.Time.UnixMilli()))
	dst = append(dst, millis[8-resumeTimeBytes:]...)
	least := int64(math.MaxInt64)
	for _, next := range p.Next {
		least = min(least, next)
	}
	dst = binary.BigEndian.AppendUint64(dst, uint64(least))
	for _, next := range p.Next {
		var more [8]byte
		binary.BigEndian.PutUint64(more[:], uint64(min(next-least, resumeMostMore)))
		dst = append(dst, more[8-resumeMoreBytes:]...)
	}
	return dst
}

// bigEndian reads a number of less than 8 bytes.
func bigEndian(b []byte) uint64 {
	var number uint64
	for _, digit := range b {
		number = number<<8 | uint64(digit)
	}
	return number
}

// parseResumePoint reads what Append wrote of so many partitions; false if it cannot have.
func parseResumePoint(b []byte, partitions int) (ResumePoint, bool) {
	if len(b) != resumePointBytes(partitions) {
		return ResumePoint{}, false
	}
	millis, b := bigEndian(b[:resumeTimeBytes]), b[resumeTimeBytes:]
	least, b := binary.BigEndian.Uint64(b), b[resumeLeastBytes:]
	point := ResumePoint{Time: time.UnixMilli(int64(millis)).UTC(), Next: make([]int64, partitions)}
	for p := range point.Next {
		next := least + bigEndian(b[:resumeMoreBytes])
		if (least|next)>>63 != 0 {
			return ResumePoint{}, false
		}
		point.Next[p], b = int64(next), b[resumeMoreBytes:]
	}
	return point, true
}

// ResumeKey is the secret from which the seals of all users in one log are made. No client may learn it.
type ResumeKey [32]byte

// ResumeSeal makes and opens the resume tokens of one user in one log. It may be used concurrently.
type ResumeSeal struct{ aead cipher.AEAD }

// NewResumeSeal returns the seal of a user's tokens. Each user has a key of its own. So the nonces, which are random, are far too
// few to come twice, and a token of somebody else cannot be opened.
func NewResumeSeal(key ResumeKey, user UserID) ResumeSeal {
	mac := hmac.New(sha256.New, key[:])
	_ = binary.Write(mac, binary.BigEndian, int64(user)) // a hash takes everything
	block, err := aes.NewCipher(mac.Sum(nil))
	if err != nil {
		panic(err) // the key has not the length of a hash
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // it is not AES
	}
	return ResumeSeal{aead}
}

// Token returns a token of a point that ResumePoint.Append has encoded: another one each time, also of the same point.
func (s ResumeSeal) Token(point []byte) string {
	var room [512]byte
	sealed := make([]byte, 1, 1+len(point)+resumeSealBytes)
	sealed[0] = resumeVersion
	sealed = s.aead.Seal(sealed, nil, point, resumeHead) //nolint:gosec // it makes the nonce, a random one
	return string(resumeText.AppendEncode(room[:0], sealed))
}

// Open reads a token that a client sent, of a log with so many partitions; false for one that Token did not make with this seal.
func (s ResumeSeal) Open(token string, partitions int) (ResumePoint, bool) {
	size := 1 + resumeSealBytes + resumePointBytes(partitions)
	if len(token) != ResumeTokenLength(partitions) {
		return ResumePoint{}, false
	}
	// The decoder skips ends of lines, so the length tells whether there were any.
	b, err := resumeText.DecodeString(token)
	if err != nil || len(b) != size || b[0] != resumeVersion {
		return ResumePoint{}, false
	}
	point, err := s.aead.Open(nil, nil, b[1:], resumeHead)
	if err != nil {
		return ResumePoint{}, false
	}
	return parseResumePoint(point, partitions)
}
