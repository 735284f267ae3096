package conf

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func openText(name string, err error) string { return fmt.Sprintf("open() %q failed", name) }

func dump(ds []*Directive) string {
	var b strings.Builder
	for _, d := range ds {
		fmt.Fprintf(&b, "%d:%q", d.Line, append([]string{d.Name}, d.Args...))
		if d.IsBlock {
			fmt.Fprintf(&b, "{%s}", dump(d.Block))
		}
	}
	return b.String()
}

func TestParse(t *testing.T) {
	for _, row := range []struct{ name, text, want, err string }{
		{name: "words and lines", text: "user nginx;\nevents {\n  worker_connections 1; # many\n}\n", want: `1:["user" "nginx"]2:["events"]{3:["worker_connections" "1"]}`},
		{name: "quotes", text: `return 200 'it "is" \'so\'\n';`, want: `1:["return" "200" "it \"is\" 'so'\n"]`},
		{name: "a regular expression keeps its backslash", text: `location ~ \.php$ {}`, want: `1:["location" "~" "\\.php$"]{}`},
		{name: "braces of a variable", text: `set ${a}b;`, want: `1:["set" "${a}b"]`},
		{name: "a hash within a word", text: `return 301 /a#b;`, want: `1:["return" "301" "/a#b"]`},
		{name: "not terminated", text: "root /a\n}", err: `unexpected "}" in FILE:2`},
		{name: "not closed", text: "http {\nserver {\n}\n", err: `unexpected end of file, expecting "}" in FILE:4`},
		{name: "no semicolon at the end", text: "user nginx\n", err: `unexpected end of file, expecting ";" or "}" in FILE:2`},
		{name: "closed too often", text: "}", err: `unexpected "}" in FILE:1`},
		{name: "nothing before the semicolon", text: "user a;;", err: `unexpected ";" in FILE:1`},
		{name: "quote runs into a word", text: `a "b"c;`, err: `unexpected "c" in FILE:1`},
		{name: "quote without end", text: "a 'b;\n", err: `unexpected end of file, expecting ";" or "}" in FILE:2`},
		{name: "missing include", text: "\ninclude none.conf;", err: `open() "DIR/none.conf" failed in FILE:2`},
		{name: "include without match", text: "include none*.conf;", want: ""},
		{name: "include", text: "include part.conf; b;", want: `2:["a"]1:["b"]`},
		{name: "include of itself", text: "include self.conf;", err: `too many nested includes in DIR/self.conf:1`},
	} {
		t.Run(row.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "nginx.conf")
			for name, text := range map[string]string{"nginx.conf": row.text, "part.conf": "\na;", "self.conf": "include self.conf;"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			ds, _, err := Load(file, openText)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if want := strings.NewReplacer("FILE", file, "DIR", dir).Replace(row.err); got != want {
				t.Fatalf("error %q, want %q", got, want)
			}
			if err == nil && dump(ds) != row.want {
				t.Errorf("got  %s\nwant %s", dump(ds), row.want)
			}
		})
	}
	if _, err := ParseLine("daemon", openText); err == nil || !strings.HasSuffix(err.Error(), "in command line") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a b;", "a { b 'c'; }", "a \"\\n\";", "${x", "a\\", "{{{{", "#\n;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "include") {
			return // reads files
		}
		ds, err := ParseLine(text, openText)
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Errorf("%q: %v names no place", text, err)
			}
			return
		}
		for _, d := range ds {
			if d.Name == "" && !strings.ContainsAny(text, `'"`) {
				t.Errorf("%q: a directive without a name", text)
			}
		}
	})
}
