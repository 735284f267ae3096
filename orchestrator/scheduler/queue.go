package scheduler

import (
	"cmp"
	"slices"

	"k8s.io/component-helpers/scheduling/corev1"
)

// activeHeap orders the pods to try: higher priority first, then first come, as upstream's PrioritySort.
type activeHeap []*queued

func (h activeHeap) Len() int { return len(h) }
func (h activeHeap) Less(i, j int) bool {
	a, b := corev1.PodPriority(h[i].pod), corev1.PodPriority(h[j].pod)
	if a != b {
		return a > b
	}
	return h[i].seq < h[j].seq
}
func (h activeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}
func (h *activeHeap) Push(x any) {
	q := x.(*queued)
	q.pos = len(*h)
	*h = append(*h, q)
}
func (h *activeHeap) Pop() any {
	old := *h
	q := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	q.pos = -1
	return q
}

func sortQueued(qs []*queued) {
	slices.SortFunc(qs, func(a, b *queued) int { return cmp.Compare(a.seq, b.seq) })
}
