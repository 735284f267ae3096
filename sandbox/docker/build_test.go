package docker

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// FuzzDockerfile: whatever comes as a Dockerfile is taken apart or refused as the client's mistake, within its bounds.
func FuzzDockerfile(f *testing.F) {
	for _, s := range []string{"FROM scratch", "ARG A=1\nFROM $A AS b\nCOPY --from=b --chown=1:1 a b /c/\nRUN [\"x\"]", "# escape=`\nFROM a\nENV a=b c=\"d e\"\nRUN <<EOF\nx\nEOF", "FROM a\nHEALTHCHECK --interval=5s CMD x\nONBUILD RUN y",
		"FROM a\nEXPOSE 1-65535", "FROM", "RUN x", "\\", "FROM a\n\x00", "FROM a\nADD http://x y\nSHELL [\"a\"]\nVOLUME [\"\"]\nSTOPSIGNAL 9\nLABEL a=b\nUSER u\nWORKDIR w\nARG x\nCMD c\nENTRYPOINT e\nMAINTAINER m", "FROM a\nRUN --mount=type=bind x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > maxDockerfile {
			return
		}
		stages, meta, _, err := parseDockerfile(b)
		if err != nil {
			var known *apiError
			if !asAPI(err, &known) || known.status != http.StatusBadRequest {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		n := len(meta)
		for _, s := range stages {
			n += len(s.Commands) + 1
		}
		if len(stages) == 0 || n > maxSteps {
			t.Fatalf("%q: %d stages, %d steps", b, len(stages), n)
		}
	})
}

func asAPI(err error, into **apiError) bool {
	e, ok := err.(*apiError)
	*into = e
	return ok
}

// FuzzBuildOptions: the parameters of a build and the headers with credentials are taken or refused with a client's status.
func FuzzBuildOptions(f *testing.F) {
	f.Add("t=a:b&t=c&buildargs={\"a\":null}&labels={}&cachefrom=[]&memory=1", "e30=")
	f.Add("version=2", "")
	f.Add("remote=http://x&buildargs=[", "%%%")
	f.Fuzz(func(t *testing.T, query, header string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		r := httptest.NewRequest("POST", "/build", nil)
		r.URL.RawQuery = q.Encode()
		_, err1 := readBuildOptions(r)
		_, err2 := registryConfig(header)
		_, err3 := credentials(header)
		for _, err := range []error{err1, err2} {
			var known *apiError
			if err != nil && (!asAPI(err, &known) || known.status < 400 || known.status == 500) {
				t.Fatalf("%q %q: %v", query, header, err)
			}
		}
		if err3 != nil && strings.Contains(err3.Error(), header) && len(header) > 20 {
			t.Fatalf("a refusal repeats what may be a password: %v", err3)
		}
	})
}
