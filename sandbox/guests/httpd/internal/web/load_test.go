package web

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestErrorsLikeNginx loads the configurations of testdata/errors.txt. What is wrong with them is told as nginx -t told it, recorded
// in testdata/errors.want.
func TestErrorsLikeNginx(t *testing.T) {
	all, err := os.ReadFile("testdata/errors.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := dir + "/nginx.conf"
	var out strings.Builder
	for text := range strings.SplitSeq(strings.TrimSpace(string(all)), "\n\n") {
		if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "DIR", dir)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		got := "no error"
		if *update {
			b, _ := exec.Command("nginx", "-t", "-q", "-c", file, "-e", dir+"/error.log").CombinedOutput()
			if m := regexp.MustCompile(`\[emerg\] (.*)`).FindSubmatch(b); m != nil {
				got = string(m[1])
			}
		} else if _, err := Load(file, "", func(string) ([]string, error) { return nil, errors.New("no such host") }); err != nil {
			got = err.Error()
		}
		fmt.Fprintf(&out, "==> %s\n%s\n", text, strings.ReplaceAll(got, dir, "DIR"))
	}
	compare(t, "testdata/errors.want", out.String())
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	load := func(text string) (*Config, error) {
		if err := os.WriteFile(dir+"/nginx.conf", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return Load(dir+"/nginx.conf", "daemon off;", func(h string) ([]string, error) {
			if h == "web" {
				return []string{"10.0.0.1", "10.0.0.2"}, nil
			}
			return nil, errors.New("no such host")
		})
	}
	c, err := load("events{} http { gzip on; server { listen 80; listen [::]:80; location / { proxy_pass http://web:8080; } } server { listen 127.0.0.1:81; } }")
	if err != nil {
		t.Fatal(err)
	}
	if want := []Address{{"tcp4", "0.0.0.0:80"}, {"tcp6", "[::]:80"}, {"tcp4", "127.0.0.1:81"}}; !slices.Equal(c.Listen, want) {
		t.Errorf("listens on %v, want %v", c.Listen, want)
	}
	if len(c.Warnings) != 1 || c.Warnings[0] != `directive "gzip" has no effect in this substitute in `+dir+"/nginx.conf:1" || c.Daemon {
		t.Errorf("warnings %q, daemon %v", c.Warnings, c.Daemon)
	}
	up := c.servers[0].locations[0].proxy.upstream
	if a, b := up.turn(), up.turn(); !slices.Equal(a, []string{"10.0.0.1:8080", "10.0.0.2:8080"}) || !slices.Equal(b, []string{"10.0.0.2:8080", "10.0.0.1:8080"}) {
		t.Errorf("turns %v, %v", a, b)
	}
	for text, want := range map[string]string{
		"events{} http { server { location / { proxy_pass http://none; } } }": `host not found in upstream "none" in ` + dir + "/nginx.conf:1",
		"events{} http { server { rewrite ^ /x; } }":                          `unknown directive "rewrite" in ` + dir + "/nginx.conf:1",
		"daemon off; events{}":                         `"daemon" directive is duplicate in ` + dir + "/nginx.conf:1",
		"events{} http { server { listen 443 ssl; } }": `the "ssl" parameter requires a part of nginx that this substitute lacks in ` + dir + "/nginx.conf:1",
	} {
		if _, err := load(text); err == nil || err.Error() != want {
			t.Errorf("%s:\n%v, want\n%s", text, err, want)
		}
	}
	os.Remove(dir + "/nginx.conf")
	if _, err := Load(dir+"/nginx.conf", "", nil); err == nil || err.Error() != `open() "`+dir+`/nginx.conf" failed (2: No such file or directory)` {
		t.Error(err)
	}
}

func FuzzSplitURI(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/x", "http://h?x", "/..", "//a//", "/a/.", "/a?b#c", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		path, _, ok := splitURI(target)
		if !ok {
			return
		}
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || slices.Contains(strings.Split(path, "/"), "..") || strings.IndexByte(path, 0) >= 0 {
			t.Errorf("%q became %q", target, path)
		}
	})
}
