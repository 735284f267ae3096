package server

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/drydock-labs/drydock/lessons"
)

func (s *Server) info(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]any{"version": s.cfg.Version})
}

type lessonCard struct {
	ID         string `json:"id"`
	Title      string `json:"title"`
	Summary    string `json:"summary"`
	Difficulty string `json:"difficulty"`
	Minutes    int    `json:"minutes"`
	Tasks      int    `json:"tasks"`
}

func card(l *lessons.Lesson, lang lessons.Lang) lessonCard {
	return lessonCard{ID: l.ID, Title: l.Title.In(lang), Summary: l.Summary.In(lang), Difficulty: l.Difficulty, Minutes: l.Minutes, Tasks: len(l.Tasks)}
}

func (s *Server) listLessons(c echo.Context) error {
	cards := make([]lessonCard, len(s.cfg.Lessons))
	for i, l := range s.cfg.Lessons {
		cards[i] = card(l, langOf(c))
	}
	return c.JSON(http.StatusOK, cards)
}

type whatAnswer struct {
	Kind    lessons.WhatKind `json:"kind"`
	Name    string           `json:"name"`
	Instead string           `json:"instead,omitempty"`
}

type taskAnswer struct {
	ID     string          `json:"id"`
	Title  string          `json:"title"`
	Text   []lessons.Block `json:"text"`
	Hints  []string        `json:"hints"` // HTML
	Checks []string        `json:"checks"`
}

type lessonAnswer struct {
	lessonCard
	What     []whatAnswer      `json:"what"`
	Intro    []lessons.Block   `json:"intro"`
	List     []taskAnswer      `json:"list"`
	Views    []string          `json:"views"`
	Files    []string          `json:"files"`
	Messages map[string]string `json:"messages"`
}

func (s *Server) getLesson(c echo.Context) error {
	l := s.lessons[c.Param("id")]
	if l == nil {
		return refuse(http.StatusNotFound, "no-lesson", map[string]any{"lesson": c.Param("id")})
	}
	lang := langOf(c)
	a := lessonAnswer{lessonCard: card(l, lang), Intro: l.Intro[lang], Views: l.Views, Messages: map[string]string{}}
	for _, w := range l.What {
		a.What = append(a.What, whatAnswer{Kind: w.Kind, Name: w.Name.In(lang), Instead: w.Instead.In(lang)})
	}
	for _, f := range l.Files {
		a.Files = append(a.Files, f.Path)
	}
	for code, text := range l.Messages {
		a.Messages[code] = text.In(lang)
	}
	for _, t := range l.Tasks {
		out := taskAnswer{ID: t.ID, Title: t.Title.In(lang), Text: t.Text[lang], Hints: []string{}}
		for _, h := range t.Hints {
			out.Hints = append(out.Hints, lessons.InlineHTML(h.In(lang)))
		}
		for _, check := range t.Checks {
			out.Checks = append(out.Checks, check.ID)
		}
		a.List = append(a.List, out)
	}
	return c.JSON(http.StatusOK, a)
}

func (s *Server) differences(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"html": lessons.DifferencesHTML(langOf(c), s.cfg.Version)})
}
