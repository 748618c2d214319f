package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/tools/go/packages"
)

// A mutant is one small wrong change.
type mutant struct {
	id       int    // from 1
	position string // file.go:line:column
	kind     kind
	code     string // that is changed
}

func (m mutant) String() string { return fmt.Sprintf("%-34s %-10s %s", m.position, m.kind, m.code) }

// A kind says what is changed to what.
type kind string

// The kinds.
const (
	negation   kind = "negation"   // the opposite of a condition or comparison
	boundary   kind = "boundary"   // < to <=, > to >=, and back
	arithmetic kind = "arithmetic" // + to -, * to /, and back; % to *; -x to x
	step       kind = "step"       // x++ to x--, and back
	side       kind = "side"       // one side of && or || does not count
	deletion   kind = "deletion"   // an assignment, a call or a step is left out
)

// instrument returns the mutants of the package in the module's folder, and its files with all of them behind switches, by their names.
// Only files whose base name the pattern matches are changed.
func instrument(name string, files *regexp.Regexp) ([]mutant, map[string][]byte, error) {
	loaded, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedCompiledGoFiles | packages.NeedSyntax |
			packages.NeedTypes | packages.NeedTypesInfo | packages.NeedImports | packages.NeedDeps,
	}, name)
	if err != nil {
		return nil, nil, err
	}
	if len(loaded) != 1 {
		return nil, nil, fmt.Errorf("%s names %d packages; one at a time", name, len(loaded))
	}
	p := loaded[0]
	if len(p.Errors) > 0 {
		return nil, nil, p.Errors[0]
	}
	var mutants []mutant
	changed := map[string][]byte{}
	for i, syntax := range p.Syntax {
		path := p.CompiledGoFiles[i]
		if !files.MatchString(filepath.Base(path)) {
			continue
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, nil, err
		}
		r := rewriter{fset: p.Fset, types: p.TypesInfo, source: source, mutants: mutants}
		ast.Inspect(syntax, r.visit)
		if len(r.edits) > 0 {
			changed[path] = r.result(syntax)
			mutants = r.mutants
		}
	}
	return mutants, changed, nil
}

// A rewriter collects the edits of one file. It edits the text, and not the tree, so that every line keeps its number.
type rewriter struct {
	fset    *token.FileSet
	types   *types.Info
	source  []byte
	mutants []mutant
	edits   []edit
	wraps   int
}

// An edit replaces skip bytes at an offset. At the same offset the edit of the lower order comes first: ends of wraps, inner
// before outer, then beginnings, outer before inner.
type edit struct {
	offset, skip int
	text         string
	order        int
}

func (r *rewriter) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GenDecl:
		return n.Tok == token.VAR
	case *ast.ArrayType: // Its length is a constant.
		return false
	case *ast.IfStmt:
		r.condition(n.Cond)
	case *ast.ForStmt:
		r.condition(n.Cond)
	case *ast.BlockStmt:
		r.statements(n.List)
	case *ast.CaseClause:
		r.statements(n.Body)
	case *ast.CommClause:
		r.statements(n.Body)
	case *ast.UnaryExpr:
		r.unary(n)
	case *ast.BinaryExpr:
		if r.constant(n) {
			return false
		}
		r.binary(n)
	}
	return true
}

// condition negates what is neither a comparison nor a combination; binary and unary see to those.
func (r *rewriter) condition(c ast.Expr) {
	switch ast.Unparen(c).(type) {
	case nil, *ast.BinaryExpr, *ast.UnaryExpr:
	default:
		if !r.constant(c) {
			r.wrap(c, "switches.Not(%d, ", r.add(c.Pos(), negation, c), ")")
		}
	}
}

func (r *rewriter) unary(n *ast.UnaryExpr) {
	switch {
	case r.constant(n):
	case n.Op == token.NOT:
		r.wrap(n, "switches.Not(%d, ", r.add(n.OpPos, negation, n), ")")
	case n.Op == token.SUB && r.is(n, types.IsNumeric):
		r.replace(n.OpPos, n.Op, "")
		r.wrap(n, "switches.Negative(%d, ", r.add(n.OpPos, arithmetic, n), ")")
	}
}

func (r *rewriter) binary(n *ast.BinaryExpr) {
	call := func(kind kind, function string) {
		id := r.add(n.OpPos, kind, n)
		r.replace(n.OpPos, n.Op, ",")
		r.wrap(n, "switches."+function+"(%d, ", id, ")")
	}
	calculated := func(function string) {
		if r.is(n.X, types.IsNumeric) && r.is(n.Y, types.IsNumeric) {
			call(arithmetic, function)
		}
	}
	compared := func(function string) {
		r.wrap(n, "switches.Not(%d, ", r.add(n.OpPos, negation, n), ")")
		if r.is(n.X, types.IsOrdered) && r.is(n.Y, types.IsOrdered) {
			call(boundary, function)
		}
	}
	switch n.Op {
	case token.EQL, token.NEQ:
		r.wrap(n, "switches.Not(%d, ", r.add(n.OpPos, negation, n), ")")
	case token.LSS:
		compared("Less")
	case token.LEQ:
		compared("LessOrEqual")
	case token.GTR:
		compared("Greater")
	case token.GEQ:
		compared("GreaterOrEqual")
	case token.ADD:
		calculated("Plus")
	case token.SUB:
		calculated("Minus")
	case token.MUL:
		calculated("Times")
	case token.QUO:
		calculated("Over")
	case token.REM:
		calculated("Remainder")
	case token.LAND:
		r.sides(n, " || switches.On(%d))")
	case token.LOR:
		r.sides(n, " && !switches.On(%d))")
	}
}

// sides makes either side of a combination not count. The program comes by only where the side decides, so a side that no test
// needs counts as not covered.
func (r *rewriter) sides(n *ast.BinaryExpr, end string) {
	for _, one := range []ast.Expr{n.X, n.Y} {
		if !r.constant(one) {
			r.wrap(one, "((", r.add(one.Pos(), side, one), ")"+end)
		}
	}
}

// silent are the statements that are never left out: what is only written to the log, and what would stop every test at once.
var silent = regexp.MustCompile(`(?i)^[\w.]*(log|logger)\.(debug|info|warn|error|log)|\.R?Unlock\(\)$|^panic\(`)

func (r *rewriter) statements(list []ast.Stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *ast.ExprStmt:
			if !silent.MatchString(r.text(s)) {
				r.wrap(s, "if !switches.On(%d) { ", r.add(s.Pos(), deletion, s), " }")
			}
		case *ast.AssignStmt:
			if s.Tok != token.DEFINE && !nameless(s.Lhs) {
				r.wrap(s, "if !switches.On(%d) { ", r.add(s.Pos(), deletion, s), " }")
			}
		case *ast.IncDecStmt:
			r.wrap(s, "if !switches.On(%d) { ", r.add(s.Pos(), deletion, s), " }")
			opposite := token.INC
			if s.Tok == token.INC {
				opposite = token.DEC
			}
			r.wrap(s, "if switches.On(%d) { "+r.text(s.X)+opposite.String()+" } else { ", r.add(s.TokPos, step, s), " }")
		}
	}
}

// nameless reports whether all values are thrown away.
func nameless(left []ast.Expr) bool {
	return !slices.ContainsFunc(left, func(e ast.Expr) bool {
		name, ok := e.(*ast.Ident)
		return !ok || name.Name != "_"
	})
}

func (r *rewriter) constant(e ast.Expr) bool { return r.types.Types[e].Value != nil }

// is reports whether the type is a basic one of such a kind. Type parameters are not: the switches could not be called with all of theirs.
func (r *rewriter) is(e ast.Expr, info types.BasicInfo) bool {
	t := r.types.TypeOf(e)
	if _, parameter := t.(*types.TypeParam); parameter || t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&info != 0
}

func (r *rewriter) add(at token.Pos, kind kind, n ast.Node) (id int) {
	id = len(r.mutants) + 1
	position := r.fset.Position(at)
	r.mutants = append(r.mutants, mutant{
		id: id, kind: kind, code: r.text(n),
		position: fmt.Sprintf("%s:%d:%d", filepath.Base(position.Filename), position.Line, position.Column),
	})
	return id
}

func (r *rewriter) offset(at token.Pos) int { return r.fset.Position(at).Offset }

// text is the code of a node, on one line. (A string constant with line breaks is no operand of anything that is changed with it.)
func (r *rewriter) text(n ast.Node) string {
	return strings.Join(strings.Fields(string(r.source[r.offset(n.Pos()):r.offset(n.End())])), " ")
}

// wrap puts a node between two texts. The id of the mutant stands in one of them, as %d.
func (r *rewriter) wrap(n ast.Node, begin string, id int, end string) {
	number := strconv.Itoa(id)
	begin, end = strings.Replace(begin, "%d", number, 1), strings.Replace(end, "%d", number, 1)
	r.wraps++
	r.edits = append(r.edits,
		edit{offset: r.offset(n.Pos()), text: begin, order: r.wraps},
		edit{offset: r.offset(n.End()), text: end, order: -r.wraps})
}

// replace puts a text in the place of an operator. That of a unary expression stands where wraps begin; it comes after them.
func (r *rewriter) replace(at token.Pos, operator token.Token, text string) {
	r.edits = append(r.edits, edit{offset: r.offset(at), skip: len(operator.String()), text: text, order: math.MaxInt})
}

// result is the file with its edits, in the name of the package's line the import of the switches.
func (r *rewriter) result(syntax *ast.File) []byte {
	r.edits = append(r.edits, edit{offset: r.offset(syntax.Name.End()), text: `; import "` + switchesPath + `"`})
	slices.SortFunc(r.edits, func(a, b edit) int {
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.order, b.order))
	})
	var out bytes.Buffer
	end := 0
	for _, e := range r.edits {
		out.Write(r.source[end:e.offset])
		out.WriteString(e.text)
		end = e.offset + e.skip
	}
	out.Write(r.source[end:])
	return out.Bytes()
}
