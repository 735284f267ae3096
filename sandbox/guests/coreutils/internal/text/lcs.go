package text

// edit says that lines a0..a1 of the first file became lines b0..b1 of the second.
type edit struct{ a0, a1, b0, b1 int }

// maxCost bounds the search for the shortest edit script; beyond it the rest counts as replaced.
const maxCost = 4000

// compare finds the differences between two lists by Myers' greedy algorithm ("An O(ND) Difference Algorithm", 1986).
func compare(a, b []string) []edit {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	ma, mb := a[head:len(a)-tail], b[head:len(b)-tail]
	if len(ma) == 0 && len(mb) == 0 {
		return nil
	}
	deleted, inserted, ok := script(ma, mb)
	if !ok {
		return []edit{{head, len(a) - tail, head, len(b) - tail}}
	}
	slide(ma, deleted)
	slide(mb, inserted)
	return collect(deleted, inserted, head)
}

// script marks what is deleted from a and inserted from b.
func script(a, b []string) (deleted, inserted []bool, ok bool) {
	deleted, inserted = make([]bool, len(a)), make([]bool, len(b))
	limit := min(len(a)+len(b), maxCost)
	v := make([]int, 2*limit+3)
	var trace [][]int
	at := func(k int) int { return k + limit + 1 }
	for d := 0; d <= limit; d++ {
		trace = append(trace, append([]int(nil), v[at(-d-1):at(d+1)+1]...))
		for k := -d; k <= d; k += 2 {
			x := 0
			if k == -d || k != d && v[at(k-1)] < v[at(k+1)] {
				x = v[at(k+1)]
			} else {
				x = v[at(k-1)] + 1
			}
			y := x - k
			for x < len(a) && y < len(b) && a[x] == b[y] {
				x, y = x+1, y+1
			}
			v[at(k)] = x
			if x >= len(a) && y >= len(b) {
				backtrack(trace, len(a), len(b), deleted, inserted)
				return deleted, inserted, true
			}
		}
	}
	return nil, nil, false
}

// backtrack walks the recorded front lines from the end to the start. trace[d] holds diagonals −d−1 … d+1.
func backtrack(trace [][]int, x, y int, deleted, inserted []bool) {
	for d := len(trace) - 1; d > 0; d-- {
		v := trace[d]
		at := func(k int) int { return v[k+d+1] }
		k := x - y
		prev := k - 1
		if k == -d || k != d && at(k-1) < at(k+1) {
			prev = k + 1
		}
		px := at(prev)
		py := px - prev
		for x > px && y > py {
			x, y = x-1, y-1
			if x == px || y == py {
				break
			}
		}
		if prev == k+1 {
			inserted[py] = true
		} else {
			deleted[px] = true
		}
		x, y = px, py
	}
}

// slide moves runs of marks as far down as equal lines allow, as GNU diff does.
func slide(lines []string, marked []bool) {
	for i := 0; i < len(marked); {
		if !marked[i] {
			i++
			continue
		}
		j := i
		for j < len(marked) && marked[j] {
			j++
		}
		for j < len(marked) && !marked[j] && lines[i] == lines[j] {
			marked[i], marked[j] = false, true
			i++
			for j < len(marked) && marked[j] {
				j++
			}
		}
		i = j
	}
}

func collect(deleted, inserted []bool, offset int) (out []edit) {
	for i, j := 0, 0; i < len(deleted) || j < len(inserted); {
		if (i >= len(deleted) || !deleted[i]) && (j >= len(inserted) || !inserted[j]) {
			i, j = i+1, j+1
			continue
		}
		e := edit{a0: i, b0: j}
		for i < len(deleted) && deleted[i] {
			i++
		}
		for j < len(inserted) && inserted[j] {
			j++
		}
		out = append(out, edit{e.a0 + offset, i + offset, e.b0 + offset, j + offset})
	}
	return out
}
