package server

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/labstack/echo/v4"
)

// assets are the built page's files, compressed once. They are immutable.
type assets struct {
	files map[string]asset
	index asset
}

type asset struct {
	body, zipped []byte // zipped is nil where it saves nothing
	mime, tag    string
}

func loadAssets(fsys fs.FS) (*assets, error) {
	if fsys == nil {
		return nil, errors.New("Config.Assets is missing")
	}
	a := &assets{files: map[string]asset{}}
	err := fs.WalkDir(fsys, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		body, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		f := asset{body: body, mime: typeOf(p), tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		if !strings.HasSuffix(p, ".woff2") && !strings.HasSuffix(p, ".png") && len(body) > 512 {
			var b bytes.Buffer
			z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is a valid one
			_, _ = z.Write(body)                                  // into memory
			_ = z.Close()
			if b.Len() < len(body) {
				f.zipped = b.Bytes()
			}
		}
		a.files[p] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the page's files: %w", err)
	}
	index, ok := a.files["index.html"]
	if !ok {
		return nil, errors.New("the page's files lack index.html")
	}
	a.index = index
	return a, nil
}

func typeOf(p string) string {
	switch path.Ext(p) {
	case ".js", ".mjs":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".woff2":
		return "font/woff2"
	case ".svg":
		return "image/svg+xml"
	case ".webmanifest":
		return "application/manifest+json"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	if t := mime.TypeByExtension(path.Ext(p)); t != "" {
		return t
	}
	return "application/octet-stream"
}

// pages are the addresses that the page itself knows.
func (s *Server) isPage(p string) bool {
	p = strings.Trim(p, "/")
	lesson, isLesson := strings.CutPrefix(p, "lessons/")
	if id, is := strings.CutPrefix(p, "join/"); is || strings.HasPrefix(p, "class/") {
		return classID.MatchString(strings.TrimPrefix(id, "class/"))
	}
	return p == "" || p == "class" || p == "differences" || isLesson && s.lessons[lesson] != nil
}

func (s *Server) page(c echo.Context) error {
	if s.cfg.ErrAssets != nil {
		return c.String(http.StatusServiceUnavailable, s.cfg.ErrAssets.Error()+"\n")
	}
	p := strings.TrimPrefix(path.Clean(c.Request().URL.Path), "/")
	f, ok := s.assets.files[p]
	h := c.Response().Header()
	switch {
	case ok && p != "index.html" && strings.HasPrefix(p, "assets/"):
		h.Set("Cache-Control", "public, max-age=31536000, immutable") // the names hold the content's digest
	case ok && p != "index.html":
		h.Set("Cache-Control", "no-cache")
	case s.isPage(p):
		f = s.assets.index
		h.Set("Cache-Control", "no-cache")
	default:
		return refuse(http.StatusNotFound, "not-found", nil)
	}
	return f.serve(c)
}

func (f asset) serve(c echo.Context) error {
	h := c.Response().Header()
	h.Set("ETag", f.tag)
	h.Set("Vary", "Accept-Encoding")
	if strings.Contains(c.Request().Header.Get("If-None-Match"), f.tag) {
		return c.NoContent(http.StatusNotModified)
	}
	body := f.body
	if f.zipped != nil && strings.Contains(c.Request().Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = f.zipped
	}
	return c.Blob(http.StatusOK, f.mime, body)
}

// errorText are the sentences of pages that the browser shows without the portal's page, in both languages at once: nothing is known yet of
// who reads them.
var errorText = map[int][2]string{
	http.StatusNotFound:              {"이 주소에는 아무것도 없어요.", "There is nothing at this address."},
	http.StatusTooManyRequests:       {"요청이 한꺼번에 너무 많아요. 잠시 뒤에 다시 열어 주세요.", "Too many requests at once. Open it again in a moment."},
	http.StatusRequestEntityTooLarge: {"보낸 내용이 너무 커요.", "What was sent is too large."},
	http.StatusRequestTimeout:        {"보내는 데 너무 오래 걸렸어요.", "Sending took too long."},
	http.StatusServiceUnavailable:    {"지금은 자리가 없어요. 잠시 뒤에 다시 열어 주세요.", "There is no room at the moment. Open it again in a moment."},
	http.StatusForbidden:             {"다른 사이트에서 온 요청이라 받지 않았어요.", "The request came from another site and was not accepted."},
}

func errorPage(status int) string {
	text, ok := errorText[status]
	if !ok {
		text = [2]string{"서버에서 문제가 생겼어요. 다시 열어 주세요.", "Something went wrong on the server. Open it again."}
	}
	return `<!doctype html><html lang="ko"><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>` +
		http.StatusText(status) + ` · Drydock</title><style>:root{color-scheme:light dark}body{font:17px/1.7 system-ui,sans-serif;max-width:34rem;` +
		`margin:18vh auto;padding:0 1.5rem;word-break:keep-all}small{opacity:.65}</style><main><small>` + fmt.Sprint(status) + `</small><h1 style="font-size:1.3rem">` +
		html.EscapeString(text[0]) + `</h1><p lang="en">` + html.EscapeString(text[1]) + `</p><p><a href="/">Drydock</a></p></main></html>`
}
