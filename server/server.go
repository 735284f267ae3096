// Package server is the portal: the page, its API, terminals and live streams over WebSocket, and the learners' sessions. It knows labs only
// through package api, and Kubernetes not at all. Whoever starts it listens, tells TLS from HTTP and owns the process.
//
// Answers that are for people carry a code and parameters; the page's message catalogue makes sentences of them.
//
// Lock order: sessions.mu, session.mu, desk.mu, bench.mu, terminal.mu. None is held during a call into a lab, but for bench.mu while a terminal
// opens, so that two pages get the same one.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/drydock-labs/drydock/lessons"
	"github.com/drydock-labs/drydock/server/api"
	"github.com/drydock-labs/drydock/server/db"
)

// The vocabulary that labs implement; package api has the documentation.
type (
	Labs         = api.Labs
	Lab          = api.Lab
	LabOptions   = api.LabOptions
	Terminal     = api.Terminal
	Feed         = api.Feed
	Batch        = api.Batch
	Requests     = api.Requests
	DockerChange = api.DockerChange
	Use          = api.Use
	Applied      = api.Applied
	Program      = api.Program
	Refusal      = api.Refusal
)

// Config is what a portal is made of.
type Config struct {
	Labs    Labs
	Lessons []*lessons.Lesson
	// DB keeps the portal's tables; whoever opened it closes it after the portal. nil: one in memory, which ends with the portal.
	DB *db.DB
	// Assets is the built page: index.html and assets/. With ErrAssets set the portal answers every page with that sentence and status 503.
	Assets    fs.FS
	ErrAssets error
	Version   string
	// KubeURL is the address of the Kubernetes API in kubeconfigs; nil: https on the host and port that the page was asked at.
	KubeURL func(*http.Request) string
	Limits  Limits
	// Rand is where session ids come from; nil: the system's.
	Rand io.Reader
	Log  *slog.Logger
	// Addresses are where learners on the network reach the portal ("http://192.168.0.12:8080"), for join links; nil: where the teacher's page does.
	Addresses func() []string
	// UndoFor is how long a lab that was reset can be brought back; 0: ten minutes.
	UndoFor time.Duration
}

// Limits bound what one session can ask of the portal; zero fields mean the defaults. None of them counts by client address: a classroom shares one.
type Limits struct {
	Sessions      int           // sessions remembered; 20,000
	InFlight      int           // requests of one session at a time; 32
	Sockets       int           // WebSockets of one session at a time; 24
	Terminals     int           // terminals of one lab; 12
	Classes       int           // classes open at a time; 200
	Members       int           // learners in one class; 400
	Body          int64         // bytes of a request's body; 1 MiB
	BodyTime      time.Duration // for a body to arrive; 15 s
	WriteTime     time.Duration // for an answer, or a WebSocket message, to leave; 20 s
	LabsPerMinute int           // labs made or reset by one session; 10
	IdleAfter     time.Duration // a lab without a page goes to sleep after; 30 min
	YieldAfter    time.Duration // and after this already when another learner's needs the room; 5 min
	KeepFor       time.Duration // a lab that nobody has seen for this is deleted; 30 days
}

func (l Limits) withDefaults() Limits {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&l.Sessions, 20_000)
	set(&l.InFlight, 32)
	set(&l.Sockets, 24)
	set(&l.Terminals, 12)
	set(&l.LabsPerMinute, 10)
	set(&l.Classes, 200)
	set(&l.Members, 400)
	if l.Body == 0 {
		l.Body = 1 << 20
	}
	wait := func(p *time.Duration, v time.Duration) {
		if *p == 0 {
			*p = v
		}
	}
	wait(&l.BodyTime, 15*time.Second)
	wait(&l.WriteTime, 20*time.Second)
	wait(&l.IdleAfter, 30*time.Minute)
	wait(&l.YieldAfter, 5*time.Minute)
	wait(&l.KeepFor, 30*24*time.Hour)
	return l
}

// Server is the portal's HTTP handler.
type Server struct {
	cfg      Config
	ownDB    bool // made here
	echo     *echo.Echo
	sessions *sessions
	classes  *classes
	guesses  *rate.Limiter
	// collector looks for labs to delete, now and then.
	collector  *time.Timer
	collecting sync.Mutex // held meanwhile
	assets     *assets
	lessons    map[string]*lessons.Lesson
	ctx        context.Context // ends with Close: every socket and background wait of the portal selects on it
	stop       context.CancelFunc
}

// New builds a portal.
func New(cfg Config) (*Server, error) {
	if cfg.Labs == nil {
		return nil, errors.New("server: Config.Labs is missing")
	}
	if len(cfg.Lessons) == 0 {
		return nil, errors.New("server: Config.Lessons is empty: there would be nothing to start")
	}
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.UndoFor == 0 {
		cfg.UndoFor = 10 * time.Minute
	}
	s := &Server{cfg: cfg, echo: echo.New(), lessons: map[string]*lessons.Lesson{}}
	for _, l := range cfg.Lessons {
		s.lessons[l.ID] = l
	}
	if cfg.ErrAssets == nil {
		var err error
		if s.assets, err = loadAssets(cfg.Assets); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	var err error
	if s.ownDB = cfg.DB == nil; s.ownDB {
		if s.cfg.DB, err = db.Open(db.Config{}); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.sessions = newSessions(s)
	if s.classes, err = newClasses(s); err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	s.guesses = newGuesses()
	s.routes()
	s.collector = time.AfterFunc(collectEvery, s.collect)
	s.collector.Reset(time.Second) // behind the first pages
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.echo.ServeHTTP(w, r) }

// HTTPServer returns an http.Server for the portal with the timeouts that keep slow clients from holding connections.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelWarn),
	}
}

// Close ends every socket and lab that the portal opened, and waits for them. Twice is fine.
func (s *Server) Close() error {
	s.stop()
	s.collecting.Lock()
	s.collector.Stop()
	s.collecting.Unlock()
	err := s.sessions.closeAll()
	if s.ownDB {
		err = errors.Join(err, s.cfg.DB.Close())
	}
	return err
}

func (s *Server) routes() {
	e := s.echo
	e.HideBanner, e.HidePort = true, true
	e.HTTPErrorHandler = s.fail
	e.Use(s.recover, securityHeaders, s.sameOrigin, s.bounds)
	e.GET("/healthz", func(c echo.Context) error { return c.String(http.StatusOK, "ok\n") })

	a := e.Group("/api", noStore)
	a.GET("/info", s.info)
	a.GET("/lessons", s.listLessons)
	a.GET("/lessons/:id", s.getLesson)
	a.GET("/differences", s.differences)
	a.GET("/labs", s.listLabs)
	a.POST("/labs", s.createLab)
	a.POST("/return", s.comeBack)
	lab := a.Group("/labs/:lesson", s.withDesk)
	lab.GET("", s.getLab)
	lab.POST("/code", s.renewCode)
	lab.DELETE("", s.deleteLab)
	lab.POST("/reset", s.resetLab)
	lab.POST("/undo", s.undoReset)
	lab.GET("/kubeconfig", s.kubeconfig)
	lab.GET("/files/*", s.readFile)
	lab.PUT("/files/*", s.writeFile)
	lab.POST("/apply", s.apply)
	lab.GET("/why/:resource/:namespace/:name", s.why)
	lab.GET("/solutions/:task", s.solution)
	lab.GET("/live", s.live)
	lab.GET("/terminals/:machine/:number", s.terminal)
	s.classRoutes(a)
	a.Any("/*", func(echo.Context) error { return refuse(http.StatusNotFound, "not-found", nil) })
	e.GET("/*", s.page)
	e.HEAD("/*", s.page)
}
