package docs

import (
	"maps"
	"path"
	"slices"
	"strings"
)

// page is all that the page shows.
type page struct {
	Title              string
	Intro, SocketIntro string
	Tokens             []object
	Groups             []group
	Codes              []field
	Schemas            []object
	FromClients        []frame
	ToClients          []frame
	SocketPath         string
	Closes             []closing
	Topics             []topic
	Events             []object
}

// closing is a reason for which the server closes a socket.
type closing struct{ Code, Reason, When, Do string }

type group struct {
	Name, Doc  string
	Operations []operation
}

type operation struct {
	ID, Method, Path, Summary, Doc, Auth string
	Params                               []field
	Body                                 []media
	BodyRequired                         bool
	Answers                              []answer
	Codes                                []string
	Request, Reply                       string
}

type media struct {
	Kind    string
	Type    []span
	Example string
}

type answer struct {
	Status, Doc string
	Headers     []string
	Bodies      []media
}

type frame struct {
	ID, Name, Doc, Feature string
	Type                   []span
	Includes               []span
	Fields, Headers        []field
	Examples               []string
}

type topic struct {
	Address, Doc string
	Messages     []frame
}

// readPage reads the documents.
func readPage() page {
	lib := library{}
	rest, async := lib.open("openapi.yaml"), lib.open("asyncapi.yaml")
	a := anchorsOf(lib, rest, async)
	p := page{
		Title: rest.at("info", "title").text(), Intro: rest.at("info", "description").text(),
		SocketIntro: async.at("info", "description").text(), SocketPath: async.at("channels", "socket", "address").text(),
	}
	for code, meaning := range rest.member("x-problem-codes").fields() {
		p.Codes = append(p.Codes, field{Name: code, In: meaning.at("status").text(), Doc: meaning.at("when").text()})
	}
	for name, scheme := range rest.at("components", "securitySchemes").fields() {
		p.Tokens = append(p.Tokens, object{Name: name, Doc: scheme.described()})
	}
	for _, tag := range rest.member("tags").items() {
		p.Groups = append(p.Groups, group{Name: tag.at("name").text(), Doc: tag.described()})
	}
	for route, methods := range rest.member("paths").fields() {
		for method, found := range methods.fields() {
			o := a.operationOf(strings.ToUpper(method), route, found, rest)
			name := found.at("tags").items()[0].text()
			at := slices.IndexFunc(p.Groups, func(g group) bool { return g.Name == name })
			p.Groups[at].Operations = append(p.Groups[at].Operations, o)
		}
	}
	for name, schema := range rest.at("components", "schemas").fields() {
		if known, there := a["openapi.yaml#/components/schemas/"+name]; there {
			p.Schemas = append(p.Schemas, a.objectOf(strings.TrimPrefix(known.Link, "#"), name, schema))
		}
	}
	for _, c := range async.at("channels", "socket", "x-close-codes").items() {
		p.Closes = append(p.Closes, closing{c.at("code").text(), c.at("reason").text(), c.at("when").text(), c.at("do").text()})
	}
	frames := func(operation string) (all []frame) {
		for _, message := range async.at("operations", operation, "messages").items() {
			all = append(all, a.frameOf(path.Base(message.ref()), message.resolved()))
		}
		return all
	}
	p.FromClients, p.ToClients = frames("fromClients"), frames("toClients")
	for name, channel := range async.member("channels").fields() {
		if name == "socket" {
			continue
		}
		t := topic{Address: channel.at("address").text(), Doc: channel.described()}
		for message, found := range channel.at("messages").fields() {
			t.Messages = append(t.Messages, a.frameOf(message, found.resolved()))
		}
		p.Topics = append(p.Topics, t)
	}
	for _, name := range slices.Sorted(maps.Keys(lib)) {
		if known, there := a[name+"#"]; there {
			p.Events = append(p.Events, a.objectOf(strings.TrimPrefix(known.Link, "#"), strings.TrimPrefix(name, "schemas/"), lib.open(name)))
		}
	}
	return p
}

// anchorsOf names the sections of schemas: of the API's objects, and of the files. Values without fields are told in place.
func anchorsOf(lib library, rest, async tree) anchors {
	a := anchors{}
	for name, schema := range rest.at("components", "schemas").fields() {
		kind := schema.at("type").text()
		if kind == "object" || kind == "array" || schema.member("oneOf").exists() {
			a["openapi.yaml#/components/schemas/"+name] = span{Text: name, Link: "#schema-" + name}
		}
	}
	files, err := Files.ReadDir("schemas")
	if err != nil {
		panic(err)
	}
	for _, file := range files {
		name := "schemas/" + file.Name()
		a[name+"#"] = span{Text: lib.open(name).at("title").text(), Link: "#" + file.Name()}
	}
	for _, direction := range []string{"fromClients", "toClients"} {
		for _, message := range async.at("operations", direction, "messages").items() {
			name := path.Base(message.ref())
			if ref := async.at("components", "messages", name).member("payload").ref(); ref != "" {
				a[ref] = span{Text: name, Link: "#frame-" + name}
			}
		}
	}
	return a
}

func (a anchors) operationOf(method, route string, t, rest tree) operation {
	o := operation{
		ID: t.at("operationId").text(), Method: method, Path: route, Summary: t.at("summary").text(), Doc: t.at("description").text(),
		Auth: authOf(t, rest), Codes: t.member("x-codes").texts(),
	}
	for _, parameter := range t.member("parameters").items() {
		p := parameter.resolved()
		o.Params = append(o.Params, field{
			Name: p.at("name").text(), In: p.at("in").text(), Required: p.at("required").text() == "true",
			Type: a.typeOf(p.member("schema")), Doc: firstOf(p.described(), p.member("schema").described()),
			Feature: p.member("x-feature").text(),
		})
	}
	body := t.at("requestBody")
	o.Body, o.BodyRequired = a.mediaOf(body), body.at("required").text() == "true"
	for status, response := range t.member("responses").fields() {
		r := response.resolved()
		found := answer{Status: status, Doc: r.described(), Bodies: a.mediaOf(r)}
		for name := range r.member("headers").fields() {
			found.Headers = append(found.Headers, name)
		}
		o.Answers = append(o.Answers, found)
	}
	slices.SortStableFunc(o.Answers, func(x, y answer) int { return strings.Compare(x.Status, y.Status) }) // default comes last
	o.Request = o.curl(t)
	for _, found := range o.Answers {
		if strings.HasPrefix(found.Status, "2") && len(found.Bodies) > 0 && o.Reply == "" {
			o.Reply = found.Bodies[0].Example
		}
	}
	return o
}

// firstOf returns the first text that is there.
func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// authOf says whose token an operation needs.
func authOf(t, rest tree) string {
	schemes := t.member("security")
	if !schemes.exists() {
		schemes = rest.member("security")
	}
	var names []string
	for _, scheme := range schemes.items() {
		for name := range scheme.fields() {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// mediaOf lists the bodies of a request or an answer.
func (a anchors) mediaOf(t tree) []media {
	var all []media
	for kind, content := range t.member("content").fields() {
		m := media{Kind: kind, Type: a.typeOf(content.member("schema"))}
		example := content.member("example")
		if !example.exists() {
			for _, named := range content.member("examples").fields() {
				example = named.at("value")
				break
			}
		}
		if !example.exists() {
			example = exampleOf(content.member("schema"))
		}
		if example.exists() {
			m.Example = example.json()
		}
		all = append(all, m)
	}
	return all
}

// Short returns the path without the beginning that most paths share.
func (o operation) Short() string { return strings.TrimPrefix(o.Path, "/api/chatting") }

// curl writes the operation as a command.
func (o operation) curl(t tree) string {
	route, query := o.Path, ""
	for _, parameter := range t.member("parameters").items() {
		p := parameter.resolved()
		value := firstOf(p.at("example").text(), exampleOf(p.member("schema")).text())
		switch p.at("in").text() {
		case "path":
			route = strings.Replace(route, "{"+p.at("name").text()+"}", value, 1)
		case "query":
			if p.at("required").text() == "true" {
				query = "?" + p.at("name").text() + "=" + value
			}
		}
	}
	var words []string
	if o.Method != "GET" && (o.Method != "POST" || len(o.Body) == 0) {
		words = append(words, "-X "+o.Method)
	}
	switch o.Auth {
	case "user":
		words = append(words, `-H "Authorization: Bearer $TOKEN"`)
	case "platform":
		words = append(words, `-H "Authorization: Bearer $S2S_TOKEN"`)
	}
	if len(o.Body) > 0 {
		words = append(words, "-H 'Content-Type: "+o.Body[0].Kind+"'")
		words = append(words, "-d '"+o.Body[0].Example+"'")
	}
	return "curl " + strings.Join(append(words, "'http://127.0.0.1:8000"+route+query+"'"), " \\\n  ")
}

// frameOf returns a message of the socket or of a topic.
func (a anchors) frameOf(name string, t tree) frame {
	f := frame{
		ID: "frame-" + name, Name: name, Doc: strings.TrimSpace(t.at("summary").text() + "\n" + t.at("description").text()),
		Feature: t.member("x-feature").text(),
	}
	payload := t.member("payload")
	if known, there := a.section(payload); there && known.Link != "#"+f.ID {
		f.Includes = []span{known}
	} else {
		f.Fields, f.Includes = a.fieldsOf(payload, "")
	}
	if len(f.Fields)+len(f.Includes) == 0 {
		f.Type = a.typeOf(payload.resolved())
	}
	f.Headers, _ = a.fieldsOf(t.member("headers"), "")
	for _, example := range t.member("examples").items() {
		f.Examples = append(f.Examples, example.at("payload").json())
	}
	return f
}
