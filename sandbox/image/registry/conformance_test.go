package registry

import (
	"encoding/xml"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/drydock-labs/drydock/sandbox/image"
)

// TestConformance runs the public suite of the distribution specification, with all that is optional in it, against a listener;
// -v prints its figures by category. The suite's module is in conformance/, so that its dependencies are not ours.
func TestConformance(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another module")
	}
	suite := filepath.Join(t.TempDir(), "suite")
	buildTool(t, suite, "github.com/opencontainers/distribution-spec/conformance")
	for _, row := range []struct {
		name, blobs string
		login       bool
	}{{"on the heap", "", false}, {"in files, with login", t.TempDir(), true}} {
		t.Run(row.name, func(t *testing.T) {
			s := image.NewStore(image.NewContent(image.ContentConfig{BlobDir: row.blobs}))
			disk := &quota{limit: 64 << 20}
			s.Configure("lab", image.ScopeConfig{Charger: disk})
			cfg := Config{Store: s, Scope: "lab", Host: "registry.lab", Uploads: NewUploads(UploadsConfig{})}
			if row.login {
				cfg.Login = func(user, password string) bool { return user == "learner" && password == "secret" }
			}
			srv := httptest.NewServer(New(cfg))
			defer srv.Close()
			runSuite(t, suite, srv.Listener.Addr().String())
			if cfg.Uploads.Len() != 0 {
				t.Errorf("%d uploads left open", cfg.Uploads.Len())
			}
			checkDropped(t, s, "lab", disk, row.blobs)
		})
	}
}

// checkDropped drops a scope and sees that nothing of it is left.
func checkDropped(t *testing.T, s *image.Store, scope string, disk *quota, blobs string) {
	t.Helper()
	s.Drop(scope)
	if used := disk.Used(); used != 0 {
		t.Errorf("%d bytes are charged after the end", used)
	}
	if blobs == "" {
		return
	}
	left, err := os.ReadDir(blobs)
	if err != nil || len(left) > 0 {
		t.Errorf("%d files left, the first %v; %v", len(left), left, err)
	}
}

// category sorts the suite's steps by what the specification calls them ("Conformance", workflow categories).
func category(step string) string {
	switch {
	case step == "referrers", step == "tag-list", step == "tag list":
		return "content discovery"
	case strings.HasSuffix(step, "-delete"):
		return "content management"
	case strings.HasPrefix(step, "blob-p"), strings.HasPrefix(step, "blob-mount"), strings.HasPrefix(step, "manifest-by-"), step == "manifest-put":
		return "push"
	}
	return "pull"
}

func runSuite(t *testing.T, suite, addr string) {
	c := exec.Command(suite)
	c.Dir = t.TempDir()
	c.Env = append(os.Environ(), "OCI_VERSION=dev", "OCI_REGISTRY="+addr, "OCI_TLS=disabled", "OCI_USERNAME=learner", "OCI_PASSWORD=secret")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("the suite: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(c.Dir, "results", "junit.xml"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Cases []struct {
			Name   string `xml:"name,attr"`
			Status string `xml:"status,attr"`
			Errors string `xml:"system-out"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(b, &report); err != nil {
		t.Fatal(err)
	}
	passed, failed := map[string]int{}, map[string]int{}
	for _, k := range report.Cases {
		cat := category(k.Name[strings.LastIndex(k.Name, "/")+1:])
		if k.Status == "passed" {
			passed[cat]++
			continue
		}
		failed[cat]++
		t.Errorf("%s: %s: %s", k.Name, k.Status, k.Errors)
	}
	for _, cat := range []string{"pull", "push", "content discovery", "content management"} {
		t.Logf("%-20s %4d passed %4d failed", cat, passed[cat], failed[cat])
		if passed[cat] == 0 {
			t.Errorf("no %s case passed", cat)
		}
	}
}
