package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
)

// problem is an answer that is not a success: a status, a code of the message catalogue and its parameters.
type problem struct {
	status int
	Code   string         `json:"code"`
	Params map[string]any `json:"params,omitempty"`
	after  time.Duration
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s %v", p.status, p.Code, p.Params) }

func refuse(status int, code string, params map[string]any) *problem {
	return &problem{status: status, Code: code, Params: params}
}

// asProblem is the one place where errors become statuses.
func asProblem(err error) *problem {
	var p *problem
	var refusal *Refusal
	var he *echo.HTTPError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		status := http.StatusTooManyRequests
		if refusal.Code == "labs-full" {
			status = http.StatusServiceUnavailable
		} else if refusal.RetryAfter == 0 {
			status = http.StatusConflict
		}
		return &problem{status: status, Code: refusal.Code, Params: refusal.Params, after: refusal.RetryAfter}
	case errors.As(err, &tooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "too-large", map[string]any{"bytes": tooLarge.Limit})
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "too-slow", nil)
	case errors.As(err, &he):
		code := map[int]string{http.StatusNotFound: "not-found", http.StatusMethodNotAllowed: "method"}[he.Code]
		if code == "" {
			code = "request"
		}
		return refuse(he.Code, code, nil)
	}
	return refuse(http.StatusInternalServerError, "internal", nil)
}

// fail writes an error as JSON for the API and as a page for a browser's address bar.
func (s *Server) fail(err error, c echo.Context) {
	p := asProblem(err)
	if p.status == http.StatusInternalServerError {
		s.cfg.Log.Error("request failed", slog.String("path", c.Path()), slog.Any("error", err))
	}
	if c.Response().Committed {
		return
	}
	h := c.Response().Header()
	h.Set("Cache-Control", "no-store")
	if p.after > 0 {
		h.Set("Retry-After", strconv.Itoa(max(1, int((p.after+time.Second-1)/time.Second))))
	}
	if !strings.HasPrefix(c.Request().URL.Path, "/api/") && c.Request().Method == http.MethodGet {
		_ = c.HTML(p.status, errorPage(p.status))
		return
	}
	_ = c.JSON(p.status, p)
}

// recover turns a handler's panic into a 500 with its stack in the log; http.ErrAbortHandler passes.
func (s *Server) recover(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			if v := recover(); v != nil {
				if v == http.ErrAbortHandler {
					panic(v)
				}
				s.cfg.Log.Error("handler panicked", slog.Any("panic", v), slog.String("stack", string(debug.Stack())))
				err = refuse(http.StatusInternalServerError, "internal", nil)
			}
		}()
		return next(c)
	}
}

// contentPolicy lets the page load its own files only and talk to its own host only. Styles may stand in the page: the terminal writes its
// theme into a style element, and no text of a learner ever becomes markup.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; " +
	"connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

func securityHeaders(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set("Content-Security-Policy", contentPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		if c.Request().TLS != nil { // browsers complain of it on plain http, where it means nothing
			h.Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=()")
		return next(c)
	}
}

func noStore(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		return next(c)
	}
}

// sameOrigin refuses requests that another site's page sends: everything but plain reads, and WebSockets, whose handshake is a GET.
func (s *Server) sameOrigin(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		reads := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
		socket := strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
		if reads && !socket {
			return next(c)
		}
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			return refuse(http.StatusForbidden, "origin", nil)
		}
		if origin := r.Header.Get("Origin"); origin != "" {
			u, err := url.Parse(origin)
			if err != nil || !strings.EqualFold(u.Host, r.Host) {
				return refuse(http.StatusForbidden, "origin", nil)
			}
		} else if socket {
			return refuse(http.StatusForbidden, "origin", nil) // every browser sends it with a handshake
		}
		return next(c)
	}
}

// bounds gives each request a limited body and limited time to bring it and to take its answer away.
func (s *Server) bounds(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		limits := s.cfg.Limits
		control := http.NewResponseController(c.Response().Writer) // a connection that has no deadlines, such as a test's recorder, has no slow client
		if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
			_ = control.SetWriteDeadline(time.Time{}) // sockets give each message its time
			return next(c)
		}
		wait := limits.WriteTime
		if r.Method != http.MethodGet {
			wait += makeTime
		}
		_ = control.SetWriteDeadline(time.Now().Add(wait))
		if r.Body != nil && r.Body != http.NoBody {
			if r.ContentLength > limits.Body {
				return refuse(http.StatusRequestEntityTooLarge, "too-large", map[string]any{"bytes": limits.Body})
			}
			r.Body = &timedBody{ReadCloser: http.MaxBytesReader(c.Response(), r.Body, limits.Body), control: control}
			_ = control.SetReadDeadline(time.Now().Add(limits.BodyTime))
		}
		return next(c)
	}
}

// timedBody lifts the deadline for reading once a body is here whole: what the handler does then takes its own time. A body that does not end
// keeps it, also while net/http drains what nobody wanted.
type timedBody struct {
	io.ReadCloser
	control *http.ResponseController
}

func (b *timedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
