package server

import (
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/drydock-labs/drydock/lessons"
)

// TestMain runs the tests, or, with DRYDOCK_PAGE_LISTEN set, serves the page over the double so that its author sees it without a lab:
//
//	go test -c -o /tmp/page ./server && DRYDOCK_PAGE_LISTEN=127.0.0.1:8090 DRYDOCK_PAGE_DIST=frontend/dist /tmp/page
func TestMain(m *testing.M) {
	listen := os.Getenv("DRYDOCK_PAGE_LISTEN")
	if listen == "" {
		os.Exit(m.Run())
	}
	all, err := lessons.LoadAll(lessons.Content())
	if err == nil {
		var s *Server
		if s, err = New(Config{Labs: &doubleLabs{}, Lessons: all, Assets: os.DirFS(os.Getenv("DRYDOCK_PAGE_DIST")), Version: "page"}); err == nil {
			h := s.HTTPServer()
			h.Addr = listen
			err = h.ListenAndServe()
		}
	}
	if err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
