package lessons

import (
	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
)

// labMacro turns objects("pods") into @objects(@lab, "pods"): authors do not pass the lab around, and nothing else can name it.
func labMacro(to string) cel.MacroFactory {
	return func(f cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *cel.Error) {
		return f.NewCall(to, append([]ast.Expr{f.NewIdent("@lab")}, args...)...), nil
	}
}
