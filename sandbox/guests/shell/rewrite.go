package main

import (
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// Names by which rewritten commands reach call. They cannot be typed by accident.
const (
	bgSimple   = "__drydock_background"
	bgCompound = "__drydock_background_compound"
	execSelf   = "__drydock_exec"
	bangVar    = "__drydock_bang"
	zeroVar    = "__drydock_zero"
)

// rewriter changes what the interpreter would do inside its own process into calls that the shell serves with real ones:
//   - `X &` becomes a call of bgSimple or bgCompound, so that background jobs are processes with a pid;
//   - `$!` becomes the variable that those calls set;
//   - `exec PROGRAM` outside of subshells becomes execSelf, which replaces the shell;
//   - `$0` becomes the name the shell was started with.
type rewriter struct {
	texts []string // sources of background commands, by the number in the call
	zero  string
}

func lit(s string) *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.Lit{Value: s}}}
}

// allParams is the word "$@".
func allParams() *syntax.Word {
	return &syntax.Word{Parts: []syntax.WordPart{&syntax.DblQuoted{Parts: []syntax.WordPart{
		&syntax.ParamExp{Short: true, Param: &syntax.Lit{Value: "@"}}}}}}
}

func (w *rewriter) stmt(st *syntax.Stmt) *syntax.Stmt {
	w.topExec(st)
	syntax.Walk(st, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.Stmt:
			if n.Background || n.Disown {
				w.background(n)
			}
		case *syntax.ParamExp:
			if n.Param != nil {
				switch n.Param.Value {
				case "!":
					n.Param.Value, n.Short = bangVar, false
				case "0":
					n.Param.Value, n.Short = zeroVar, false
				}
			}
		}
		return true
	})
	return st
}

func (w *rewriter) background(st *syntax.Stmt) {
	st.Background, st.Disown = false, false
	text := printNode(st)
	number := strconv.Itoa(len(w.texts))
	w.texts = append(w.texts, text)
	if call, ok := st.Cmd.(*syntax.CallExpr); ok && len(call.Args) > 0 && !st.Negated {
		call.Args = append([]*syntax.Word{lit(bgSimple), lit(number)}, call.Args...)
		return
	}
	pos := st.Position
	*st = syntax.Stmt{Position: pos, Cmd: &syntax.CallExpr{Args: []*syntax.Word{lit(bgCompound), lit(number), allParams()}}}
}

// topExec finds `exec PROGRAM` where the shell itself, and not a copy of it, would run it.
func (w *rewriter) topExec(st *syntax.Stmt) {
	if st == nil || st.Background || st.Coprocess {
		return
	}
	list := func(stmts []*syntax.Stmt) {
		for _, s := range stmts {
			w.topExec(s)
		}
	}
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if len(c.Args) > 1 && c.Args[0].Lit() == "exec" && !strings.HasPrefix(c.Args[1].Lit(), "-") {
			c.Args[0] = lit(execSelf)
		}
	case *syntax.Block:
		list(c.Stmts)
	case *syntax.IfClause:
		for ; c != nil; c = c.Else {
			list(c.Then)
		}
	case *syntax.WhileClause:
		list(c.Do)
	case *syntax.ForClause:
		list(c.Do)
	case *syntax.CaseClause:
		for _, item := range c.Items {
			list(item.Stmts)
		}
	case *syntax.BinaryCmd:
		if c.Op == syntax.AndStmt || c.Op == syntax.OrStmt {
			w.topExec(c.X)
			w.topExec(c.Y)
		}
	}
}

// lastIsSimple reports whether the text of -c is one simple command without substitutions. Such a command replaces the shell,
// as with bash: one process less, and signals reach the program itself.
func lastIsSimple(file *syntax.File) bool {
	if len(file.Stmts) != 1 {
		return false
	}
	st := file.Stmts[0]
	call, ok := st.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 || st.Background || st.Negated || st.Coprocess {
		return false
	}
	syntax.Walk(st, func(n syntax.Node) bool {
		switch n.(type) {
		case *syntax.CmdSubst, *syntax.ProcSubst:
			ok = false
		}
		return ok
	})
	return ok
}

func printNode(n syntax.Node) string {
	var b strings.Builder
	syntax.NewPrinter(syntax.SingleLine(true)).Print(&b, n)
	return strings.TrimSpace(b.String())
}
