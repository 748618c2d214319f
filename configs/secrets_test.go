package configs

import (
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// marker is in every secret of these tests, in letters that URLs, tokens and YAML take as they are.
const marker = "Zq9Marker7xV"

// markedSecret is long enough for every secret.
const markedSecret = marker + "0123456789abcdefghijklmnop"

// urlShapes are URLs with the marker in one part, good ones and bad ones. SCHEME stands for a scheme.
var urlShapes = []string{
	"SCHEME://user:MARK@host/c", "SCHEME://MARK@host/c", "SCHEME://MARK:@host/c", "SCHEME://host/MARK", "SCHEME://host/c?MARK", "SCHEME://host/c?sig=MARK",
	"SCHEME://host/c?sslmode=MARK", "SCHEME://host/c?MARK=x", "SCHEME://host/c#MARK", "SCHEME://host?x=MARK", "SCHEME://host#MARK",
	"SCHEME://user:p@MARK/w0rd@host/c", "SCHEME://user:p@ss/MARK@host/c", "SCHEME://user:12/MARK@host/c", "SCHEME://user:12#MARK@host/c",
	"SCHEME://user:12?MARK@host/c", "SCHEME://user:MARK@x@host/c", "SCHEME://user:MARK%zz@host/c", "SCHEME://user:MARK%@host/c",
	"SCHEME://user:MARK x@host/c", "SCHEME://user:MARK\"@host/c", "SCHEME://user:MARK[@host/c", "SCHEME://user:MARK\\@host/c", "SCHEME://user:MARK\nx@host/c",
	"SCHEME://user:MARK", "SCHEME://user:MARK/c", "SCHEME://host:MARK/c", "SCHEME://host/%zzMARK", "SCHEME:user:MARK@host/c", "SCHEME:/user:MARK@host/c",
	"SCHEME:MARK", "//user:MARK@host/c", "user:MARK@host/c", "user:MARK@host:1", " SCHEME://user:MARK@host/c ", "SCHEME://[::1]:MARK/c", "SCHEME://user:MARK@[::1/c",
	"xSCHEME://user:MARK@host/c", "://user:MARK@host/c", "host=h user=u password=MARK dbname=c sslmode=disable", "host=h password='MARK", "password=MARK",
	"SCHEME://host/c,SCHEME://user:MARK@host/c", "host:1,user:MARK@host:2", "host:1,SCHEME://user:MARK@host:2",
}

func shapes() []string {
	var all []string
	for _, scheme := range []string{"postgres", "https"} {
		for _, shape := range urlShapes {
			all = append(all, strings.NewReplacer("SCHEME", scheme, "MARK", marker).Replace(shape))
		}
	}
	return append(all, "sqlite:x.db?_key="+marker, "sqlite:x.db?"+marker+"=1", "sqlite://user:"+marker+"@h/c", "sqlite://h/"+marker, "sqlite:u:"+marker+"@h/c", marker+"\x00", "-----BEGIN PRIVATE KEY-----\n"+marker+"\n-----END PRIVATE KEY-----\n")
}

// printed returns all that can come of loading: the error, or what is shown of the configuration in every way.
func printed(sources Sources) string {
	c, err := Load(sources)
	if err != nil {
		return err.Error()
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "url", c.Database.URL)
	nested := struct{ c Config }{c}
	return strings.Join([]string{c.Masked(), log.String(), fmt.Sprintf("%v %+v %#v %x", c, nested, nested, c.JWT), fmt.Sprint(c.Database.URL, c.JWKS.URL)}, "\n")
}

// hides checks that nothing of the marker is shown, whatever the quotes around it are.
func hides(t *testing.T, what, shown string) {
	t.Helper()
	if strings.Contains(strings.ToLower(shown), strings.ToLower(marker)) {
		t.Errorf("%s shows the secret:\n%s", what, shown)
	}
}

func TestNoShapeOfAURLIsPrintedBeyondItsHostInAnyOption(t *testing.T) {
	for _, o := range Options() {
		for _, shape := range shapes() {
			if file, is := strings.CutPrefix(shape, sqliteScheme); is && !strings.HasPrefix(file, "//") && !strings.ContainsAny(file, "@?") {
				continue // it names a file
			}
			if o.Secret || o.Unit() == unitURL {
				hides(t, o.Env()+"="+shape, printed(Sources{Environ: []string{o.Env() + "=" + shape}}))
			} else if strings.ContainsAny(shape, "@\n\x00") || strings.Contains(shape, "://") {
				err := o.value.set(strings.TrimSpace(shape))
				hides(t, o.Key+" "+shape, fmt.Sprint(err))
				if err == nil {
					hides(t, o.Key+" "+shape, o.shown(shape))
				}
			}
		}
	}
}

func TestAPasswordThatIsNotPercentEncodedIsRefusedInTheseWords(t *testing.T) {
	for _, o := range Options() {
		if o.Unit() != unitURL {
			continue
		}
		scheme := "https"
		if o.Secret {
			scheme = "postgres"
		}
		for _, shape := range []string{"chat:p@ss/w0rd@db/c", "chat:12/34@db/c", "chat:12#34@db/c", "chat:12?34@db/c", "chat:p@ss@db/c", "chat:p/w@db/c", "chat:p%@db/c",
			"chat:p w@db/c", "chat:p^w@db/c", "chat:p#w@db/c", "chat:p[w@db/c"} {
			_, err := Load(Sources{Environ: []string{o.Env() + "=" + scheme + "://" + shape}})
			if err == nil || !strings.Contains(err.Error(), "percent-encoded") {
				t.Errorf("%s=%s: %v", o.Env(), shape, err)
			}
		}
		password := "p@s/#?:% w\"^[]\\é"
		good := scheme + "://chat:" + url.QueryEscape(password) + "@db/c"
		if _, err := Load(Sources{Environ: []string{o.Env() + "=" + strings.ReplaceAll(good, "+", "%20")}}); err != nil {
			t.Errorf("%s: %v", o.Env(), err)
		}
	}
}

// yamlShapes are what may be written behind or instead of "section: {name: ", with VALUE for the secret.
var yamlShapes = []string{
	"S:\n  N: VALUE\n", "S:\n  N: \"VALUE\"\n", "S: {N: *VALUE}\n", "S: {N: &VALUE x}\n", "S: {N: &a VALUE}\n", "S: {N: &a VALUE, N: *a}\n", "S: {N: !VALUE x}\n",
	"S: {N: !!VALUE x}\n", "S: {N: !<VALUE> x}\n", "S: {N: !x!VALUE x}\n", "S: {N: !!binary VALUE}\n", "S: {N: [VALUE]}\n", "S: {N: [a, VALUE]}\n", "S: {N: [*VALUE]}\n",
	"S: {N: [!VALUE x]}\n", "S: {N: {VALUE: x}}\n", "S: {N: {x: VALUE}}\n", "S: {N:VALUE}\n", "S: {N=VALUE}\n", "S: {VALUE}\n", "S: {VALUE: N}\n", "S:\n  N:VALUE\n",
	"S:\n  N VALUE\n", "S:\n  VALUE: x\n", "S: VALUE\n", "S: [VALUE]\n", "S: [{N: VALUE}]\n", "VALUE\n", "VALUE: x\n", "- VALUE\n", "S:\n  N: VALUE\n  N: VALUE\n", "S: {N: VALUE}\nS: {N: VALUE}\n",
	"S:\n  N: VALUE: x\n", "S:\n  N: x: VALUE\n", "S:\n  N: x\n    VALUE: y\n", "S:\n  N: %VALUE\n", "S:\n  N: @VALUE\n", "S:\n  N: `VALUE\n", "S:\n  N: \"VALUE\n", "S:\n  N: 'VALUE\n",
	"S:\n  N: \"\\qVALUE\"\n", "S:\n  N: |\n    VALUE\n  x: y\n", "S:\n  N: >VALUE\n", "S:\n  N: |VALUE\n", "S:\n\tN: VALUE\n", "S:\n  N: ? VALUE\n", "S:\n  ? VALUE\n", "S:\n  ? [VALUE]\n  : x\n",
	"S:\n  N: [VALUE\n", "S:\n  N: {VALUE\n", "S:\n  <<: VALUE\n", "S:\n  <<: *VALUE\n", "S:\n  <<: {N: VALUE}\n", "S.N: VALUE\n", "S:\n  N.VALUE: x\n", "S:\n  N: x\n---\nVALUE\n", "%VALUE\n---\n", "%TAG ! VALUE\n---\n",
	"S:\n  N: VALUE\x01\n", "S:\n  N: VALUE\xff\n", "S:\n  Nx: VALUE\n", "Sx:\n  N: VALUE\n", "S:\n  N_file: VALUE\n", "S:\n  N: x\n  N_file: VALUE\n", "S:\n  N:\n    N: VALUE\n", "*VALUE : x\n", "*VALUE\n", "&VALUE\n", "!VALUE\n",
}

func TestNoShapeOfAFileShowsASecret(t *testing.T) {
	for _, o := range Options() {
		if !o.Secret && o.Unit() != unitURL {
			continue
		}
		section, name, _ := strings.Cut(o.Key, ".")
		values := []string{markedSecret}
		if o.Unit() == unitURL {
			values = append(values, "https://u:p@ss/"+marker+"@h/c")
		}
		for _, value := range values {
			for _, shape := range yamlShapes {
				content := strings.NewReplacer("S", section, "N", name, "VALUE", value).Replace(shape)
				hides(t, content, printed(Sources{File: write(t, "c.yaml", content)}))
			}
		}
	}
}

func TestASecretInAWrongVariableOrFileNameIsNotShown(t *testing.T) {
	for _, o := range Options() {
		if !o.Secret {
			continue
		}
		for _, environ := range []string{
			envName(o.FileKey()) + "=" + markedSecret, envName(o.FileKey()) + "=postgres://u:" + marker + "@h/c", envName(o.FileKey()) + "=" + markedSecret + "+/x==",
			o.Env() + ":" + markedSecret, o.Env() + " " + markedSecret + "=x", o.Env() + "X=" + markedSecret, o.Env() + "=" + markedSecret + "\x00",
			configEnv + "=jwt:\n  secret: " + markedSecret, configEnv + "=postgres://u:" + marker + "@h/c", "CHATTING_" + o.Env() + "=" + markedSecret,
		} {
			hides(t, environ, printed(Sources{Environ: []string{environ}}))
		}
		both := []string{o.Env() + "=" + markedSecret, envName(o.FileKey()) + "=" + write(t, "s", markedSecret)}
		hides(t, o.Key+" twice", printed(Sources{Environ: both}))
		short := write(t, "s", marker)
		hides(t, o.Key+" from a file", printed(Sources{Environ: []string{envName(o.FileKey()) + "=" + short}}))
	}
}

// TestWhatIsSecretStandsWithTheOption: every field of the types Secret and URL belongs to an option that says so.
func TestWhatIsSecretStandsWithTheOption(t *testing.T) {
	for i, o := range Options() {
		var secrets, urls int
		for _, text := range []string{markedSecret, "https://u:p@h/c", "postgres://u:p@h/c", "x-key=y"} {
			var c Config
			if c.options()[i].value.set(text) == nil {
				count(reflect.ValueOf(c), &secrets, &urls)
			}
		}
		if isSecret := o.Secret && o.Unit() != unitURL; isSecret != (secrets > 0) {
			t.Errorf("%s: it sets %d secrets, and the table says %t", o.Key, secrets, isSecret)
		}
		if isURL := o.Unit() == unitURL; isURL != (urls > 0) {
			t.Errorf("%s: it sets %d URLs, and its unit is %q", o.Key, urls, o.Unit())
		}
		for _, word := range []string{"password", "secret", "token", "credential"} {
			if name := o.Key[strings.LastIndexByte(o.Key, '.')+1:]; o.Unit() == "text" && strings.Contains(name, word) {
				t.Errorf("%s sounds like a secret", o.Key)
			}
		}
	}
}

// count adds up the secrets and URLs that are set in v.
func count(v reflect.Value, secrets, urls *int) {
	switch {
	case v.Type() == reflect.TypeFor[Secret]():
		if !v.IsZero() {
			*secrets++
		}
	case v.Type() == reflect.TypeFor[URL]():
		if !v.IsZero() {
			*urls++
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			count(v.Field(i), secrets, urls)
		}
	}
}

// FuzzSecretInFile writes arbitrary text around a secret: nothing of the secret is shown.
func FuzzSecretInFile(f *testing.F) {
	for _, shape := range yamlShapes {
		before, after, _ := strings.Cut(strings.NewReplacer("S", "s2s", "N", "token").Replace(shape), "VALUE")
		f.Add(before, after)
	}
	path := filepath.Join(f.TempDir(), "fuzz.yaml")
	f.Fuzz(func(t *testing.T, before, after string) {
		for _, o := range Options() {
			if name := o.Key[strings.LastIndexByte(o.Key, '.')+1:]; !o.Secret && o.Unit() != unitURL && strings.Contains(before, name) {
				return // there it would be shown
			}
		}
		if err := os.WriteFile(path, []byte(before+markedSecret+after), 0o600); err != nil {
			t.Fatal(err)
		}
		hides(t, fmt.Sprintf("%q and %q", before, after), printed(Sources{File: path}))
	})
}
