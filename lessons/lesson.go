package lessons

// Lang is a language that every lesson and every sentence of the portal exists in.
type Lang string

// The languages.
const (
	Korean  Lang = "ko"
	English Lang = "en"
)

// Langs lists the languages, the default first.
var Langs = []Lang{Korean, English}

// Text is one text in both languages.
type Text struct{ Ko, En string }

// In returns the text in a language.
func (t Text) In(l Lang) string {
	if l == English {
		return t.En
	}
	return t.Ko
}

// Lesson is a loaded lesson: complete in both languages, its checks compiled. It is immutable.
type Lesson struct {
	ID         string
	Title      Text
	Summary    Text
	Difficulty string // easy, medium, hard
	Minutes    int
	Place      int      // in the catalogue, from 1; 0: behind those that have one
	Nodes      int      // workers of the lab
	Views      []string // what stands beside the text, the first in sight: cluster, docker
	Files      []File
	What       []What
	Intro      map[Lang][]Block
	Tasks      []*Task
	// Wrong are ways that go astray, told in whichever task they happen.
	Wrong []*Remark
	// Messages holds every sentence that checks can answer, by code ("declare/no-deployment").
	Messages map[string]Text
}

// File is put on the workstation before the learner arrives.
type File struct {
	Path string // relative to the home directory
	Mode uint32
	Data []byte
}

// WhatKind says what a thing in the lab is.
type WhatKind string

// The four kinds (see LESSONS, "What is what").
const (
	Real   WhatKind = "real"   // upstream code, or measured here
	Own    WhatKind = "own"    // ours, by the same specification
	Model  WhatKind = "model"  // stands for something that isn't here
	Record WhatKind = "record" // measured elsewhere
)

// What labels a thing that the lesson uses.
type What struct {
	Kind WhatKind
	Name Text
	// Instead says how it is on a real system; own, model and record need it.
	Instead Text
}

// Task is a step that the learner takes. It is done, for good, when all its checks hold at once.
type Task struct {
	ID       string
	Title    Text
	Text     map[Lang][]Block
	Checks   []*Check
	Hints    []Text // Markdown of one paragraph
	Solution []string
	explain  *expression // yields the object whose causes are told under the tick: {resource, namespace, name}; nil for none
}

// Check is one thing that must be so.
type Check struct {
	ID   string
	must *expression
	Else []*Remark // the first whose condition holds says what is missing; the last has none
}

// Remark is a sentence that an unmet check or a wrong way is met with.
type Remark struct {
	Code string // key of Lesson.Messages
	when *expression
	with map[string]*expression
}

// Block is a piece of a lesson's text.
type Block struct {
	// HTML is sanitised: made from Markdown without raw HTML, links only inside the portal.
	HTML string `json:"html,omitempty"`
	// Command is a line for the terminal, with HTML empty.
	Command string `json:"command,omitempty"`
	// Code is a listing in Language, with HTML empty.
	Code     string `json:"code,omitempty"`
	Language string `json:"language,omitempty"`
}
